"""What shows that a command is at work: on a terminal of 80 columns, gone when it is done; nothing elsewhere."""

from __future__ import annotations

import sys

import pytest

from autotune.cli.messages import MessageFlags, heard, working
from autotune.cli.progress_bar import counted

ERASE_LINE = "\x1b[2K"


def work() -> None:
    with counted("searches of a space", 3) as advance:
        for _ in range(3):
            advance()
    with working("drawing the plots"):
        pass


@pytest.mark.parametrize("columns", [80, 140])
def test_a_terminal_shows_it_while_it_lasts(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    work()
    shown = capsys.readouterr().err
    assert "searches of a space" in shown
    assert "3/3" in shown
    assert "drawing the plots" in shown
    assert shown.rstrip().endswith(ERASE_LINE)


def test_neither_a_file_nor_a_quiet_command_shows_anything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work()
    monkeypatch.setenv("FORCE_COLOR", "1")
    with heard(MessageFlags(quiet=True), "a command"):
        work()
    assert capsys.readouterr().err == ""
