"""A server's kernel and ours are timed against each other once both have a result, and again when one has another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
from optuna.storages import BaseStorage

from autotune.contract import Config, Problem
from autotune.contract.gpu import H200
from autotune.errors import AutotuneError
from autotune.kernels.aligned_moe_lora.problem import AlignedMoeProblem
from autotune.kernels.csgmv_shrink.kernel import CsgmvShrink
from autotune.kernels.fused_moe_lora.problem import MoeProblem
from autotune.kernels.lora_expand.problem import LoraExpandProblem
from autotune.kernels.lora_linear.problem import LoraLinearProblem
from autotune.kernels.lora_shrink.problem import LoraShrinkProblem
from autotune.measure.result import Measurement
from autotune.run.backends import RacedConfig
from autotune.run.head_to_head import HeadToHeads
from autotune.run.options import RunOptions
from autotune.run.queue import Turn
from autotune.run.runner import Runner
from autotune.study import studies
from autotune.study.head_to_head import APART, DEFAULT, OURS, SERVED
from autotune.study.result import WorkloadTimes
from autotune.study.study import KernelStudy
from tests.builders.double_study import HERE
from tests.builders.specs import spec_on_gpu
from tests.builders.stand_in_backend import StandInBackends
from tests.builders.study_results import study_result

pytestmark = pytest.mark.usefixtures("anywhere")

SIZES: dict[str, Any] = {"dtype": "float16", "m": 16, "max_loras": 4, "num_slices": 1}
EXPERTS = MoeProblem("float16", 64, 64, 16, 32, 1, num_experts=4, top_k=2, max_loras=2)
PROBLEMS: dict[str, Problem] = {
    "lora_shrink": LoraShrinkProblem(k=4096, n=16, **SIZES),
    "lora_expand": LoraExpandProblem(k=16, n=4096, **SIZES),
    "lora_linear": LoraLinearProblem(k=4096, n=4096, lora_rank=16, **SIZES),
    "fused_moe_lora_down_one_shot": EXPERTS,
    "aligned_moe_lora_down": AlignedMoeProblem(**asdict(EXPERTS), block_m=64),
}
SPECS = {name: spec_on_gpu(name, problem, H200, HERE, "wide") for name, problem in PROBLEMS.items()}
DEFAULT_CONFIG: Config = {"block_m": 32, "num_warps": None}
TUNED: Config = {"block_m": 16, "num_warps": 4}


class Timed(StandInBackends):
    """Tells the samples that a test says, by study and config, and notes what raced together, and on what."""

    def __init__(self, samples_us: Mapping[tuple[str, bool], Sequence[float]]) -> None:
        super().__init__()
        self.samples_us = samples_us
        self.raced: list[list[tuple[str, bool]]] = []
        self.problems: list[Problem] = []

    def race(self, entrants: Sequence[RacedConfig], rounds: int) -> list[Measurement]:
        keys = [(each.study.name, each.config == TUNED) for each in entrants]
        self.raced.append(keys)
        self.problems += [each.problem for each in entrants]
        return [Measurement("ok", tuple(self.samples_us[key])) if key in self.samples_us else FAILED for key in keys]


FAILED = Measurement("crashed", message="lost")


class Unwatched:
    def on_start(self, turn: Turn) -> None: ...

    def on_held(self, turn: Turn, why: str) -> None:
        raise AssertionError(why)


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotune.run.identity.check", lambda study, options: None)


def finished(storage: BaseStorage, kernel: str, source: str, tuned_us: float = 1.0) -> KernelStudy:
    """Makes a study of a problem that has decided for `TUNED`."""
    spec = replace(SPECS[kernel], source=source)
    study = studies.create(storage, f"{kernel}@{source}", spec)
    study.finish(study_result(2.0, tuned_us, config=TUNED))
    return study


def meet(
    storage: BaseStorage, backends: StandInBackends, chosen: Sequence[KernelStudy], time_s: float = 60.0
) -> HeadToHeads:
    with Runner(storage, RunOptions("sqlite://"), backends) as runner:
        met = HeadToHeads(runner, Unwatched())  # type: ignore[arg-type]
        met.run(chosen, time_s)
    return met


def samples(us: float) -> list[float]:
    return [us * (1 + 0.001 * (i % 5)) for i in range(20)]


SHRINKS = {
    ("lora_shrink@vllm", False): samples(20.0),
    ("lora_shrink@vllm", True): samples(10.0),
    ("lora_shrink@builtin", True): samples(6.0),
}


@pytest.mark.parametrize(("ours_us", "winner"), [(6.0, OURS), (10.0, OURS), (10.2, SERVED)])
def test_ours_runs_where_it_is_no_slower(storage: BaseStorage, ours_us: float, winner: str) -> None:
    chosen = [finished(storage, "lora_shrink", source) for source in ("vllm", "builtin")]
    meet(storage, Timed(SHRINKS | {("lora_shrink@builtin", True): samples(ours_us)}), chosen)
    met = chosen[1].head_to_head
    assert met is not None
    assert (met.winner, met.interleaved) == (winner, True)
    assert met.us(DEFAULT) == pytest.approx(20.04)
    assert met.us(SERVED) == pytest.approx(10.02)


def test_all_sides_race_together_and_only_once(storage: BaseStorage) -> None:
    chosen, backends = [finished(storage, "lora_shrink", source) for source in ("vllm", "builtin")], Timed(SHRINKS)
    meet(storage, backends, chosen)
    meet(storage, backends, chosen)
    assert backends.raced == [[("lora_shrink@vllm", False), ("lora_shrink@vllm", True), ("lora_shrink@builtin", True)]]
    chosen[0].finish(study_result(2.0, 2.0, outcome="default", config=DEFAULT_CONFIG))
    meet(storage, backends, chosen)
    assert backends.raced[1] == [("lora_shrink@vllm", False), ("lora_shrink@builtin", True)]


def test_another_result_of_ours_has_not_met_anybody(storage: BaseStorage) -> None:
    chosen = [finished(storage, "lora_shrink", source) for source in ("vllm", "builtin")]
    meet(storage, Timed(SHRINKS), chosen)
    chosen[1].finish(study_result(2.0, 1.0, config={**TUNED, "num_warps": 8}))
    assert chosen[1].head_to_head is None


def test_what_met_an_older_release_of_the_server_is_forgotten_where_the_new_one_has_not_been_timed(
    storage: BaseStorage,
) -> None:
    older, ours = (finished(storage, "lora_shrink", source) for source in ("vllm", "builtin"))
    meet(storage, Timed(SHRINKS), [older, ours])
    meet(storage, Timed({}), [ours])
    assert ours.head_to_head is not None, "without a study of the server's there is nothing newer"
    newer = studies.create(storage, "lora_shrink@newer", replace(SPECS["lora_shrink"], source="vllm"))
    meet(storage, Timed({}), [newer, ours])
    assert ours.head_to_head is None


def test_ours_that_no_longer_runs_leaves_the_call_to_the_server(storage: BaseStorage) -> None:
    chosen = [finished(storage, "lora_shrink", source) for source in ("vllm", "builtin")]
    meet(storage, Timed({key: us for key, us in SHRINKS.items() if "vllm" in key[0]}), chosen)
    met = chosen[1].head_to_head
    assert met is not None
    assert (met.winner, met.us(OURS)) == (SERVED, None)


@pytest.mark.parametrize(("pair_us", "winner"), [(8.5, OURS), (9.5, APART)])
def test_one_launch_meets_the_faster_of_each_of_its_calls(storage: BaseStorage, pair_us: float, winner: str) -> None:
    """Our shrink and the server's expand are the faster ones: 6 + 3."""
    kernels = ("lora_linear", "lora_shrink", "lora_expand")
    chosen = [finished(storage, kernel, "builtin") for kernel in kernels]
    chosen += [finished(storage, kernel, "vllm") for kernel in kernels[1:]]
    backends = Timed(
        SHRINKS
        | {
            ("lora_expand@vllm", False): samples(8.0),
            ("lora_expand@vllm", True): samples(3.0),
            ("lora_expand@builtin", True): samples(4.0),
            ("lora_linear@builtin", True): samples(pair_us),
        }
    )
    meet(storage, backends, chosen)
    met = chosen[0].head_to_head
    assert met is not None
    assert met.winner == winner
    assert [side.name for side in met.sides] == [DEFAULT, SERVED, APART, OURS]
    assert [round(side.time_us or 0.0, 1) for side in met.sides[:3]] == [28.1, 13.0, 9.0]
    assert len(backends.raced[-1]) == 6, "no config is timed twice"


