"""Zeroing by a launch of our own writes all of an output, and nothing besides."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autotune.kernels.common import zeroing
from autotune.kernels.lora_shrink.kernel import LoraShrink
from autotune.kernels.lora_shrink.problem import LoraShrinkProblem

AROUND = 7
"""Elements on either side that are not the output's."""


@given(size=st.integers(1, 5 * zeroing._BLOCK))
def test_all_of_it_and_nothing_besides(device: str, size: int) -> None:
    memory = torch.full((size + 2 * AROUND,), torch.nan, device=device)
    zeroing.zeroing(memory[AROUND : AROUND + size]).run()
    assert bool((memory[AROUND : AROUND + size] == 0).all())
    assert int(memory.isnan().sum()) == 2 * AROUND


@pytest.mark.parametrize(("above", "waits"), [(0, True), (1, False)])
def test_a_large_one_does_not_take_the_room_of_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, above: int, waits: bool
) -> None:
    monkeypatch.setattr(zeroing, "dependent_launch", lambda: {"DEPENDENT": True, "launch_pdl": True})
    launch = zeroing.zeroing(torch.empty(zeroing._MOST_DEPENDENT + above, device="meta"))
    assert (launch.options["DEPENDENT"], launch.options.get("launch_pdl", False)) == (waits, waits)
    assert launch.grid[0] * zeroing._BLOCK >= zeroing._MOST_DEPENDENT + above


def test_a_shrink_zeroes_its_output_first(device: str) -> None:
    """Whatever was in it: rows without an adapter are zero, and splits add to zeros."""
    kernel, problem = LoraShrink(), LoraShrinkProblem("float16", 20, 128, 16, 2, max_loras=3, active_loras=2)
    inputs = kernel.make_inputs(problem, device, 0)
    inputs.out.fill_(torch.nan)
    first, *_ = kernel.launches(inputs, {"block_m": 16, "block_n": 16, "block_k": 32, "split_k": 2, **_LAUNCH})
    first.run()
    assert not inputs.out.any()


def test_an_output_with_gaps_is_refused(device: str) -> None:
    kernel, problem = LoraShrink(), LoraShrinkProblem("float16", 20, 128, 16, 2, max_loras=3)
    inputs = kernel.make_inputs(problem, device, 0)
    with pytest.raises(ValueError, match="out must be contiguous"):
        replace(inputs, out=torch.empty(2, 40, 16, device=device)[:, ::2])


_LAUNCH = {"num_warps": 4, "num_stages": 1, "num_ctas": 1, "group_size_m": 1}
