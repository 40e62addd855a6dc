"""Which token counts need no entry, what a server finds at those left out, and what becomes of them later."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from autotune.contract import Call, Config
from autotune.export.export import export
from autotune.export.file import ExportItem
from autotune.export.thinning import MeasuredShape, needed_m, thin_table
from autotune.export.timings import Timings
from autotune.servers import Table, provenance
from autotune.servers.lookup import nearest
from autotune.servers.vllm.server import VLLM
from tests.builders.exports import (
    GPU,
    SHRINK,
    TUNED,
    Killed,
    die_after,
    m_keys,
    put,
    served,
    shrink,
    table,
)

Times = Mapping[int, Mapping[str, float]]


def shape(winner: Mapping[int, str], times: Times, default: str | None = None) -> MeasuredShape:
    tables = {m: dict[Hashable, float](times_us.items()) for m, times_us in times.items()}
    return MeasuredShape(winner, {m: Timings((table,), default) for m, table in tables.items()})


def test_an_m_that_its_neighbours_config_serves_is_dropped() -> None:
    winner = {1: "a", 4: "b", 16: "c", 64: "c"}
    times = {1: {"a": 10.0, "b": 10.1}, 4: {"b": 10.0, "c": 11.0}, 16: {"c": 10.0}, 64: {"c": 20.0}}
    assert needed_m([shape(winner, times)]) == (4, 16)
    assert needed_m([shape(winner, times)], tolerance=0.001) == (1, 4, 16)
    assert needed_m([shape(winner, times)], removable={64}) == (1, 4, 16)


def test_nothing_is_dropped_without_a_measurement() -> None:
    assert needed_m([shape({1: "a", 4: "b"}, {1: {"a": 1.0}, 4: {"b": 1.0}})]) == (1, 4)
    assert needed_m([shape({1: "a", 4: "b"}, {1: {"a": 1.0, "b": 1.0}})]) == (1, 4), "nobody knows what m 4 is about"


def test_an_m_is_dropped_only_if_all_shapes_can_do_without() -> None:
    easy = shape({1: "a", 4: "a"}, {1: {"a": 1.0}, 4: {"a": 1.0}})
    hard = shape({1: "a", 4: "b"}, {1: {"a": 1.0, "b": 2.0}, 4: {"a": 2.0, "b": 1.0}})
    assert needed_m([easy, hard]) == (1, 4)
    assert needed_m([easy, easy]) == (4,)


@pytest.mark.parametrize(
    ("default_us", "kept"),
    [(None, (1, 4)), (10.05, (1, 4)), (10.1, (4,)), (20.0, (4,))],
    ids=["was not timed", "is faster", "is as fast", "is slower"],
)
def test_nothing_gets_slower_than_the_default(default_us: float | None, kept: tuple[int, ...]) -> None:
    at_1 = {"a": 10.0, "b": 10.1} | ({"default": default_us} if default_us else {})
    times = {1: at_1, 4: {"b": 1.0, "default": 2.0}}
    assert needed_m([shape({1: "a", 4: "b"}, times, "default")]) == kept


NAMES = ("a", "b", "c", "d")
TABLES = st.dictionaries(
    st.sampled_from([1, 4, 16, 32, 64, 128]),
    st.dictionaries(st.sampled_from(NAMES), st.floats(1, 1.05), min_size=1),
    min_size=1,
)


@given(st.lists(TABLES, min_size=1, max_size=3), st.sampled_from([*NAMES, None]))
def test_thinning_keeps_what_it_promises(shapes: list[dict[int, dict[str, float]]], default: str | None) -> None:
    winners = [{m: min(t, key=t.__getitem__) for m, t in times.items()} for times in shapes]
    kept = needed_m([shape(winner, times, default) for winner, times in zip(winners, shapes, strict=True)])
    assert kept
    for winner, times in zip(winners, shapes, strict=True):
        for m, at_m in times.items():
            taken = nearest(kept, m)
            if m in kept or winner[taken] == winner[m]:
                continue
            assert at_m[winner[taken]] < 1.02 * at_m[winner[m]]
            assert default is None or at_m[winner[taken]] <= at_m[default]


@given(st.sets(st.integers(1, 60), min_size=2, max_size=8), st.data())
def test_between_two_m_the_server_takes_what_it_takes_at_one_of_them(grid: set[int], data: st.DataObject) -> None:
    kept = data.draw(st.sets(st.sampled_from(sorted(grid)), min_size=1))
    for m in range(min(grid), max(grid) + 1):
        below, above = max(g for g in grid if g <= m), min(g for g in grid if g >= m)
        assert nearest(kept, m) in {nearest(kept, below), nearest(kept, above)}


def test_a_file_is_thinned_place_by_place() -> None:
    a, b = {"block_m": 16}, {"block_m": 32}
    timings = Timings(({"a": 1.0, "b": 1.01},), None, lambda config: "a" if config == a else "b")
    held: Table = {
        ("5", s, m, k): b if (s, m) == ("2", "1") else a for s in ("1", "2") for m in ("1", "4") for k in "78"
    }
    first, second = thin_table(held, 2, dict.fromkeys(held, timings), held)
    assert (first.path, first.kept, first.served_by, first.largest_loss()) == (("5", "1"), (4,), {1: 4}, 0.0)
    assert second.losses["5", "2", "1", "7"] == pytest.approx(-0.0099, abs=1e-4)
    assert second.largest_loss(1) == 0
    [all_but_one, _] = thin_table(held, 2, {}, set(held) - {("5", "1", "1", "7")})
    assert all_but_one.kept == (1,), "an m goes with all its entries"


CONFIGS: dict[str, Config] = {
    name: {**TUNED, "block_n": block_n} for name, block_n in (("a", 16), ("b", 32), ("c", 64))
}

Grid = Mapping[int, Mapping[str, float]]


def key(config: Config) -> object:
    return tuple(config.items())


def written(name: str, call: Call) -> Config:
    return VLLM.default_config(call) if name == "default" else VLLM.entry(CONFIGS[name], call)


def fastest(times: Mapping[str, float]) -> str:
    """What the study decides for: the default, unless something is faster."""
    return min(times, key=lambda name: (times[name], name != "default"))


def items(grid: Grid, k: int = 4096, num_slices: int = 1) -> list[ExportItem]:
    """Results of one shape, from the times in microseconds of configs by name."""
    made = []
    for m, times in grid.items():
        call, winner = shrink(m, k, num_slices), fastest(times)
        timings = Timings(
            ({key(written(name, call)): time_us for name, time_us in times.items()},), VLLM.default_config(call), key
        )
        config = CONFIGS.get(winner, {})
        made.append(ExportItem(f"m{m}-k{k}", call, config, winner == "default", GPU, {}, timings))
    return made


ONE: Grid = {
    1: {"a": 10.0, "default": 20.0},
    4: {"b": 10.0, "a": 10.1, "default": 20.0},
    16: {"c": 10.0, "b": 10.1, "default": 20.0},
    64: {"c": 10.0, "default": 20.0},
}
"""Thinned to 1, which serves 4, and 16, which serves 64."""


def test_no_m_goes_that_keeps_a_default_to_its_side(tmp_path: Path) -> None:
    """128 does as well with the default that 192 has, but without 128 that would serve 113 to 127, too."""
    grid = {
        32: {"a": 10.0, "default": 20.0},
        64: {"b": 10.0, "a": 10.1, "default": 20.0},
        128: {"c": 10.0, "a": 11.0, "default": 10.1},
        192: {"default": 10.0, "c": 11.0, "a": 11.0},
    }
    export(items(grid), tmp_path)
    assert VLLM.default_config(shrink(127)) != VLLM.default_config(shrink(128))
    lookup = served(tmp_path)
    for m in range(1, 300):
        found = lookup(shrink(m))
        theirs = found.config == VLLM.default_config(shrink(int(found.key_path[2])))
        assert not theirs or found.config == VLLM.default_config(shrink(m)), m


def test_the_server_finds_a_config_as_good_at_an_m_that_is_left_out(tmp_path: Path) -> None:
    report = export(items(ONE), tmp_path)
    assert m_keys(tmp_path) == [1, 16]
    found = {m: VLLM.lookup(tmp_path, GPU, shrink(m)).config for m in ONE}
    assert found == {m: written(name, shrink(m)) for m, name in {1: "a", 4: "a", 16: "c", 64: "c"}.items()}
    grids = report.grids[SHRINK]
    assert {(grid.path, grid.kept) for grid in grids} == {(("5", "1"), (1, 16)), (("4", "1"), (1, 16))}
    assert [grid.served_by for grid in grids] == [{4: 1, 64: 16}] * 2


def test_an_m_stays_if_any_shape_of_its_num_slices_needs_it(tmp_path: Path) -> None:
    hard: Grid = {m: {name: 10.0 if name == fastest(t) else 11.0 for name in t} for m, t in ONE.items()}
    export([*items(ONE), *items(hard, k=8192), *items(ONE, num_slices=3)], tmp_path)
    assert (m_keys(tmp_path), m_keys(tmp_path, num_slices=3)) == ([1, 4, 16], [1, 16])
    held = table(tmp_path)
    assert set(held) == VLLM.needed_paths(held)


def test_the_default_that_was_kept_is_not_given_up_for_something_slower(tmp_path: Path) -> None:
    export(items({1: {"default": 10.0, "a": 10.1}, 4: {"a": 10.0, "default": 10.2}}), tmp_path)
    assert m_keys(tmp_path) == [1, 4]


def test_a_shape_that_was_never_timed_keeps_its_default(tmp_path: Path) -> None:
    """The default changes at m 128."""
    grid: Grid = {m: {"a": 1.0, "default": 2.0} for m in (16, 64, 128, 256)}
    export(items(grid), tmp_path, required=[shrink(m, k=8192) for m in grid])
    assert m_keys(tmp_path) == [127, 128]
    for m in grid:
        call = shrink(m, k=8192)
        assert VLLM.lookup(tmp_path, GPU, call).config == VLLM.default_config(call)


def test_the_side_car_says_what_was_left_out_and_why(tmp_path: Path) -> None:
    export(items(ONE), tmp_path)
    dropped = {r.key[2]: r for r in provenance.read(tmp_path) if r.kind == "dropped" and r.key[0] == "5"}
    assert set(dropped) == {"4", "64"}
    assert dropped["4"].study == "m4-k4096"
    assert dropped["4"].config == written("b", shrink(4))
    assert dropped["4"].provenance["dropped"] == {
        "kind": "own",
        "taken": ["5", "1", "1", "4096", "16"],
        "config": written("a", shrink(1)),
        "loss": 0.01,
        "largest_loss": 0.01,
    }


def test_without_timings_all_is_written_again(tmp_path: Path) -> None:
    export(items(ONE), tmp_path)
    report = export([replace(each, timings=None) for each in items(ONE)], tmp_path)
    assert not report.grids
    assert m_keys(tmp_path) == list(ONE)
    assert {record.kind for record in provenance.read(tmp_path)} == {"own", "alias"}
    export(items(ONE), tmp_path)
    assert m_keys(tmp_path) == [1, 16]


def test_what_is_left_out_comes_back_when_something_else_would_be_found(tmp_path: Path) -> None:
    export(items(ONE), tmp_path)
    export([replace(each, timings=None) for each in items({6: ONE[1]}, k=8192)], tmp_path)
    for m, name in {1: "a", 4: "b", 16: "c", 64: "c"}.items():
        assert VLLM.lookup(tmp_path, GPU, shrink(m)).config == written(name, shrink(m))
    assert m_keys(tmp_path) == [1, 4, 6, 16, 127, 128], "64 is served by 16 as before"


def with_one_more_adapter(each: ExportItem) -> ExportItem:
    """Its result is also written to the key of `shrink`: the one that the documentation names."""
    dims = {**each.call.dims, "max_loras": 6}
    return replace(each, call=replace(each.call, dims=dims), study=f"{each.study}-6", timings=None)


def test_what_is_left_out_is_not_taken_by_the_alias_of_another(tmp_path: Path) -> None:
    export(items(ONE), tmp_path)
    others: Grid = {m: {"c" if m < 16 else "a": 1.0, "default": 2.0} for m in ONE}
    report = export([with_one_more_adapter(each) for each in items(others)], tmp_path)
    assert {skipped.key[2] for skipped in report.skipped_aliases} == {"1", "4", "16", "64"}
    for m, name in {1: "a", 4: "a", 16: "c", 64: "c"}.items():
        assert VLLM.lookup(tmp_path, GPU, shrink(m)).config == written(name, shrink(m))


def test_entries_of_others_stay(tmp_path: Path) -> None:
    theirs: Table = {("5", "1", "4", "8192", "16"): dict(VLLM.default_config(shrink(4)))}
    put(tmp_path, theirs)
    export(items(ONE), tmp_path)
    held = table(tmp_path)
    assert held.items() >= theirs.items()
    assert VLLM.lookup(tmp_path, GPU, shrink(4)).config == written("b", shrink(4))


@pytest.mark.parametrize("allowed", [0, 1])
def test_killed_between_files_and_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    through, killed = tmp_path / "through", tmp_path / "killed"
    required = [shrink(m, k=8192) for m in ONE]
    for folder in (through, killed):
        export([replace(each, timings=None) for each in items(ONE)], folder, required=required)
    export(items(ONE), through, required=required)
    assert m_keys(through) == [1, 16, 127, 128]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_after(patch, allowed)
        export(items(ONE), killed, required=required)
    assert m_keys(killed) == [*ONE, 127, 128]
    export(items(ONE), killed, required=required)
    assert (killed / SHRINK).read_text() == (through / SHRINK).read_text()


def test_what_a_plan_looks_up_is_all_the_num_slices_it_needs(tmp_path: Path) -> None:
    assert any("num_slices" in warning for warning in export(items(ONE), tmp_path).warnings)
    assert not export(items(ONE), tmp_path, required=[shrink(m) for m in ONE]).warnings


TIMES = st.fixed_dictionaries(
    {"default": st.floats(1, 1.06)},
    optional={name: st.floats(1, 1.06) for name in CONFIGS},
)


GRIDS = st.dictionaries(st.sampled_from([1, 4, 16, 64, 128, 256, 512]), TIMES, min_size=1)


@settings(max_examples=25)
@given(st.lists(st.dictionaries(st.sampled_from([4096, 8192]), GRIDS, min_size=1), min_size=1, max_size=2))
def test_no_m_of_any_shape_loses_more_than_it_may(
    tmp_path_factory: pytest.TempPathFactory, exports: list[dict[int, Grid]]
) -> None:
    """Of two exports into one folder, what the second says stands; what the first left out may come back."""
    folder = tmp_path_factory.mktemp("out")
    last: dict[tuple[int, int], Mapping[str, float]] = {}
    for shapes in exports:
        made = [each for k, grid in shapes.items() for each in items(grid, k)]
        report = export(made, folder, required=[each.call for each in made])
        last |= {(k, m): times for k, grid in shapes.items() for m, times in grid.items()}
        assert all(grid.largest_loss() < 0.02 for grid in report.grids[SHRINK])
    lookup = served(folder)
    for (k, m), times in last.items():
        found = lookup(shrink(m, k)).config
        us = {key(written(name, shrink(m, k))): time_us for name, time_us in times.items()}
        own = fastest(times)
        if found is not None and found != written(own, shrink(m, k)):
            assert us[key(found)] < 1.02 * times[own]
            assert us[key(found)] <= times["default"]
        assert found is not None
    held = table(folder)
    assert set(held) == VLLM.needed_paths(held)
