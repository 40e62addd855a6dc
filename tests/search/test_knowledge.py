"""What the search knows beside its model: resources, coordinates, neighbours."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import optuna
import pytest

from autotune.contract import registry
from autotune.contract.gpu import H200
from autotune.contract.space import Space
from autotune.measure.recording import Recording
from autotune.measure.result import Measurement
from autotune.search import Neighbour, make_search
from autotune.search.coordinates import coordinates, variants, with_pairs
from autotune.search.estimate import Floats, estimated
from autotune.search.history import observe
from autotune.search.neighbour import distance, seeds
from autotune.search.pool import PoolSampler
from autotune.search.resources import dominated
from autotune.search.transfer import transferred
from autotune.study import trials

Replay = Callable[..., list[tuple[int, Measurement]]]


def _at(recording: Recording, m: int, n: int, stages: int, registers: int | None) -> int:
    return recording.space.index({"BLOCK_M": m, "BLOCK_N": n, "num_stages": stages, "maxnreg": registers})


def test_no_smaller_than_out_of_resources(toy: Recording) -> None:
    failed = _at(toy, 64, 64, 3, None)
    hopeless = dominated(toy.space, [failed])
    assert hopeless[_at(toy, 128, 64, 3, None)]
    assert hopeless[_at(toy, 64, 64, 4, None)]
    assert not hopeless[_at(toy, 128, 64, 2, None)]
    assert not hopeless[_at(toy, 128, 128, 4, 64)], "a register cap is another matter"
    assert not dominated(toy.space, []).any()


def test_hopeless_configs_come_last(toy: Recording) -> None:
    for name in ("random", "tpe", "gp"):
        search = make_search(name, toy.space, 0)
        study = optuna.create_study(sampler=search.sampler)
        for registers in (None, 64, 128):
            config = toy.space.configs[_at(toy, 64, 64, 2, registers)]
            trials.add_failure(study, toy.space, config, Measurement("out_of_resources"))
        hopeless = observe(study, toy.space).hopeless
        hopeful = len(toy.space) - 3 - int(hopeless.sum())
        order = [toy.space.index(config) for config in search.sampler.shortlist(study, len(toy.space))]
        assert hopeless.any()
        assert not hopeless[order[:hopeful]].any()
        assert hopeless[order[hopeful:]].all()


def test_coordinates_are_doublings_and_say_what_is_unset() -> None:
    grid = [{"block": b, "cap": c, "flag": f} for b in (16, 64) for c in (None, 64, 256) for f in (0, 1)]
    space = Space(grid, grid[0])
    rows = {space.key(c): row for c, row in zip(space.configs, coordinates(space), strict=True)}
    np.testing.assert_allclose(rows[16, None, 0], [4, 7, 2, 0])
    np.testing.assert_allclose(rows[64, 256, 1], [6, 8, 0, 1])
    elsewhere = coordinates(space, [{"block": 128, "cap": 32, "flag": 1}])
    np.testing.assert_allclose(elsewhere[0], [7, 5, 0, 1])


def test_pairs_are_products_and_ratios() -> None:
    row = with_pairs(np.array([[4.0, 2.0]]))[0] * np.array([1, 1, math.sqrt(2), math.sqrt(2)])
    np.testing.assert_allclose(row, [4, 2, 6, 2])


def test_variants_differ_in_one_parameter(toy: Recording) -> None:
    near = np.flatnonzero(variants(toy.space, 0))
    assert len(near) == 3 + 3 + 3 + 2
    for index in near:
        differing = [n for n, v in toy.space.configs[index].items() if toy.space.incumbent[n] != v]
        assert len(differing) == 1


def _neighbour(recording: Recording) -> Neighbour:
    ok = [(c, m) for c, m in zip(recording.configs, recording.measurements, strict=True) if m.status == "ok"]
    return Neighbour(recording.sizes, [c for c, _ in ok], [math.log(m.median_us) for _, m in ok])


def test_neighbours_best_come_right_after_the_incumbent(toy: Recording) -> None:
    neighbour = _neighbour(toy)
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


def test_a_neighbour_of_the_same_shape_is_a_good_mean(toy: Recording) -> None:
    expected = transferred(toy.space, [_neighbour(toy)])
    assert expected is not None
    ok = [i for i, m in enumerate(toy.measurements) if m.status == "ok"]
    times = [math.log(toy.measurements[i].median_us) for i in ok]
    assert np.corrcoef(expected[ok], times)[0, 1] > 0.9
    assert transferred(toy.space, []) is None
    assert transferred(toy.space, [Neighbour({}, [{"other": 1}] * 20, [1.0] * 20)]) is None


def test_distance_counts_doublings() -> None:
    assert distance({"m": 16, "k": 64}, {"m": 64, "k": 64}) == pytest.approx(2)
    assert distance({"m": 16}, {"m": 16, "k": 64}) == pytest.approx(1)


def _log_times(recording: Recording) -> Floats:
    """A perfect estimate; what fails is thought to be quick."""
    return np.array([math.log(m.median_us) if m.status == "ok" else 0.0 for m in recording.measurements])


def test_a_good_estimate_is_found_out_soon_and_a_bad_one_is_dropped(toy: Recording, replay: Replay) -> None:
    good = make_search("gp", toy.space, 0, log_estimate=_log_times(toy), stop="none")
    assert min(m.median_us for _, m in replay(toy, good, 12) if m.status == "ok") <= 1.01 * toy.best_us
    bad = make_search("gp", toy.space, 0, log_estimate=-_log_times(toy), stop="none")
    told = replay(toy, bad, 60)
    assert isinstance(bad.sampler, PoolSampler)
    assert bad.sampler.surrogate.trust == 0
    assert min(m.median_us for _, m in told if m.status == "ok") <= 1.01 * toy.best_us
    assert len({index for index, _ in told}) == len(told)


def test_a_neighbour_passes_on_the_error_of_its_estimate(toy: Recording) -> None:
    estimate = np.zeros(len(toy.space))
    far = replace(_neighbour(toy), log_us=[t + 5 for t in _neighbour(toy).log_us])
    explained = replace(far, log_estimate=far.log_us)
    expected = transferred(toy.space, [explained], estimate)
    assert expected is not None
    assert np.ptp(expected) == pytest.approx(0, abs=1e-6), "nothing left to learn from it"
    unknown = transferred(toy.space, [far], None)
    assert unknown is not None
    assert np.ptp(unknown) > 0.1


def test_a_kernel_without_estimates_is_no_error(toy: Recording) -> None:
    kernel = registry.load("lora_shrink")
    problem = kernel.problem_of_recording("vllm_shrink_M16_K5120_N16_L4_S1")
    assert problem is not None
    assert estimated(toy.configs, kernel, problem, H200) is None, "its parameters are others"
