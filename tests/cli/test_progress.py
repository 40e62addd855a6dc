"""The display of a run: what it counts, prints, and asks on the way."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import cast

import pytest

from autotune.cli.progress import RunDisplay
from autotune.run.options import Budget
from autotune.run.progress import Progress
from autotune.run.queue import Turn
from autotune.study.study import KernelStudy
from tests.builders.study_results import study_result

TURN = Turn([cast(KernelStudy, SimpleNamespace(name="one", spec=SimpleNamespace(group=None)))])
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
