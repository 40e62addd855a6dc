"""Puts functions in the place of the server's ops, in torch's dispatcher (contracts A14)."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any, Final

import torch

_KEYS: Final = ("CUDA", "CPU")
"""Dispatch keys under which the server may have registered a function."""

_libraries: Final[dict[str, torch.library.Library]] = {}
"""By op; an override lasts as long as its library."""

_functions: Final[dict[str, Callable[..., None]]] = {}
"""By op, what runs in its place."""


def is_overridden(op: str) -> bool:
    """Tells whether this process has one of our functions in an op's place."""
    return op in _libraries


def override(namespace: str, op: str, function: Callable[..., None]) -> None:
    """Makes an op run a function wherever the server has registered its own; compiled graphs that call it run it, too.

    Nothing is traced: to ``torch.compile`` the op is opaque, before as after.
    """
    library = torch.library.Library(namespace, "IMPL")  # type: ignore[no-untyped-call]
    allow: dict[str, Any] = {}
    if "allow_override" in inspect.signature(library.impl).parameters:
        allow = {"allow_override": True}
    # torch warns of every override; our own line says it better.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for key in _KEYS:
            if torch._C._dispatch_has_kernel_for_dispatch_key(f"{namespace}::{op}", key):
                library.impl(op, torch.inference_mode()(function), key, **allow)  # type: ignore[no-untyped-call]
    _libraries[op] = library
    _functions[op] = function


def call(op: str, *arguments: Any) -> None:
    """Does what the server's op does, whoever does that: of ours without torch's dispatcher, which a CPU notices."""
    (_functions.get(op) or getattr(torch.ops.vllm, op))(*arguments)


def restore() -> None:
    """Gives every op its own function back."""
    for library in _libraries.values():
        library._destroy()  # type: ignore[no-untyped-call]
    _libraries.clear()
    _functions.clear()
