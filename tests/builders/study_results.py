"""Results of studies and groups, and summaries of studies, as a run would leave them."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.contract import Call, Config, Floor
from autotune.contract.gpu import H200
from autotune.environment import Environment
from autotune.study.result import WALL, Decision, GroupDecision, GroupResult, Outcome, StudyResult
from autotune.study.spec import StudySpec
from autotune.study.summary import StudySummary

CONFIG: Config = {"block_m": 32, "num_warps": None}
COUNTS: Mapping[str, int] = {"ok": 3, "pruned": 4}
FINISHED = "2026-01-01T00:00:00+00:00"


def study_result(
    incumbent_us: float | None = 2.0,
    tuned_us: float = 1.0,
    outcome: Outcome = "tuned",
    config: Config = CONFIG,
    floor_us: float | None = 0.5,
    counts: Mapping[str, int] = COUNTS,
    wall_s: float = 2.0,
) -> StudyResult:
    """Makes the result of a study of ten configs."""
    return StudyResult(
        decision=Decision(outcome, config, CONFIG, incumbent_us, tuned_us, 0.001, ()),
        configs=10,
        counts=counts,
        seconds={"measure": wall_s / 2, WALL: wall_s},
        floor=Floor(bytes=2_000_000, flops=0),
        floor_us=floor_us,
        bandwidth_bytes_per_s=4e12,
        finished=FINISHED,
    )


def group_result(
    group: str, members: Mapping[str, StudyResult], best_us: Mapping[str, Mapping[str, float]]
) -> GroupResult:
    """Makes the result of a group that its common block_m made twice as fast."""
    return GroupResult(
        decision=GroupDecision("tuned", incumbent_us=120.0, tuned_us=60.0, p_value=0.001),
        group=group,
        shared={"block_m": 16},
        sums_us={"16": 60.0},
        best_us=best_us,
        seconds={WALL: 12.3},
        finished=FINISHED,
        members=members,
        path="two-kernel",
    )


def summary(
    call: Call | None, result: StudyResult | None, group_result: GroupResult | None = None, gpu: str = H200.name
) -> StudySummary:
    """Makes the summary of a study of which only these matter."""
    spec = StudySpec(
        kernel="lora_shrink",
        problem={},
        call=call,
        source="builtin",
        kernel_fingerprint="0123",
        backend="cuda",
        gpu=H200,
        environment=Environment(gpu),
        space="wide",
        space_fingerprint="4567",
        settings=None,
    )
    return StudySummary("one", spec, result, group_result)
