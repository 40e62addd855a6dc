"""The race that closes a comparison with a sweep: what comes of it where configs fail on fresh inputs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from autotune.bench.sweep import closing_race
from autotune.contract import Config
from autotune.errors import AutotuneError
from autotune.measure.result import Measurement
from tests.builders.stand_in_backend import StandIn

WINNER, OTHERS = {"block": 16}, [{"block": 32}, {"block": 64}]


class Racing(StandIn):
    """Takes as many microseconds as a config's block; some fail."""

    def __init__(self, *failing: int) -> None:
        self._failing = failing

    def race(self, configs: Sequence[Config], rounds: int) -> list[Measurement]:
        blocks = [int(config["block"] or 0) for config in configs]
        return [
            Measurement("wrong_result") if block in self._failing else Measurement("ok", (float(block),) * rounds)
            for block in blocks
        ]


def test_the_winner_is_compared_with_the_fastest() -> None:
    found = closing_race(Racing(), {"block": 32}, [WINNER, *OTHERS])
    assert (found.winner_us, found.fastest_us, found.winner_over_fastest) == (32, 16, 2)
    assert [entrant.median_us for entrant in found.entrants] == [32, 16, 64]


def test_a_winner_that_fails_on_fresh_inputs_is_told() -> None:
    found = closing_race(Racing(16), WINNER, OTHERS)
    assert (found.winner_us, found.fastest_us, found.winner_over_fastest) == (None, 32, None)


def test_where_all_fail_there_is_nothing_to_tell() -> None:
    with pytest.raises(AutotuneError, match="none of the best 3 configs runs on fresh inputs"):
        closing_race(Racing(16, 32, 64), WINNER, OTHERS)
