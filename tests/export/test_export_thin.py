"""Exports that leave out token counts: what a server finds at each of them, and what becomes of it later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from autotune.contract import Call, Config
from autotune.export.export import export
from autotune.export.file import ExportItem
from autotune.export.timings import Timings
from autotune.servers import files, provenance
from autotune.servers.vllm import facts
from autotune.servers.vllm.server import VLLM

GPU = "NVIDIA H200"
SHRINK = "NVIDIA_H200_SHRINK.json"
CONFIGS: dict[str, Config] = {
    name: {"block_m": 16, "block_n": block_n, "block_k": 64, "split_k": 2, "num_warps": 8, "num_stages": 3}
    for name, block_n in (("a", 16), ("b", 32), ("c", 64))
}

Grid = Mapping[int, Mapping[str, float]]


def shrink(m: int, k: int = 4096, num_slices: int = 1) -> Call:
    return Call("vllm", "shrink", {"max_loras": 5, "num_slices": num_slices, "m": m, "k": k, "n": 16})


def key(entry: Config) -> object:
    return tuple(entry.items())


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


def m_keys(folder: Path) -> dict[str, list[int]]:
    table = files.read_table(folder / SHRINK, facts.DENSE_LEVELS)
    return {s: sorted({int(path[2]) for path in table if path[1] == s}) for s in {path[1] for path in table}}


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
    for m in range(1, 300):
        found = VLLM.lookup(tmp_path, GPU, shrink(m))
        theirs = found.config == VLLM.default_config(shrink(int(found.key_path[2])))
        assert not theirs or found.config == VLLM.default_config(shrink(m)), m


def test_the_server_finds_a_config_as_good_at_an_m_that_is_left_out(tmp_path: Path) -> None:
    report = export(items(ONE), tmp_path)
    assert m_keys(tmp_path) == {"1": [1, 16]}
    found = {m: VLLM.lookup(tmp_path, GPU, shrink(m)).config for m in ONE}
    assert found == {m: written(name, shrink(m)) for m, name in {1: "a", 4: "a", 16: "c", 64: "c"}.items()}
    grids = report.grids[SHRINK]
    assert {(grid.path, grid.kept) for grid in grids} == {(("5", "1"), (1, 16)), (("4", "1"), (1, 16))}
    assert [grid.served_by for grid in grids] == [{4: 1, 64: 16}] * 2


def test_an_m_stays_if_any_shape_of_its_num_slices_needs_it(tmp_path: Path) -> None:
    hard: Grid = {m: {name: 10.0 if name == fastest(t) else 11.0 for name in t} for m, t in ONE.items()}
    export([*items(ONE), *items(hard, k=8192), *items(ONE, num_slices=3)], tmp_path)
    assert m_keys(tmp_path) == {"1": [1, 4, 16], "3": [1, 16]}
    table = files.read_table(tmp_path / SHRINK, facts.DENSE_LEVELS)
    assert set(table) == VLLM.needed_paths(table)


def test_the_default_that_was_kept_is_not_given_up_for_something_slower(tmp_path: Path) -> None:
    export(items({1: {"default": 10.0, "a": 10.1}, 4: {"a": 10.0, "default": 10.2}}), tmp_path)
    assert m_keys(tmp_path) == {"1": [1, 4]}


def test_a_shape_that_was_never_timed_keeps_its_default(tmp_path: Path) -> None:
    """The default changes at m 128."""
    grid: Grid = {m: {"a": 1.0, "default": 2.0} for m in (16, 64, 128, 256)}
    export(items(grid), tmp_path, required=[shrink(m, k=8192) for m in grid])
    assert m_keys(tmp_path) == {"1": [127, 128]}
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
    report = export([replace(item, timings=None) for item in items(ONE)], tmp_path)
    assert not report.grids
    assert m_keys(tmp_path) == {"1": list(ONE)}
    assert {record.kind for record in provenance.read(tmp_path)} == {"own", "alias"}
    export(items(ONE), tmp_path)
    assert m_keys(tmp_path) == {"1": [1, 16]}


def test_what_is_left_out_comes_back_when_something_else_would_be_found(tmp_path: Path) -> None:
    export(items(ONE), tmp_path)
    export([replace(item, timings=None) for item in items({6: ONE[1]}, k=8192)], tmp_path)
    for m, name in {1: "a", 4: "b", 16: "c", 64: "c"}.items():
        assert VLLM.lookup(tmp_path, GPU, shrink(m)).config == written(name, shrink(m))
    assert m_keys(tmp_path) == {"1": [1, 4, 6, 16, 127, 128]}, "64 is served by 16 as before"


def with_one_more_adapter(item: ExportItem) -> ExportItem:
    """Its result is also written to the key of `shrink`: the one that the documentation names."""
    dims = item.call.dims | {"max_loras": 6}
    return replace(item, call=replace(item.call, dims=dims), study=f"{item.study}-6", timings=None)


def test_what_is_left_out_is_not_taken_by_the_alias_of_another(tmp_path: Path) -> None:
    export(items(ONE), tmp_path)
    others: Grid = {m: {"c" if m < 16 else "a": 1.0, "default": 2.0} for m in ONE}
    report = export([with_one_more_adapter(item) for item in items(others)], tmp_path)
    assert {skipped.key[2] for skipped in report.skipped_aliases} == {"1", "4", "16", "64"}
    for m, name in {1: "a", 4: "a", 16: "c", 64: "c"}.items():
        assert VLLM.lookup(tmp_path, GPU, shrink(m)).config == written(name, shrink(m))


def test_entries_of_others_stay(tmp_path: Path) -> None:
    theirs = {("5", "1", "4", "8192", "16"): dict(VLLM.default_config(shrink(4)))}
    (tmp_path / SHRINK).write_text(files.table_text(theirs))
    export(items(ONE), tmp_path)
    table = files.read_table(tmp_path / SHRINK, facts.DENSE_LEVELS)
    assert table.items() >= theirs.items()
    assert VLLM.lookup(tmp_path, GPU, shrink(4)).config == written("b", shrink(4))


class Killed(BaseException):
    """Stands for the process's end: nothing catches it."""


