"""Who wins: the default stays unless something else is faster, beyond the noise, twice, and correct both times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import optuna
import pytest

from autotune.contract import Config
from autotune.contract.space import Space
from autotune.measure.result import Measurement
from autotune.run.finalists import FINALISTS, best_configs, compare, decide
from autotune.study import trials
from autotune.study.result import Decision
from tests.builders.stand_in_backend import StandIn

ROUNDS = 40
SPACE = Space([{"block": block, "warps": 4} for block in range(1, 17)], {"block": 1, "warps": 4})
INCUMBENT = SPACE.incumbent

Race = Callable[[int, int], Measurement]
"""What a block does in the first (0) or second (1) race."""


class Racecourse(StandIn):
    """A backend that only races, by script."""

    def __init__(self, script: Race) -> None:
        self.script = script
        self.races: list[list[int]] = []

    def race(self, configs: Sequence[Config], rounds: int) -> list[Measurement]:
        assert rounds == ROUNDS
        blocks = [config["block"] or 0 for config in configs]
        self.races.append(blocks)
        return [self.script(block, len(self.races) - 1) for block in blocks]

    def measure(self, config: Config, limit_us: float | None) -> Measurement:
        raise AssertionError("the finalists are raced, not measured alone")


def timed(time_us: float, noise: float = 0.0, seed: int = 0) -> Measurement:
    samples = time_us * np.exp(noise * np.random.default_rng(seed).standard_normal(ROUNDS))
    return Measurement("ok", tuple(samples.tolist()))


FAILED = Measurement("wrong_result", message="error is 3 times the largest a correct kernel can make")


def searched(screened: Mapping[int, Measurement]) -> optuna.Study:
    """Returns a study whose search has measured these blocks."""
    study = optuna.create_study()
    for block, measurement in screened.items():
        study.enqueue_trial({"block": block})
        trials.tell(study, study.ask(SPACE.distributions), measurement)
    return study


def decided(script: Race, screened: Mapping[int, Measurement] | None = None) -> tuple[Decision, Racecourse]:
    course = Racecourse(script)
    decision = decide(searched(screened or {1: timed(10), 2: timed(8)}), SPACE, course, ROUNDS)
    assert decision is not None
    return decision, course


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.1])
def test_equal_configs_keep_the_default(noise: float) -> None:
    def equal(seed: int) -> Race:
        return lambda block, race: timed(10, noise, 100 * seed + 10 * block + race)

    for seed in range(10):
        decision, _ = decided(equal(seed))
        assert decision.outcome == "default"
        assert decision.config == INCUMBENT
        assert decision.tuned_us == decision.incumbent_us


def test_a_clear_win_is_tuned() -> None:
    decision, course = decided(lambda block, race: timed(8 if block == 2 else 10, 0.01, 10 * block + race))
    assert decision.outcome == "tuned"
    assert decision.config == {"block": 2, "warps": 4}
    assert decision.incumbent == INCUMBENT
    assert decision.incumbent_us is not None
    assert decision.tuned_us < decision.incumbent_us
    assert decision.p_value is not None
    assert decision.p_value <= 0.01
    assert course.races[1] == [1, 2]


@pytest.mark.parametrize(
    ("tuned_us", "noise"),
    [pytest.param(9.95, 0.001, id="certain but too small"), pytest.param(9.8, 0.3, id="large but uncertain")],
)
def test_a_win_below_the_noise_keeps_the_default(tuned_us: float, noise: float) -> None:
    decision, _ = decided(lambda block, race: timed(tuned_us if block == 2 else 10, noise, 10 * block + race))
    assert decision.outcome == "default"


def test_the_second_race_decides_alone() -> None:
    """The best of many noisy numbers flatters itself: its lead in the first race is no proof."""
    decision, _ = decided(lambda block, race: timed(5 if block == 2 and race == 0 else 10, 0.01, 10 * block + race))
    assert decision.outcome == "default"
    assert decision.finalists[0].config == {"block": 2, "warps": 4}


def test_a_default_that_does_not_run_loses() -> None:
    decision, course = decided(lambda block, race: FAILED if block == 1 else timed(12))
    assert decision.outcome == "tuned"
    assert decision.config == {"block": 2, "warps": 4}
    assert decision.incumbent_us is None
    assert decision.tuned_us == pytest.approx(12)
    assert len(course.races) == 1


def test_a_winner_that_fails_the_second_race_loses() -> None:
    decision, _ = decided(lambda block, race: FAILED if block == 2 and race == 1 else timed(8 if block == 2 else 10))
    assert decision.outcome == "default"
    assert decision.config == INCUMBENT
    assert decision.tuned_us == decision.incumbent_us == pytest.approx(10)


def test_a_default_that_fails_the_second_race_keeps_its_own_time() -> None:
    decision, _ = decided(lambda block, race: FAILED if block == 1 and race == 1 else timed(8 if block == 2 else 10))
    assert decision.outcome == "default"
    assert decision.tuned_us == decision.incumbent_us == pytest.approx(10)


def test_pruned_and_failed_configs_never_race() -> None:
    pruned = Measurement("pruned", (0.1, 0.1, 0.1))
    screened = {1: timed(10), 2: timed(8), 3: pruned, 4: FAILED}
    _, course = decided(lambda block, race: timed(10), screened)
    assert course.races[0] == [1, 2]


def test_the_default_races_though_the_search_never_measured_it() -> None:
    decision, course = decided(lambda block, race: timed(10), {2: timed(8)})
    assert course.races[0] == [1, 2]
    assert decision.config == INCUMBENT


def test_only_the_best_few_race() -> None:
    screened = {block: timed(100 - block) for block in range(1, 17)}
    _, course = decided(lambda block, race: timed(10), screened)
    assert course.races[0] == [1, *range(16, 16 - FINALISTS, -1)]


def test_nothing_is_decided_if_nothing_runs() -> None:
    study = searched({1: FAILED, 2: FAILED})
    assert decide(study, SPACE, Racecourse(lambda block, race: FAILED), ROUNDS) is None


def test_finalists_come_fastest_first_with_their_gain() -> None:
    decision, _ = decided(lambda block, race: timed({1: 10, 2: 8}.get(block, 12)), {2: timed(8), 3: timed(9)})
    assert [f.config["block"] for f in decision.finalists] == [2, 1, 3]
    assert [f.gain for f in decision.finalists] == pytest.approx([0.2, 0.0, -0.2])


def test_best_configs_are_the_fastest_complete_ones() -> None:
    study = searched({3: timed(7), 5: timed(5), 7: Measurement("pruned", (1.0,)), 9: FAILED})
    assert [config["block"] for config in best_configs(study, SPACE, 8)] == [5, 3]


def test_a_config_is_not_faster_than_itself() -> None:
    samples = timed(10, 0.05).samples_us
    verdict = compare(samples, samples)
    assert (verdict.gain, verdict.p_value, verdict.faster) == (0.0, 1.0, False)


def mixed(prefill_us: float, decode_us: float, noise: float = 0.01, seed: int = 0) -> Measurement:
    """Makes two workloads of one weight."""
    generator = np.random.default_rng(seed)
    prefill, decode = (us * np.exp(noise * generator.standard_normal(ROUNDS)) for us in (prefill_us, decode_us))
    by_workload = {"prefill": tuple(prefill.tolist()), "decode": tuple(decode.tolist())}
    return Measurement("ok", tuple(np.sqrt(prefill * decode).tolist()), workloads_us=by_workload)


SCREENED = {1: timed(10), 2: timed(7), 3: timed(8), 4: timed(9)}


def mixed_decision(times_us: Mapping[int, tuple[float, float]]) -> tuple[Decision, Racecourse]:
    screened = {block: SCREENED[block] for block in times_us}
    return decided(lambda block, race: mixed(*times_us[block], seed=100 * race + block), screened)


def test_a_config_that_slows_a_workload_is_passed_over() -> None:
    """The mean alone would take block 2: 7.07 us, and decode 25% slower."""
    decision, course = mixed_decision({1: (10, 10), 2: (4, 12.5), 3: (8, 9)})
    assert course.races == [[1, 2, 3], [1, 2], [1, 3]]
    assert (decision.outcome, decision.config["block"]) == ("tuned", 3)
    assert decision.worst_workload is not None
    assert decision.worst_workload.name == "decode"
    found = {times.name: (times.incumbent_us, times.tuned_us) for times in decision.workloads}
    assert found["prefill"] == pytest.approx((10, 8), rel=0.02)
    assert found["decode"] == pytest.approx((10, 9), rel=0.02)
    assert decision.tuned_us == pytest.approx(72**0.5, rel=0.02)


@pytest.mark.parametrize(("decode_us", "block"), [(10.09, 3), (10.05, 2)])
def test_it_may_not_cost_a_workload_what_another_run_would_call_slower(decode_us: float, block: int) -> None:
    """1% slower is slower; times of runs differ by some thousandths."""
    times_us = {1: (10, 10), 2: (7, decode_us), 3: (8, 10)}
    screened = {each: SCREENED[each] for each in times_us}
    decision, _ = decided(lambda each, race: mixed(*times_us[each], noise=0.001, seed=100 * race + each), screened)
    assert decision.config["block"] == block


def test_the_default_stays_if_every_faster_config_slows_a_workload() -> None:
    decision, course = mixed_decision({1: (10, 10), 2: (4, 12.5), 3: (12.5, 5)})
    assert len(course.races) == 3
    assert (decision.outcome, decision.config) == ("default", INCUMBENT)
    assert decision.tuned_us == decision.incumbent_us
    assert all(times.tuned_us == times.incumbent_us for times in decision.workloads)


def test_only_what_is_faster_on_the_mean_is_tried_on() -> None:
    decision, course = mixed_decision({1: (10, 10), 2: (4, 12.5), 3: (9, 12), 4: (11, 11)})
    assert decision.outcome == "default"
    assert course.races[1:] == [[1, 2], [1, 3]]


@pytest.mark.parametrize("decode_us", [10.0, 10.02])
def test_a_workload_that_is_slower_within_the_noise_does_not_count(decode_us: float) -> None:
    def close(seed: int) -> Race:
        return lambda block, race: mixed(*times_us[block != 1], seed=99 * seed + block)

    times_us = (10.0, 10.0), (7.0, decode_us)
    outcomes = [decided(close(seed))[0].outcome for seed in range(10)]
    assert outcomes == ["tuned"] * 10


def test_workloads_of_a_default_that_does_not_run_have_no_before() -> None:
    decision, _ = decided(lambda block, race: FAILED if block == 1 else mixed(8, 9))
    assert [times.incumbent_us for times in decision.workloads] == [None, None]
    assert decision.outcome == "tuned"


def test_a_single_workload_is_not_reported_as_one_of_several() -> None:
    decision, _ = decided(lambda block, race: timed(8 if block == 2 else 10, 0.01, block))
    assert (decision.workloads, decision.worst_workload) == ((), None)
