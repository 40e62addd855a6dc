"""Finds what a kernel of ours offers to a server's plug-in."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_KERNELS: Final = "autotune.kernels"


@dataclass(frozen=True)
class Offer:
    """What a kernel offers.

    Attributes:
        drop_in: Its module of that name.
        kernel: The file that tells its version.
    """

    drop_in: Any
    kernel: Path


def of(kernel: str) -> Offer:
    """Imports what the kernel in a folder of this name offers; by its name, as kernels import this package and not the
    other way round."""
    module = importlib.import_module(f"{_KERNELS}.{kernel}.drop_in")
    assert module.__file__ is not None
    return Offer(module, Path(module.__file__).with_name("kernel.py"))
