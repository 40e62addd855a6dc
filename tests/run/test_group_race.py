"""Who wins in a group: all four defaults stay unless another set is faster together, beyond the noise, twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from autotune.contract import Config
from autotune.measure.result import Measurement
from autotune.run.group_race import GroupRace, decide_group

ROUNDS = 40
FAILED = Measurement("wrong_result", message="wrong")
Times = Mapping[tuple[int, int], float]
"""Microseconds of the configs of an op, by (block_m, warps)."""


def config(block_m: int, warps: int = 4) -> Config:
    return {"block_m": block_m, "num_warps": warps}


@dataclass
class Scripted:
    """An op whose races go by script; warps 4 is what the default has, 8 what was tuned."""

    name: str
    times_us: Times
    noise: float = 0.0
    flatter: float = 1.0
    fails: Callable[[Config, int], bool] = lambda config, race: False
    other_defaults: Sequence[Config] = ()
    races: list[list[Config]] = field(default_factory=list)

    @property
    def incumbent(self) -> Config:
        return config(64)

    def best_at(self, value: int, count: int) -> list[Config]:
        at = sorted((us, key) for key, us in self.times_us.items() if key[0] == value)
        return [config(*key) for _, key in at[:count]]

    def race(self, configs: Sequence[Config], rounds: int) -> list[Measurement]:
        self.races.append([dict(each) for each in configs])
        race = len(self.races) - 1
        found = []
        for i, each in enumerate(configs):
            us = self.times_us[each["block_m"] or 0, each["num_warps"] or 0]
            us *= self.flatter if race == 0 and each != self.incumbent else 1.0
            samples = us * np.exp(self.noise * np.random.default_rng(100 * race + i).standard_normal(rounds))
            found.append(FAILED if self.fails(each, race) else Measurement("ok", tuple(samples.tolist())))
        return found


A: Times = {(64, 4): 20, (64, 8): 14, (32, 8): 11, (16, 8): 9}
B: Times = {(64, 4): 20, (64, 8): 19, (32, 8): 20.5, (16, 8): 60}


def decided(*ops: Scripted, values: Sequence[int] = (32, 64)) -> GroupRace:
    raced = decide_group(ops, "block_m", values, ROUNDS)
    assert raced is not None
    return raced


def test_the_sum_wins_though_an_op_alone_is_slower_than_its_default() -> None:
    raced = decided(Scripted("a", A, 0.01), Scripted("b", B, 0.01))
    assert (raced.decision.outcome, raced.value) == ("tuned", 32)
    assert raced.ops["a"].config == raced.ops["b"].config == config(32, 8)
    assert raced.ops["b"].tuned_us > (raced.ops["b"].incumbent_us or 0)
    assert raced.decision.incumbent_us == pytest.approx(40, rel=0.02)
    assert raced.decision.tuned_us == pytest.approx(31.5, rel=0.02)
    assert raced.decision.p_value is not None
    assert raced.decision.p_value <= 0.01


def test_the_second_race_decides_alone_and_the_defaults_own_value_is_next_in_line() -> None:
    """The lead at 32 was luck; at the default's block_m the tuned set still wins."""
    lucky = {**A, (32, 8): 24.0}
    raced = decided(Scripted("a", lucky, 0.01, flatter=0.5), Scripted("b", {**B, (32, 8): 18.0}, 0.01))
    assert (raced.decision.outcome, raced.value) == ("tuned", 64)
    assert raced.ops["a"].config == config(64, 8)


def test_the_other_default_is_raced_and_told() -> None:
    others = (config(16, 8),)
    raced = decided(Scripted("a", A, 0.01, other_defaults=others), Scripted("b", B, 0.01, other_defaults=others))
    assert (raced.decision.outcome, raced.value) == ("tuned", 32)
    assert raced.decision.other_default_us == pytest.approx(69, rel=0.02)
    assert decided(Scripted("a", A, 0.01), Scripted("b", B, 0.01)).decision.other_default_us is None


def test_what_is_slower_than_the_other_default_does_not_win() -> None:
    """The first race flattered all but the other default, which then beats the winner of that race."""
    times = {(64, 4): 20.0, (32, 8): 18.0, (16, 8): 15.0}
    late = [Scripted(name, times, 0.01, other_defaults=(config(16, 8),)) for name in ("a", "b")]
    raced = decided(*late, values=(32, 64))
    assert (raced.decision.outcome, raced.value) == ("tuned", 16)
    assert raced.decision.tuned_us == raced.decision.other_default_us


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.1])
def test_equal_sums_keep_all_defaults(noise: float) -> None:
    flat = dict.fromkeys(A, 20.0)
    raced = decided(Scripted("a", flat, noise), Scripted("b", flat, noise))
    assert (raced.decision.outcome, raced.value) == ("default", 64)
    assert all(op.config == config(64) for op in raced.ops.values())
    assert raced.decision.tuned_us == raced.decision.incumbent_us


def test_a_gain_below_a_percent_keeps_all_defaults() -> None:
    near = {(64, 4): 20.0, (32, 8): 19.9}
    assert decided(Scripted("a", near), Scripted("b", near)).decision.outcome == "default"


def test_what_one_op_gains_the_other_may_lose() -> None:
    """Each op is faster alone at its own block_m; no common one is."""
    a = Scripted("a", {(64, 4): 20, (16, 8): 10, (32, 8): 30})
    b = Scripted("b", {(64, 4): 20, (16, 8): 35, (32, 8): 10.5})
    raced = decided(a, b, values=(32, 16, 64))
    assert raced.decision.outcome == "default"


def test_a_config_that_fails_on_fresh_inputs_takes_its_set_out() -> None:
    def fails(each: Config, race: int) -> bool:
        return each["block_m"] == 32

    raced = decided(Scripted("a", A, fails=fails), Scripted("b", B))
    assert (raced.decision.outcome, raced.value) == ("tuned", 64)


def test_a_winner_that_fails_the_second_race_gives_way() -> None:
    def fails(each: Config, race: int) -> bool:
        return each["block_m"] == 32 and race == 1

    assert decided(Scripted("a", A), Scripted("b", B, fails=fails)).value == 64


def test_a_default_that_does_not_run_loses() -> None:
    def fails(each: Config, race: int) -> bool:
        return each == config(64)

    raced = decided(Scripted("a", A, fails=fails), Scripted("b", B))
    assert (raced.decision.outcome, raced.value, raced.decision.incumbent_us) == ("tuned", 32, None)
    assert raced.ops["b"].incumbent_us is not None


def test_nothing_is_decided_if_no_value_has_every_op() -> None:
    a = Scripted("a", A, fails=lambda each, race: each["block_m"] == 64)
    b = Scripted("b", B, fails=lambda each, race: each["block_m"] == 32)
    assert decide_group([a, b], "block_m", (32, 64), ROUNDS) is None


def test_every_race_has_the_default_and_no_config_twice() -> None:
    a, b = Scripted("a", A), Scripted("b", B)
    decided(a, b)
    for race in (*a.races, *b.races):
        assert race[0] == config(64)
        assert all(each not in race[:i] for i, each in enumerate(race))


def test_a_dead_parameter_leaves_the_defaults() -> None:
    """Tiny batches are not sorted: every block_m is the default's, and there is nothing to race."""
    only: Times = {(64, 4): 20.0}
    raced = decided(Scripted("a", only), Scripted("b", only), values=(64,))
    assert (raced.decision.outcome, raced.value) == ("default", 64)
    assert raced.decision.tuned_us == raced.decision.incumbent_us == 40.0
