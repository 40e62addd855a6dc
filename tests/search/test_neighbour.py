"""Studies of other shapes say where to begin."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest

from autotune.measure.recording import Recording
from autotune.search.making import make_search
from autotune.search.neighbour import Neighbour, distance, seeds
from tests.builders.recordings import neighbour_of


def test_neighbours_best_come_right_after_the_incumbent(toy: Recording) -> None:
    neighbour = neighbour_of(toy)
    search = make_search("gp", toy.space, 0, [neighbour])
    study = optuna.create_study(sampler=search.sampler)
    first = search.sampler.shortlist(study, 3)
    ranked = sorted(zip(neighbour.log_us, range(len(neighbour.configs)), strict=True))
    assert first[0] == toy.space.incumbent
    assert first[1] == neighbour.configs[ranked[0][1]]


def test_neighbours_take_turns_and_unknown_configs_are_left_out(toy: Recording) -> None:
    foreign = {"BLOCK_M": 512, "BLOCK_N": 16, "num_stages": 1, "maxnreg": None}
    first = Neighbour({}, [foreign, toy.configs[3], toy.configs[4]], [0.0, 1.0, 2.0])
    second = Neighbour({}, [toy.configs[9]], [5.0])
    assert seeds(toy.space, [first, second], 3) == [3, 9, 4]
    assert seeds(toy.space, [replace(first, winner=toy.configs[4]), second], 3) == [4, 9, 3]
    assert seeds(toy.space, [replace(first, winner=foreign), second], 3) == [3, 9, 4]


def test_distance_counts_doublings() -> None:
    assert distance({"m": 16, "k": 64}, {"m": 64, "k": 64}) == pytest.approx(2)
    assert distance({"m": 16}, {"m": 16, "k": 64}) == pytest.approx(1)
