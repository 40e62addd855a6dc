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
    which takes as long as all that kernels compute here; it makes a table of all types at each operation, and the
    constants of a shape for each tensor and each type.
    """
    interpreter: Any = sys.modules.get(_MODULE)
    if interpreter is not None and not isinstance(interpreter._patch_lang, _OnceALaunch):
        interpreter._patch_lang = _OnceALaunch(interpreter._patch_lang)
        interpreter._get_np_dtype = _OnceAType(interpreter._get_np_dtype)
        tensor, block = interpreter.tl.tensor, interpreter.tl.block_type
        tensor.__init__ = _once_a_shape(tensor.__init__)
        block.__init__ = _once_a_block(block.__init__, interpreter.tl.tuple)


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


def _once_a_shape(make: Callable[[Any, Any, Any], None]) -> Callable[[Any, Any, Any], None]:
    """Makes a tensor with the constants, which nobody changes, of an earlier one of its shape."""
    made: dict[tuple[int, ...], tuple[Any, Any]] = {}

    def make_quickly(tensor: Any, handle: Any, type: Any) -> None:
        shape = tuple(type.shape.values) if type.is_block() else ()
        if shape not in made:
            make(tensor, handle, type)
            made[shape] = tensor.shape, tensor.numel
        tensor.handle, tensor.type, tensor.dtype = handle, type, type.scalar
        tensor.shape, tensor.numel = made[shape]

    return make_quickly


def _once_a_block(make: Callable[[Any, Any, Any], None], shapes: Any) -> Callable[[Any, Any, Any], None]:
    """Makes the type of a block with the shape, which nobody changes, of an earlier one that was checked.

    Args:
        shapes: Triton's own tuple.
    """
    made: dict[tuple[Any, ...], tuple[Any, Any, str]] = {}

    def make_quickly(block: Any, element: Any, shape: Any) -> None:
        key = tuple(shape.values if isinstance(shape, shapes) else shape)
        if key not in made:
            make(block, element, shape)
            made[key] = block.shape, block.numel, str(block.shape)
        block.element_ty = element
        block.shape, block.numel, written = made[key]
        block.name = f"<{written}, {element}>"

    return make_quickly


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

            def restore_all() -> None:
                self._patched.clear()
                restore()

            scope.restore = restore_all
        self._patched |= language
        return scope


@functools.cache
def _language_of(function: FunctionType) -> frozenset[ModuleType]:
    """Returns the modules of Triton's language that a function may call."""
    import triton.language as tl

    return frozenset(
        module for module in (tl, tl.core) if any(seen is module for seen in function.__globals__.values())
    )
