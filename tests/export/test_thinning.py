"""Which token counts need no entry of their own, on synthetic times."""

from __future__ import annotations

from collections.abc import Mapping

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from autotune.export.thinning import MeasuredShape, needed_m, thin_table
from autotune.export.timings import Timings
from autotune.servers.lookup import nearest

Times = Mapping[int, Mapping[str, float]]


def shape(winner: Mapping[int, str], times: Times, default: str | None = None) -> MeasuredShape:
    return MeasuredShape(winner, {m: Timings((table,), default) for m, table in times.items()})


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


def test_the_race_is_believed_before_what_was_timed_alone() -> None:
    timings = Timings(({"a": 1.0, "b": 1.1}, {"a": 1.0, "b": 1.0, "c": 1.01}))
    assert timings.loss("b", "a") == pytest.approx(0.1)
    assert timings.loss("c", "a") == pytest.approx(0.01)
    assert timings.loss("d", "a") is None


CONFIGS = ("a", "b", "c", "d")
TABLES = st.dictionaries(
    st.sampled_from([1, 4, 16, 32, 64, 128]),
    st.dictionaries(st.sampled_from(CONFIGS), st.floats(1, 1.05), min_size=1),
    min_size=1,
)


@settings(deadline=None, database=None)
@given(st.lists(TABLES, min_size=1, max_size=3), st.sampled_from([*CONFIGS, None]))
def test_thinning_keeps_what_it_promises(tables: list[dict[int, dict[str, float]]], default: str | None) -> None:
    winners = [{m: min(t, key=t.__getitem__) for m, t in table.items()} for table in tables]
    kept = needed_m([shape(winner, table, default) for winner, table in zip(winners, tables, strict=True)])
    assert kept
    for winner, table in zip(winners, tables, strict=True):
        for m, times in table.items():
            taken = nearest(kept, m)
            if m in kept or winner[taken] == winner[m]:
                continue
            assert times[winner[taken]] < 1.02 * times[winner[m]]
            assert default is None or times[winner[taken]] <= times[default]


@given(st.sets(st.integers(1, 60), min_size=2, max_size=8), st.data())
def test_between_two_m_the_server_takes_what_it_takes_at_one_of_them(grid: set[int], data: st.DataObject) -> None:
    kept = data.draw(st.sets(st.sampled_from(sorted(grid)), min_size=1))
    for m in range(min(grid), max(grid) + 1):
        below, above = max(g for g in grid if g <= m), min(g for g in grid if g >= m)
        assert nearest(kept, m) in {nearest(kept, below), nearest(kept, above)}


def test_a_file_is_thinned_place_by_place() -> None:
    a, b = {"block_m": 16}, {"block_m": 32}
    timings = Timings(({"a": 1.0, "b": 1.01},), None, lambda config: "a" if config == a else "b")
    table = {("5", s, m, k): b if (s, m) == ("2", "1") else a for s in ("1", "2") for m in ("1", "4") for k in "78"}
    first, second = thin_table(table, 2, dict.fromkeys(table, timings), table)
    assert (first.path, first.kept, first.served_by, first.largest_loss()) == (("5", "1"), (4,), {1: 4}, 0.0)
    assert second.losses["5", "2", "1", "7"] == pytest.approx(-0.0099, abs=1e-4)
    assert second.largest_loss(1) == 0
    [all_but_one, _] = thin_table(table, 2, {}, set(table) - {("5", "1", "1", "7")})
    assert all_but_one.kept == (1,), "an m goes with all its entries"
