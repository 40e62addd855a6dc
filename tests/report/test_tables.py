"""Tables: plain lines, as rich draws them where there is room, and folded where there is none."""

from __future__ import annotations

import re
import shutil
import sys
from os import terminal_size

import hypothesis.strategies as st
import pytest
from hypothesis import given
from rich.cells import cell_len

from autotune.report.tables import TextTable, show, table

TEXTS = st.text(st.sampled_from("ab 1é中[]/\x1b"), min_size=1, max_size=5).map(str.strip).filter(bool)
CELLS = st.one_of(st.none(), st.integers(-9, 999), st.floats(0, 9).map("{:.2f}x".format), TEXTS)


@st.composite
def tables(draw: st.DrawFn) -> TextTable:
    columns = draw(st.lists(TEXTS, min_size=1, max_size=3))
    rows = draw(st.lists(st.tuples(*[CELLS] * len(columns)), max_size=4))
    return table(draw(st.sampled_from(["", "t", "2\nl"])), columns, rows)


@pytest.mark.parametrize(("columns", "shown"), [(80, "wide"), (12, "narrow")])
def test_a_narrow_terminal_gets_the_narrow_table(
    columns: int, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: terminal_size((columns, 24)))
    show(table("", ("a wide table of", "columns"), [("wide", 1)]), narrow=table("", ("a",), [("narrow",)]))
    assert shown in capsys.readouterr().out


@given(tables(), st.integers(0, 30))
def test_folded_lines_have_room_and_whole_words(made: TextTable, more: int) -> None:
    words = [word for row in (made.columns, *made.rows) for text in row for word in text.split()]
    # A paragraph's line begins with two blanks, and a comma may follow a word.
    room = max(map(cell_len, [*words, made.title])) + 3 + more
    lines = made.folded(room)
    assert all(len(line) <= room for line in lines)
    shown = re.split(r"[ ,]+", " ".join(lines))
    assert all(word in shown for row in made.rows for text in row for word in text.split())


WIDE = ("layer of the model", "default us", "config")
ROWS = [("qkv_proj x28, o_proj x28", 233.4, "BLOCK_K 128, BLOCK_N 64, num_stages 3"), ("lm_head", 9.25, "the default")]


def test_what_no_line_has_room_for_is_folded_at_words() -> None:
    assert table("", WIDE, ROWS).folded(48) == [
        "layer of the      default us  config",
        "model",
        "qkv_proj x28,          233.4  BLOCK_K 128,",
        "o_proj x28                    BLOCK_N 64,",
        "                              num_stages 3",
        "lm_head                 9.25  the default",
    ]


def test_where_words_have_no_room_side_by_side_rows_are_paragraphs() -> None:
    assert table("a title", WIDE, ROWS).folded(26) == [
        "a title",
        "qkv_proj x28, o_proj x28",
        "  default us 233.4, config",
        "  BLOCK_K 128, BLOCK_N 64,",
        "  num_stages 3",
        "lm_head",
        "  default us 9.25, config",
        "  the default",
    ]


def test_a_word_without_room_is_broken(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show(table("", ("a",), [("x" * 50,)]))
    assert capsys.readouterr().out.splitlines() == ["x" * 20, "x" * 20, "x" * 10]


def test_a_file_gets_each_row_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show(table("", ("a",), [("x" * 500,), ("two\nlines",)]), narrow=table("", ("a",), []))
    assert capsys.readouterr().out.splitlines() == ["a", "x" * 500, r"two\nlines"]
