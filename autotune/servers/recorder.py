"""Records what a server's op would launch: its kernel's name is bound to an object that keeps the launch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

from autotune.contract import Launch


class Recorder:
    """Takes a Triton kernel's place in ``kernel[grid](*args, **options)``, and keeps the launch instead of making it.

    Args:
        kernel: The Triton kernel, which the recorded launches are of.
        launches: Where to add them, in order.
    """

    def __init__(self, kernel: Any, launches: list[Launch]) -> None:
        self._kernel = kernel
        self._launches = launches

    def __getitem__(self, grid: Any) -> Any:
        def keep(*args: Any, **options: Any) -> None:
            shape = grid(options) if callable(grid) else grid
            self._launches.append(Launch(self._kernel, tuple(shape), args, options))

        return keep

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)


@contextmanager
def recording(module: ModuleType, *kernels: str) -> Iterator[list[Launch]]:
    """Collects the launches of these kernels of a module during a block; none of them is made."""
    launches: list[Launch] = []
    with ExitStack() as stack:
        for name in kernels:
            stack.enter_context(patch.object(module, name, Recorder(getattr(module, name), launches)))
        yield launches


def positional(launch: Launch) -> Launch:
    """Returns the same launch with all of the kernel's parameters in their order, those too that were given by name."""
    names = launch.fn.arg_names
    given = {**dict(zip(names, launch.args, strict=False)), **launch.options}
    options = {name: value for name, value in launch.options.items() if name not in names}
    return Launch(launch.fn, launch.grid, tuple(given[name] for name in names), options)
