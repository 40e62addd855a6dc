"""Makes Triton's interpreter quicker, and changes nothing of what it does."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

_MODULE = "triton.runtime.interpreter"


def make_quicker() -> None:
    """Has the interpreter, where it is loaded, do once what it does again and again.

    By itself it looks through the whole language at each call of a device function, to put its own functions there,
    which takes as long as all that kernels compute here; and it makes a table of all types at each operation.
    """
    interpreter = sys.modules.get(_MODULE)
    if interpreter is not None and not isinstance(interpreter._patch_lang, _OnceALaunch):
        interpreter._patch_lang = _OnceALaunch(interpreter._patch_lang)
        interpreter._get_np_dtype = _OnceAType(interpreter._get_np_dtype)


class _OnceAType:
    """Finds numpy's type of one of Triton's, which its name tells."""

    def __init__(self, find: Callable[[Any], Any]) -> None:
        self._find = find
        self._found: dict[str, Any] = {}

    def __call__(self, kind: Any) -> Any:
        if kind.is_block():
            kind = kind.scalar
        name = kind.name
        if name not in self._found:
            self._found[name] = self._find(kind)
        return self._found[name]


class _OnceALaunch:
    """Patches the modules of the language that a function sees, unless the launch that it is part of already has.

    Args:
        patch: The interpreter's own way. It returns a scope, by which a launch takes back at its end what it patched.
    """

    def __init__(self, patch: Callable[[FunctionType], Any]) -> None:
        self._patch = patch
        self._patched: set[ModuleType] = set()

    def __call__(self, function: FunctionType) -> Any:
        if self._patched >= (language := _language_of(function)):
            return None
        scope = self._patch(function)
        if not self._patched:  # It is a launch, and not a function that one calls: only a launch restores.
            restore = scope.restore
            scope.restore = lambda: (self._patched.clear(), restore())
        self._patched |= language
        return scope


@functools.cache
def _language_of(function: FunctionType) -> frozenset[ModuleType]:
    """Returns the modules of Triton's language that a function may call."""
    import triton.language as tl

    return frozenset(
        module for module in (tl, tl.core) if any(seen is module for seen in function.__globals__.values())
    )
