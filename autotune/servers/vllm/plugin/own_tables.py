"""Has the server's own kernels meet weights ahead of graph captures, as ours do (contracts A12, A13).

They upload tables of addresses when they first run. Where ours run a layer's first calls, that would be in a capture:
of a batch whose entry leaves it to the server's kernel, or of the few pairs of experts that its small-batch kernel is
for. The graph would then fill the table at its replay, and graphs that are replayed earlier would read what happens to
be there; releases that wait for an upload would fail to capture it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from autotune.servers.vllm import facts
from autotune.servers.vllm.plugin.drop_in import DenseCall
from autotune.servers.vllm.plugin.moe_call import MoeCall
from autotune.servers.vllm.served_modules import OPS_PACKAGE


def _of_shrink(call: DenseCall) -> None:
    _module("utils")._get_lora_a_ptr(call.weights, call.x.device)


def _of_expand(call: DenseCall) -> None:
    first_column, _ = call.extra
    _module("utils")._get_lora_b_ptr(call.weights, first_column, call.x.device)


def _of_experts(call: MoeCall) -> None:
    # Its kernels want one even of a single weight.
    for weights in (call.a, call.b):
        _module("fused_moe_lora_op")._get_ptr(list(weights), call.x.device)


def _module(name: str) -> Any:
    return importlib.import_module(f"{OPS_PACKAGE}.{name}")


_UPLOADS: Final[Mapping[str, Callable[[Any], None]]] = {
    "lora_shrink": _of_shrink,
    "lora_expand": _of_expand,
    facts.MOE_GROUP: _of_experts,
}


def upload(op: str, call: Any) -> None:
    """Uploads the tables that the server's own kernel of an op needs for a call's weights, if it needs any.

    What goes wrong is left to the kernel, which would meet it as well.
    """
    if op in _UPLOADS:
        with suppress(Exception):
            _UPLOADS[op](call)
