"""What a GPU would refuse to launch is known once it is compiled."""

from __future__ import annotations

import pytest

from autotune.contract.gpu import H200
from autotune.measure.compiling import refusal
from autotune.measure.result import Resources


@pytest.mark.parametrize(
    ("used", "warps", "reason"),
    [
        (Resources(64, 0, H200.shared_bytes), 4, None),
        (Resources(64, 0, H200.shared_bytes + 1), 4, "needs 232449 B of shared memory, NVIDIA H200 has 232448"),
        (Resources(255, 0, 0), 8, None),
        (Resources(255, 0, 0), 16, "needs 255 registers in each of 16 warps"),
    ],
)
def test_what_is_too_large_for_the_gpu(used: Resources, warps: int, reason: str | None) -> None:
    assert refusal(used, warps, H200) == reason
