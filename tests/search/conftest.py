"""Runs searches in the tuning loop."""

from __future__ import annotations

from collections.abc import Callable

import optuna
import pytest

from autotune.measure.recording import Recording
from autotune.measure.result import Measurement
from autotune.search.api import Search

optuna.logging.set_verbosity(optuna.logging.ERROR)

Replay = Callable[..., list[tuple[int, Measurement]]]


@pytest.fixture(scope="session")
def replay() -> Replay:
    """Runs a search in the tuning loop on a recording; returns positions and measurements in the order they came."""
    from autotune.measure.replay import ReplayBackend
    from autotune.run.loop import SearchLoop
    from autotune.run.options import Budget

    def run(
        recording: Recording, search: Search, trials: int, study: optuna.Study | None = None
    ) -> list[tuple[int, Measurement]]:
        study = study or optuna.create_study()
        study.sampler = search.sampler
        told: list[tuple[int, Measurement]] = []
        loop = SearchLoop(study, recording.space, search, ReplayBackend(recording))
        loop.run(Budget(trials), lambda config, m: told.append((recording.space.index(config), m)))
        return told

    return run
