"""Where studies are kept: one file by any spelling, opened in WAL mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.study import studies
from autotune.study.storage import identity, open_storage
from tests.builders.double_study import SPEC


def test_every_spelling_of_a_file_is_one_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = identity(f"sqlite:///{tmp_path}/a.db")
    (tmp_path / "sub").mkdir()
    assert identity("sqlite:///a.db") == identity("sqlite:///sub/../a.db") == place
    monkeypatch.chdir(tmp_path / "sub")
    assert identity("sqlite:///a.db") != place
    assert identity("postgresql://host/a") == "postgresql://host/a"


def test_sqlite_is_opened_in_wal_mode(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/a.db", create=True)
    studies.create(storage, "one", SPEC)
    with storage.engine.connect() as connection:  # type: ignore[attr-defined]
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    storage.engine.dispose()  # type: ignore[attr-defined]
