"""Lists vLLM's own kernels, by the names of the built-in kernels of the same ops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from autotune.contract import AnyKernel
from autotune.servers.served import ServedKernel, ServedOp
from autotune.servers.vllm import facts
from autotune.servers.vllm.served_dense import ServedDense, ServedExpand, ServedShrink
from autotune.servers.vllm.served_modules import DENSE, imported
from autotune.servers.vllm.served_moe import MODULE, ServedMoe
from autotune.servers.vllm.served_one_shot import ServedOneShot
from autotune.servers.vllm.served_releases import Release
from autotune.servers.vllm.served_two_kernel import ServedMoeExpand, ServedMoeShrink

_DENSE: Final[Mapping[str, type[ServedDense]]] = {"lora_shrink": ServedShrink, "lora_expand": ServedExpand}
_MOE: Final[Mapping[str, type[ServedMoe]]] = {
    f"fused_moe_lora_{side}_{part}": op
    for side in ("gate_up", "down")
    for part, op in (("one_shot", ServedOneShot), ("shrink", ServedMoeShrink), ("expand", ServedMoeExpand))
}

NAMES: Final = (*_DENSE, *_MOE)


def served_kernel(builtin: AnyKernel, version: str) -> ServedKernel:
    """Returns vLLM's kernel of the op that a built-in kernel is of.

    Args:
        version: The release; empty for the installed one.

    Raises:
        InputError: If no version is given, and none is installed.
    """
    release = Release(version or DENSE.version())
    dense = _DENSE.get(builtin.name)
    op: ServedOp[Any] = dense(release, builtin) if dense else _MOE[builtin.name](release, builtin)
    return ServedKernel(builtin, facts.NAME, release.version, op)


def import_package() -> None:
    """Imports what the server's kernels are in: seconds, which a process that others are forked from spends once.

    Raises:
        InputError: If it is not installed, or cannot be imported.
    """
    DENSE.version()
    for name in ("utils", MODULE):
        imported(name)
