"""What the tuner needs to know of a GPU, as plain data: no CUDA context is made here."""

from __future__ import annotations

import re
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

_MOST_SHARED_BYTES = H200.shared_bytes
# By a word of the name; what is not here has the most, that is H100, H200, GH200, B200 and the unknown.
_SHARED_BYTES = (
    (re.compile(r"A100|A800|A30"), 166_912),
    (re.compile(r"L4|L20|L40S?|A10G?|A40|A6000|[345]0[5-9]0"), 101_376),
)


def shared_bytes(name: str) -> int:
    """Returns the largest shared memory one block may ask for on a GPU of this name, however blanks and hyphens
    are written in it."""
    words = re.split(r"[\W_]+", name)
    return next(
        (size for pattern, size in _SHARED_BYTES if any(map(pattern.fullmatch, words))),
        _MOST_SHARED_BYTES,
    )


INTERPRETER = Gpu("Triton interpreter", (0, 0), 1, 1 << 30, 1 << 20)
"""Stands for the CPU when kernels run in Triton's interpreter (tests)."""
