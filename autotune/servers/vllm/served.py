"""vLLM's own kernels, by the names of the built-in kernels of the same ops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from autotune.contract import AnyKernel
from autotune.servers.served import ServedKernel, ServedOp
from autotune.servers.vllm import facts
from autotune.servers.vllm.served_dense import ServedExpand, ServedShrink
from autotune.servers.vllm.served_modules import DENSE, imported
from autotune.servers.vllm.served_one_shot import ServedOneShot
from autotune.servers.vllm.served_releases import Release

_OPS: Final[Mapping[str, Callable[[Release], ServedOp[Any]]]] = {
    "lora_shrink": ServedShrink,
    "lora_expand": ServedExpand,
    "fused_moe_lora_gate_up_one_shot": ServedOneShot,
    "fused_moe_lora_down_one_shot": ServedOneShot,
}

NAMES: Final = tuple(_OPS)


def served_kernel(builtin: AnyKernel, version: str) -> ServedKernel:
    """Returns vLLM's kernel of the op that a built-in kernel is of.

    Args:
        version: The release; empty for the installed one.

    Raises:
        InputError: If no version is given, and none is installed.
    """
    release = Release(version or DENSE.version())
    return ServedKernel(builtin, facts.NAME, release.version, _OPS[builtin.name](release))


def import_package() -> None:
    """Imports what the server's kernels are in: seconds, which a process that others are forked from spends once.

    Raises:
        InputError: If it is not installed, or cannot be imported.
    """
    DENSE.version()
    imported("utils")