@pytest.mark.parametrize(("ours_us", "winner"), [(5.0, OURS), (9.0, SERVED)])
def test_ours_of_the_experts_meets_a_member_of_the_servers_group(
    storage: BaseStorage, ours_us: float, winner: str
) -> None:
    """They are of different kernels and files; a group of ours, which the plug-in does not launch, meets nobody."""
    group = replace(SPECS["fused_moe_lora_down_one_shot"], group="experts")
    chosen = [finished(storage, "aligned_moe_lora_down", "builtin")]
    for source in ("vllm", "builtin"):
        member = studies.create(storage, f"experts@{source}", replace(group, source=source))
        member.finish(study_result(2.0, 1.0, config=TUNED))
        chosen.append(member)
    backends = Timed(
        {
            ("experts@vllm", False): samples(20.0),
            ("experts@vllm", True): samples(6.0),
            ("aligned_moe_lora_down@builtin", True): samples(ours_us),
        }
    )
    meet(storage, backends, chosen)
    met = chosen[0].head_to_head
    assert met is not None
    assert (met.winner, [side.name for side in met.sides]) == (winner, [DEFAULT, SERVED, OURS])
    assert len(backends.raced) == 1
    assert chosen[2].head_to_head is None


def test_what_finds_no_time_is_decided_by_the_studies_and_met_later(storage: BaseStorage) -> None:
    chosen = [finished(storage, "lora_shrink", "vllm", 1.0), finished(storage, "lora_shrink", "builtin", 1.5)]
    assert meet(storage, Timed(SHRINKS), chosen, time_s=0.0).settled == 1
    met = chosen[1].head_to_head
    assert met is not None
    assert (met.winner, met.interleaved) == (SERVED, False)
    meet(storage, Timed(SHRINKS), chosen)
    met = chosen[1].head_to_head
    assert met is not None
    assert (met.winner, met.interleaved) == (OURS, True)


