"""How a run's time is shared: evenly first, what is left to those that it was too short for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from autotune.cli import running
from autotune.run.runner import Progress
from autotune.study import studies
from autotune.study.result import StudyResult
from autotune.study.storage import open_storage
from tests.builders.study_results import study_result

if TYPE_CHECKING:
    from tests.conftest import Cli

NAMES = ["quick", "hopeful", "promising"]
GAINS = {"quick": 0.0, "hopeful": 0.01, "promising": 0.1}


@dataclass
class Clock:
    now_s: float = 0.0
    turns: list[tuple[str, float]] = field(default_factory=list)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """A machine on which `quick` takes no time and the others all that they get."""
    made = Clock()

    class Runner:
        def __init__(self, storage: object, options: Any, on_finished: object) -> None:
            self.options = options

        def __enter__(self) -> Runner:
            return self

        def __exit__(self, *exc_info: object) -> None: ...

        def run(self, study: Any, on_progress: Callable[[Progress], None], following: Any) -> StudyResult:
            assert study.result is None
            time_s = self.options.budget.timeout_s
            made.turns.append((study.name, round(time_s, 3)))
            used_s = 0.0 if study.name == "quick" else time_s
            made.now_s += used_s
            on_progress(Progress(study.name, 10, Counter(), 1.0, 2.0, GAINS[study.name], "finalists"))
            result = study_result(wall_s=used_s)
            study.finish(result)
            return result

    monkeypatch.setattr(running, "Runner", Runner)
    monkeypatch.setattr(running.time, "monotonic", lambda: made.now_s)
    yield made


@pytest.fixture
def flags(cli: Cli) -> Any:
    cli.ok("study create --backend replay", cli.SHRINK)
    storage = open_storage(cli.url)
    spec = studies.load(storage, studies.names(storage)[0]).spec
    for name in NAMES:
        studies.create(storage, name, spec)
    found = running.RunFlags(cli.url, None, 30.0, "auto", "auto", 0, "auto", SimpleNamespace(), False)  # type: ignore[arg-type]
    return SimpleNamespace(storage=storage, flags=found)


def test_what_is_left_goes_where_most_is_to_be_gained(clock: Clock, flags: Any) -> None:
    GAINS.update(promising=0.1)
    running.run_studies(flags.storage, NAMES, flags.flags)
    assert clock.turns[:3] == [("quick", 10.0), ("hopeful", 15.0), ("promising", 15.0)]
    assert len(clock.turns) == 3, "nothing is left"


def test_time_that_a_quick_one_leaves_at_the_end(clock: Clock, flags: Any) -> None:
    running.run_studies(flags.storage, ["hopeful", "promising", "quick"], flags.flags)
    assert clock.turns[:3] == [("hopeful", 10.0), ("promising", 10.0), ("quick", 10.0)]
    assert clock.turns[3] == ("promising", 5.0)
    assert sum(time_s for name, time_s in clock.turns if name != "quick") <= 30.0
    assert all(studies.load(flags.storage, name).result for name in NAMES)


def test_worth_decides_between_them(clock: Clock, flags: Any) -> None:
    running.run_studies(flags.storage, ["hopeful", "promising", "quick"], flags.flags, {"hopeful": 100.0})
    assert clock.turns[3][0] == "hopeful"
