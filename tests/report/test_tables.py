"""Tables: plain lines, as rich draws them where there is room, and folded where there is none."""

from __future__ import annotations

import io
import re
import shutil
import sys
from os import terminal_size

import hypothesis.strategies as st
import pytest
from hypothesis import given
from rich.console import Console

from autotune.report.tables import TextTable, show, table

TEXTS = st.text(st.sampled_from("ab 1é中[]/\x1b"), min_size=1, max_size=5).map(str.strip).filter(bool)
CELLS = st.one_of(st.none(), st.integers(-9, 999), st.floats(0, 9).map("{:.2f}x".format), TEXTS)


@st.composite
def tables(draw: st.DrawFn) -> TextTable:
    columns = draw(st.lists(TEXTS, min_size=1, max_size=3))
    rows = draw(st.lists(st.tuples(*[CELLS] * len(columns)), max_size=4))
    return table(draw(st.sampled_from(["", "t", "2\nl"])), columns, rows)


@given(tables())
def test_plain_lines_are_what_rich_draws(made: TextTable) -> None:
    text = io.StringIO()
    Console(file=text, width=1000).print(made.drawn())
    assert made.lines == [line.rstrip() for line in text.getvalue().splitlines()]


@pytest.mark.parametrize(("columns", "shown"), [(80, "wide"), (12, "narrow")])
def test_a_narrow_terminal_gets_the_narrow_table(
    columns: int, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: terminal_size((columns, 24)))
    show(table("", ("a wide table of", "columns"), [("wide", 1)]), narrow=table("", ("a",), [("narrow",)]))
    assert shown in capsys.readouterr().out


def test_what_no_terminal_line_has_room_for_is_folded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show(table("", ("a",), [("x" * 50,)]))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert [line.rstrip() for line in lines] == ["a", "x" * 20, "x" * 20, "x" * 10]


def test_a_file_gets_each_row_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show(table("", ("a",), [("x" * 500,), ("two\nlines",)]), narrow=table("", ("a",), []))
    assert capsys.readouterr().out.splitlines() == ["a", "x" * 500, r"two\nlines"]