def test_a_race_that_fails_is_told_and_decided_by_the_studies(storage: BaseStorage) -> None:
    class Lost(StandInBackends):
        def race(self, entrants: Sequence[RacedConfig], rounds: int) -> list[Measurement]:
            raise AutotuneError("the worker is gone")

    chosen = [finished(storage, "lora_shrink", source) for source in ("vllm", "builtin")]
    assert meet(storage, Lost(), chosen).failures == ["the worker is gone"]
    met = chosen[1].head_to_head
    assert met is not None
    assert met.winner == OURS, "of equal times"


CSGMV: dict[str, Any] = {"hidden_size": 1024, "lora_rank": 64, "chunk_size": 16, "num_loras": 8}
WORKLOADS = (
    WorkloadTimes("prefill", 90.0, 60.0, 0.3),
    WorkloadTimes("decode of 8", 9.0, 5.0, 0.4),
    WorkloadTimes("decode of 64", 9.0, 5.0, 0.4),
    WorkloadTimes("decode of 256", 9.0, 5.0, 0.4),
)


def csgmv(
    storage: BaseStorage, source: str, tuned_us: float, workloads: tuple[WorkloadTimes, ...] = (), **flags: Any
) -> KernelStudy:
    """Makes a finished study of a csgmv shrink on the batches that flags describe."""
    kernel = CsgmvShrink()
    spec = spec_on_gpu(kernel.name, kernel.problem_from_flags(CSGMV | flags), H200, HERE, "wide")
    study = studies.create(storage, f"csgmv@{source}", replace(spec, source=source))
    result = study_result(2 * tuned_us, tuned_us, config=TUNED)
    study.finish(replace(result, decision=replace(result.decision, workloads=workloads)))
    return study


@pytest.mark.parametrize("ours", [{}, {"workload": "mixed"}, {"workload": "decode", "total_tokens": 8}], ids=str)
def test_both_kernels_of_an_op_are_timed_on_what_ours_was_tuned_on(storage: BaseStorage, ours: dict[str, Any]) -> None:
    """Whatever the server's own was tuned on."""
    chosen = [csgmv(storage, "sglang", 8.0, workload="mixed"), csgmv(storage, "builtin", 50.0, **ours)]
    backends = Timed({(f"csgmv@{source}", True): samples(us) for source, us in (("sglang", 60.0), ("builtin", 50.0))})
    meet(storage, backends, chosen)
    assert backends.problems == [CsgmvShrink().problem_from_flags(CSGMV | ours)] * 3
    met = chosen[1].head_to_head
    assert met is not None
    assert (met.winner, met.interleaved) == (OURS, True)


