"""The common value of a group on made-up tables: the sum counts, and measurements go where they can change it."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from autotune.run.group_choice import Standing, Table, best_us, in_the_running, next_search, sums_us


def known(best_us: float) -> Standing:
    return Standing(best_us, 0.0, explored=True)


def guess(best_us: float | None, possible_us: float) -> Standing:
    return Standing(best_us, possible_us, explored=False)


DISAGREE: Table = {
    16: {"a": known(10), "b": known(40), "c": known(9), "d": known(30)},
    32: {"a": known(11), "b": known(21), "c": known(10), "d": known(12)},
    64: {"a": known(14), "b": known(20), "c": known(12), "d": known(14)},
    128: {"a": known(20), "b": known(22), "c": known(30), "d": known(11)},
}


def test_the_least_sum_wins_though_no_op_is_fastest_there() -> None:
    assert list(sums_us(DISAGREE)) == [32, 64, 128, 16]
    assert sums_us(DISAGREE)[32] == 54
    assert in_the_running(DISAGREE) == [32]
    assert next_search(DISAGREE) is None


def test_an_ops_best_at_each_value_it_was_measured_at() -> None:
    table = {16: {"a": guess(10.0, 1.0)}, 32: {"a": guess(None, 1.0)}, 64: {"a": known(9.00049)}}
    assert best_us(table, "a") == {"16": 10.0, "64": 9.0}


def test_a_value_that_cannot_win_any_more_gets_no_measurements() -> None:
    table = {**DISAGREE, 128: {**DISAGREE[128], "a": guess(20, 18), "c": guess(30, 25)}}
    assert in_the_running(table) == [32]
    assert next_search(table) is None


def test_a_value_that_may_still_win_is_searched_where_most_is_to_gain() -> None:
    table = {**DISAGREE, 128: {**DISAGREE[128], "a": guess(20, 16), "c": guess(30, 4)}}
    assert set(in_the_running(table)) == {32, 128}
    assert next_search(table) == (128, "c")


def test_the_best_value_itself_is_searched_to_the_end() -> None:
    table = {**DISAGREE, 32: {**DISAGREE[32], "d": guess(12, 11.9)}}
    assert next_search(table) == (32, "d")


def test_an_op_never_measured_at_a_value_is_measured_unless_the_others_rule_it_out() -> None:
    unknown = {**DISAGREE, 16: {**DISAGREE[16], "b": guess(None, 4.0)}}
    assert sums_us(unknown).keys() == {32, 64, 128}
    assert next_search(unknown) == (16, "b")
    hopeless = {**DISAGREE, 16: {**DISAGREE[16], "b": guess(None, 6.0)}}
    assert next_search(hopeless) is None


def test_a_value_where_an_op_cannot_run_is_out() -> None:
    table = {**DISAGREE, 32: {**DISAGREE[32], "a": Standing(None, 0.0, explored=True)}}
    assert next(iter(sums_us(table))) == 64
    assert 32 not in in_the_running(table)


def test_the_op_searched_last_goes_first_if_it_has_to_be_searched_at_all() -> None:
    table = {**DISAGREE, 32: {**DISAGREE[32], "a": guess(11, 5), "d": guess(12, 11)}}
    assert next_search(table) == (32, "a")
    assert next_search(table, last="d") == (32, "d")
    assert next_search(table, last="b") == (32, "a")


def test_nothing_measured_yet() -> None:
    assert next_search({16: {"a": guess(None, 1)}, 32: {"a": guess(None, 2)}}) == (16, "a")
    assert next_search({}) is None
    assert sums_us({16: {"a": guess(None, 1)}}) == {}


TIMES = st.lists(st.floats(1, 100), min_size=16, max_size=16)


@given(TIMES, st.lists(st.floats(1, 1.5), min_size=16, max_size=16), st.lists(st.booleans(), min_size=16, max_size=16))
def test_following_it_to_the_end_finds_the_least_sum(
    truth: list[float], slack: list[float], explored: list[bool]
) -> None:
    """For anything known in advance: if no optimism is false the value chosen in the end has the least true sum."""
    cells = [(value, op) for value in (16, 32, 64, 128) for op in "abcd"]
    best = dict(zip(cells, truth, strict=True))
    table = {
        value: {
            op: known(best[value, op]) if done else guess(best[value, op] * extra, best[value, op] / extra)
            for (v, op), extra, done in zip(cells, slack, explored, strict=True)
            if v == value
        }
        for value in (16, 32, 64, 128)
    }
    for _ in range(17):
        if (found := next_search(table)) is None:
            break
        value, op = found
        assert not table[value][op].explored
        table[value] = {**table[value], op: known(best[found])}
    else:
        pytest.fail("it asks for an op again that is explored")
    least = min(sum(best[value, op] for op in "abcd") for value in (16, 32, 64, 128))
    assert next(iter(sums_us(table).values())) == pytest.approx(least)
