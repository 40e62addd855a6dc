"""Defines the ops that linear layers call instead of the server's two, opaque to ``torch.compile`` (contracts A15)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch

from autotune.servers.vllm.plugin import metadata
from autotune.servers.vllm.plugin.state import PAIR

BEGIN: Final = "lora_linear_begin"
"""Comes ahead of the base's product, and returns what the shrink writes into, ``[S, M, R]`` fp32."""

END: Final = "lora_linear_end"
"""Comes after the base's product, and adds to it.

What `BEGIN` returns is its first argument: inductor moves what makes the arguments of a call to right ahead of it, in
their order, and the product is to come last. It is written to, which the schema does not say: nobody else reads it, and
a compiler may copy first what a schema says is written.
"""

_NAMESPACE: Final = "lora_autotune"
_METADATA: Final = ", ".join(f"Tensor {name}" for name in metadata.NAMES)
_LAST: Final = "float scale, bool add_inputs"
_SCHEMAS: Final = {
    PAIR: f"(Tensor(a0!) y, Tensor x, Tensor[] lora_a, Tensor[] lora_b, {_METADATA}, {_LAST}) -> ()",
    BEGIN: f"(Tensor x, Tensor[] lora_a, {_METADATA}, float scale) -> Tensor",
    END: f"(Tensor shrunk, Tensor(a1!) y, Tensor x, Tensor[] lora_a, Tensor[] lora_b, {_METADATA}, {_LAST}) -> ()",
}

_libraries: Final[dict[str, torch.library.Library]] = {}
"""By op; it is there as long as its library."""


def are_defined() -> bool:
    """Tells whether this process has defined them before."""
    return bool(_libraries)


def define(op: str, function: Callable[..., Any], without_memory: Callable[..., Any]) -> None:
    """Defines one of the ops.

    Args:
        without_memory: Returns what the op returns, for tracing.
    """
    library = torch.library.Library(_NAMESPACE, "FRAGMENT")  # type: ignore[no-untyped-call]
    library.define(op + _SCHEMAS[op])  # type: ignore[no-untyped-call]
    for key in ("CUDA", "CPU"):
        library.impl(op, torch.inference_mode()(function), key)  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"{_NAMESPACE}::{op}", without_memory, lib=library)
    _libraries[op] = library
