"""Finds the problems that the conformance suite runs a kernel on.

They stand in a mapping ``PROBLEMS``, from a kernel's name to its problems: in the module that defines the kernel's
class, or in a module ``testing`` next to it. Most should be small and awkward (odd sizes, one row, an idle adapter);
those that are too large for Triton's interpreter run on a GPU only.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

from autotune.contract import AnyKernel, Problem
from autotune.errors import InputError
from autotune.servers.served import ServedKernel


def problems_of(kernel: AnyKernel) -> tuple[Problem, ...]:
    """Returns the problems that a kernel is checked on: a server's own on those of the built-in kernel of its op.

    Raises:
        InputError: If it has none.
    """
    if isinstance(kernel, ServedKernel):
        return tuple(problem for problem in problems_of(kernel.builtin) if kernel.refusal(problem) is None)
    problems = tuple(_problems_of_all(kernel).get(kernel.name, ()))
    if not problems:
        module, package = _module_of(kernel), _package_of(kernel)
        beside = f" or in the module {package}.testing" if package else ""
        raise InputError(
            f"kernel {kernel.name!r} has no problems to check it on; define "
            f"PROBLEMS = {{{kernel.name!r}: (problem, ...)}} in {module.__file__}{beside}"
        )
    return problems


def _problems_of_all(kernel: AnyKernel) -> Mapping[str, Sequence[Problem]]:
    """Returns the mapping that should name the kernel; empty where there is none."""
    package = _package_of(kernel)
    found: Mapping[str, Sequence[Problem]] | None = getattr(_module_of(kernel), "PROBLEMS", None)
    if found is not None or not package:
        return found or {}
    try:
        beside = importlib.import_module(f"{package}.testing")
    except ModuleNotFoundError as error:
        if error.name != f"{package}.testing":
            raise
        return {}
    return getattr(beside, "PROBLEMS", {})


def _module_of(kernel: AnyKernel) -> ModuleType:
    return sys.modules[type(kernel).__module__]


def _package_of(kernel: AnyKernel) -> str:
    """Returns the package of the kernel's module; empty for a file of its own."""
    return type(kernel).__module__.rpartition(".")[0]
