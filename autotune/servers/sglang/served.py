"""Lists SGLang's own kernels, by the names of the built-in kernels of the same ops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from autotune.contract import AnyKernel
from autotune.servers.served import ServedKernel, ServedOp
from autotune.servers.sglang import facts
from autotune.servers.sglang.served_csgmv import ServedCsgmvExpand, ServedCsgmvShrink
from autotune.servers.sglang.served_modules import BATCH, CSGMV, imported

_OPS: Final[Mapping[str, Callable[[AnyKernel], ServedOp[Any]]]] = {
    "csgmv_shrink": ServedCsgmvShrink,
    "csgmv_expand": ServedCsgmvExpand,
}

NAMES: Final = tuple(_OPS)


def served_kernel(builtin: AnyKernel, version: str) -> ServedKernel:
    """Returns SGLang's kernel of the op that a built-in kernel is of.

    Args:
        version: The release; empty for the installed one.

    Raises:
        InputError: If no version is given, and none is installed.
    """
    return ServedKernel(builtin, facts.NAME, version or CSGMV.version(), _OPS[builtin.name](builtin))


def import_package() -> None:
    """Imports what the server's kernels are in: seconds, which a process that others are forked from spends once.

    Raises:
        InputError: If it is not installed, or cannot be imported.
    """
    CSGMV.version()
    imported(BATCH)
