"""What makes a launch dear, and that the estimate knows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from autotune.contract import registry
from autotune.contract.gpu import H200
from autotune.kernels.common.cost import Work
from autotune.kernels.common.tiles import Tile
from autotune.measure import recording

TILE = Tile(m=64, n=64, k=64, warps=4, stages=3, x_bytes=2, weight_bytes=2)
WORK = Work(TILE, steps=32, blocks=2000, idle_blocks=0, out_bytes=64 * 64 * 4)


@pytest.mark.parametrize(
    "dearer",
    [
        replace(WORK, blocks=4000),
        replace(WORK, idle_blocks=20_000),
        replace(WORK, steps=64),
        replace(WORK, out_bytes=2 * WORK.out_bytes),
        replace(WORK, tile=replace(TILE, stages=1)),
        replace(WORK, max_registers=48),
        # The same work in steps whose rows are a quarter of a cache line.
        replace(WORK, tile=replace(TILE, k=16), steps=128),
    ],
    ids=["blocks", "idle blocks", "steps", "output", "latency", "spills", "short rows"],
)
def test_more_to_do_takes_longer(dearer: Work) -> None:
    assert dearer.us(H200) > WORK.us(H200)


def test_a_wave_more_is_felt_at_once() -> None:
    full = WORK.blocks // (2 * H200.sms) * 2 * H200.sms
    us = [replace(WORK, blocks=blocks).us(H200) for blocks in range(full // 2, full)]
    assert max(np.diff(us)) > 5 * np.median(np.diff(us))


# Of SGLang's expands the estimate says little, which docs/searching.md tells.
RANKED = [path for path in recording.find() if not path.name.startswith(("sglang_expand", "sglangx_expand"))]


@pytest.mark.parametrize("path", RANKED, ids=lambda path: path.name.removesuffix(recording.SUFFIX))
def test_estimates_rank_what_was_measured(path: Path) -> None:
    """A rough figure, but far from chance."""
    recorded = recording.load(path)
    kernel, problem = next(
        (kernel, problem)
        for kernel in map(registry.load, registry.installed().names())
        if (problem := kernel.problem_of_recording(recorded.name))
    )
    ok = [(c, m.median_us) for c, m in zip(recorded.configs, recorded.measurements, strict=True) if m.status == "ok"]
    estimates = [kernel.estimate_us(problem, config, H200) for config, _ in ok]
    assert spearmanr(estimates, [us for _, us in ok]).statistic > 0.5
