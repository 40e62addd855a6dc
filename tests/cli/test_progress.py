"""The display of a run: what it counts, prints, and asks on the way."""

from __future__ import annotations

import io
import re
from collections import Counter
from types import SimpleNamespace
from typing import cast

import pytest
from rich.console import Console

from autotune.cli.progress import RunDisplay
from autotune.run.options import Budget
from autotune.run.progress import Progress
from autotune.run.queue import Turn
from autotune.study.study import KernelStudy
from tests.builders.double_study import SPEC
from tests.builders.study_results import study_result

TURN = Turn([cast(KernelStudy, SimpleNamespace(name="one", spec=SPEC))])
PROGRESS = Progress("one", 10, Counter(ok=3), 1.0, 2.0, 0.1, "search")


def test_a_study_taken_again_counts_once_and_is_told_again(capsys: pytest.CaptureFixture[str]) -> None:
    with RunDisplay(2, Budget(5), check=lambda: None) as display:
        for _ in range(2):
            display.on_start(TURN)
            display.on_progress(PROGRESS)
            display.on_result(TURN, study_result())
        assert display._live.tasks[0].completed == 1
    assert capsys.readouterr().err.count("one: 2.00 -> 1.00 us, 2.00x as fast") == 2


def test_a_failure_counts_as_ended(capsys: pytest.CaptureFixture[str]) -> None:
    with RunDisplay(1, Budget(5), check=lambda: None) as display:
        display.on_start(TURN)
        display.on_failure(TURN)
        assert display._live.tasks[0].completed == 1
    assert "one: failed" in capsys.readouterr().err


def test_a_name_in_what_holds_a_study_up_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    with RunDisplay(1, Budget(5), check=lambda: None) as display:
        display.on_held(TURN, "study one-[/x]\x1b[2J is being run")
    assert r"study one-[/x]\x1b[2J is being run; coming back to it" in capsys.readouterr().err


def test_it_asks_at_every_step_whether_to_stop() -> None:
    asked: list[None] = []
    with RunDisplay(1, Budget(5), check=lambda: asked.append(None)) as display:
        display.on_start(TURN)
        display.on_progress(PROGRESS)
        display.on_progress(PROGRESS)
    assert len(asked) == 3


@pytest.mark.parametrize("width", [80, 140])
def test_a_line_has_label_bar_count_and_time_and_fits(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    # A dumb terminal is 80 columns wide, whatever COLUMNS says.
    monkeypatch.setenv("TERM", "xterm")
    # Where there are no colours, a bar that has not begun is blanks.
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system="standard")
    with RunDisplay(91, Budget(50), check=lambda: None) as display:
        display.on_start(TURN)
        display.on_progress(PROGRESS)
        console.print(display._live.get_renderable())
    drawn = re.sub(r"\x1b\[[0-9;]*m", "", cast(io.StringIO, console.file).getvalue())
    lines = [line for line in drawn.splitlines() if line.strip()]
    assert len(lines) == 2
    for line, count in zip(lines, ("0/91", "3/10"), strict=True):
        assert len(line) <= width
        assert count in line
        assert "-:--:--" in line
        assert "\u2501" in line
    assert lines[1].startswith(SPEC.kernel.rpartition(":")[2])
    assert ("left" in lines[1]) == (width == 140)
