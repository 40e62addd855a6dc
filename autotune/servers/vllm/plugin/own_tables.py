"""Has the server's own dense kernels meet weights ahead of graph captures, as ours do (contracts A12).

They upload tables of addresses when they first run. Where ours run a layer's first calls, that would be in a capture:
of a batch whose entry leaves it to the server's kernel. The graph would then fill the table at its replay, and graphs
that are replayed earlier would read what happens to be there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from autotune.servers.vllm.plugin.drop_in import DenseCall
from autotune.servers.vllm.served_modules import OPS_PACKAGE


def _of_shrink(utils: Any, call: DenseCall) -> None:
    utils._get_lora_a_ptr(call.weights, call.x.device)


def _of_expand(utils: Any, call: DenseCall) -> None:
    first_column, _ = call.extra
    utils._get_lora_b_ptr(call.weights, first_column, call.x.device)


_UPLOADS: Final[Mapping[str, Callable[[Any, DenseCall], None]]] = {"lora_shrink": _of_shrink, "lora_expand": _of_expand}


def upload(op: str, call: Any) -> None:
    """Uploads the tables that the server's own kernel of an op needs for a call's weights, if it needs any.

    What goes wrong is left to the kernel, which would meet it as well.
    """
    if op in _UPLOADS:
        with suppress(Exception):
            _UPLOADS[op](importlib.import_module(f"{OPS_PACKAGE}.utils"), call)
