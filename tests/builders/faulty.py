"""The kernel with faults, loaded as a user's own file is, and a task that does nothing."""

from __future__ import annotations

import sys
from pathlib import Path

from autotune.contract import registry

REFERENCE = f"{Path(__file__).parent / 'faulty_kernel.py'}:KERNEL"
faulty = registry.load(REFERENCE)
module = sys.modules[type(faulty).__module__]


def nothing() -> None:
    pass
