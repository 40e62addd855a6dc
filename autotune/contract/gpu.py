"""Describes a GPU as far as the tuner needs it, as plain data: no CUDA context is made here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """One GPU model.

    Attributes:
        name: As the driver spells it, e.g. ``NVIDIA H200``.
        capability: Compute capability, e.g. ``(9, 0)``.
        sms: Number of streaming multiprocessors.
        shared_bytes: Largest shared memory one block may ask for.
        l2_bytes: Size of the L2 cache.
    """

    name: str
    capability: tuple[int, int]
    sms: int
    shared_bytes: int
    l2_bytes: int


def underscored(name: str) -> str:
    """Spells a GPU's name without blanks and hyphens, as names of files and studies need it."""
    return name.replace(" ", "_").replace("-", "_")


H200 = Gpu("NVIDIA H200", (9, 0), 132, 232_448, 62_914_560)
"""The GPU of the recorded spaces (`studies/recorded`) and of `docs/results.md`."""

INTERPRETER = Gpu("Triton interpreter", (0, 0), 1, 1 << 30, 1 << 20)
"""Stands for the CPU when kernels run in Triton's interpreter (tests)."""
