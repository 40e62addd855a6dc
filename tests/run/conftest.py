"""What tests of running studies share."""

from __future__ import annotations

import pytest
from optuna.storages import BaseStorage, InMemoryStorage


@pytest.fixture
def storage() -> BaseStorage:
    return InMemoryStorage()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs on the machine that the studies of `tests.builders.double_study` were created on."""
    from tests.builders.double_study import HERE

    monkeypatch.setattr("autotune.run.identity.current_environment", lambda: HERE)