@pytest.mark.parametrize("allowed", [0, 1])
def test_killed_between_files_and_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    through, killed = tmp_path / "through", tmp_path / "killed"
    required = [shrink(m, k=8192) for m in ONE]
    for folder in (through, killed):
        export([replace(item, timings=None) for item in items(ONE)], folder, required=required)
    export(items(ONE), through, required=required)
    assert m_keys(through) == {"1": [1, 16, 127, 128]}
    left: Iterator[int] = iter(range(allowed))
    real = Path.replace

    def mortal(self: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise Killed
        return real(self, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "replace", mortal)
        export(items(ONE), killed, required=required)
    assert m_keys(killed) == {"1": [*ONE, 127, 128]}
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


@settings(deadline=None, database=None, max_examples=60)
@given(st.lists(st.dictionaries(st.sampled_from([4096, 8192]), GRIDS, min_size=1), min_size=1, max_size=2))
def test_no_m_of_any_shape_loses_more_than_it_may(
    tmp_path_factory: pytest.TempPathFactory, exports: list[dict[int, Grid]]
) -> None:
    """Of two exports into one folder, what the second says stands; what the first left out may come back."""
    folder = tmp_path_factory.mktemp("out")
    last: dict[tuple[int, int], Mapping[str, float]] = {}
    for shapes in exports:
        made = [item for k, grid in shapes.items() for item in items(grid, k)]
        report = export(made, folder, required=[item.call for item in made])
        last |= {(k, m): times for k, grid in shapes.items() for m, times in grid.items()}
        assert all(grid.largest_loss() < 0.02 for grid in report.grids[SHRINK])
    for (k, m), times in last.items():
        found = VLLM.lookup(folder, GPU, shrink(m, k)).config
        us = {key(written(name, shrink(m, k))): time_us for name, time_us in times.items()}
        own = fastest(times)
        if found is not None and found != written(own, shrink(m, k)):
            assert us[key(found)] < 1.02 * times[own]
            assert us[key(found)] <= times["default"]
        assert found is not None
    table = files.read_table(folder / SHRINK, facts.DENSE_LEVELS)
    assert set(table) == VLLM.needed_paths(table)