@pytest.mark.parametrize(("theirs", "races"), [({}, 1), ({"workload": "mixed"}, 2)], ids=["alike", "of others"])
def test_what_an_older_release_decided_by_times_of_two_problems_is_decided_again(
    storage: BaseStorage, theirs: dict[str, Any], races: int
) -> None:
    chosen = [csgmv(storage, "sglang", 8.0, **theirs), csgmv(storage, "builtin", 8.0)]
    backends = Timed({(f"csgmv@{source}", True): samples(us) for source, us in (("sglang", 60.0), ("builtin", 50.0))})
    meet(storage, backends, chosen)
    _as_of_an_older_release(chosen[1])
    for _ in range(2):
        meet(storage, backends, chosen)
    assert len(backends.raced) == races


def _as_of_an_older_release(study: KernelStudy) -> None:
    """Has a study keep what it met as releases did that timed each kernel on its own study's problem."""
    assert study.head_to_head is not None
    study.keep_head_to_head(replace(study.head_to_head, on_ours=False))


def test_several_launches_in_one_and_other_kernels_are_each_timed_on_their_own_problem(storage: BaseStorage) -> None:
    chosen = [finished(storage, kernel, "builtin") for kernel in ("lora_linear", "lora_shrink", "lora_expand")]
    backends = Timed(SHRINKS)
    meet(storage, backends, chosen)
    assert backends.problems == [PROBLEMS[name] for name in ("lora_shrink", "lora_expand", "lora_linear")]


@pytest.mark.parametrize(("ours_us", "winner"), [(59.0, OURS), (61.0, SERVED)])
def test_times_of_separate_studies_are_compared_on_what_ours_was_tuned_on(
    storage: BaseStorage, ours_us: float, winner: str
) -> None:
    """The mean of a study of prompts and decode batches is far below any time of prompts."""
    chosen = [csgmv(storage, "sglang", 8.0, WORKLOADS, workload="mixed"), csgmv(storage, "builtin", ours_us)]
    assert meet(storage, Timed({}), chosen, time_s=0.0).settled == 1
    met = chosen[1].head_to_head
    assert met is not None
    assert (met.us(DEFAULT), met.us(SERVED), met.us(OURS)) == (90.0, 60.0, ours_us)
    assert met.winner == winner


@pytest.mark.parametrize(
    ("theirs", "workloads"),
    [
        ({"workload": "mixed"}, ()),
        ({"workload": "mixed", "num_loras": 4}, WORKLOADS),
        ({"workload": "decode"}, ()),
    ],
    ids=["not kept", "another pool", "other batches"],
)
def test_ours_that_was_timed_beside_nothing_leaves_the_call_to_the_server(
    storage: BaseStorage, theirs: dict[str, Any], workloads: tuple[WorkloadTimes, ...]
) -> None:
    """Until the two are raced."""
    chosen = [csgmv(storage, "sglang", 80.0, workloads, **theirs), csgmv(storage, "builtin", 1.0)]
    meet(storage, Timed({}), chosen, time_s=0.0)
    met = chosen[1].head_to_head
    assert met is not None
    assert (met.winner, met.us(SERVED), met.interleaved) == (SERVED, None, False)
    meet(storage, Timed({("csgmv@sglang", True): samples(9.0), ("csgmv@builtin", True): samples(1.0)}), chosen)
    met = chosen[1].head_to_head
    assert met is not None
    assert (met.winner, met.interleaved) == (OURS, True)


def test_a_mixed_study_without_a_decode_batch_is_one_of_prompts(storage: BaseStorage) -> None:
    size: dict[str, Any] = {"chunk_size": 128}
    chosen = [
        csgmv(storage, "sglang", 8.0, workload="mixed", decode_requests=(8,), **size),
        csgmv(storage, "builtin", 9.0, **size),
    ]
    meet(storage, Timed({}), chosen, time_s=0.0)
    met = chosen[1].head_to_head
    assert met is not None
    assert (met.us(DEFAULT), met.us(SERVED), met.winner) == (16.0, 8.0, SERVED)
