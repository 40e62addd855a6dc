"""Where studies are kept: opened in WAL mode, by many at once.

A storage of an older revision opens, too; every command prints what that revision did, and exports the very bytes.
"""

from __future__ import annotations

import gzip
import json
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autotune.errors import InputError
from autotune.study import studies
from autotune.study.storage import open_storage, shared
from tests.builders.double_study import SPEC

if TYPE_CHECKING:
    from tests.conftest import Cli

OLD = Path(__file__).parents[1] / "data" / "storage_1a9b4aa"
SAID_SINCE = ", sources recorded"
SAID_ONCE = "- default: "
WRITTEN = json.loads(gzip.decompress((OLD / "printed.json.gz").read_bytes()))


def test_sqlite_is_opened_in_wal_mode(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/a.db", create=True)
    studies.create(storage, "one", SPEC)
    with storage.engine.connect() as connection:  # type: ignore[attr-defined]
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    storage.engine.dispose()  # type: ignore[attr-defined]


@pytest.fixture
def old(cli: Cli) -> Cli:
    connection = sqlite3.connect(cli.database)
    connection.executescript(gzip.decompress((OLD / "storage.sql.gz").read_bytes()).decode())
    connection.close()
    return cli


def test_an_old_storage_is_printed_as_before(old: Cli) -> None:
    for command, printed in WRITTEN["printed"].items():
        now = old.ok("study", command)
        if "--json" in command:
            assert tells(json.loads(now), json.loads(printed)), command
        else:
            assert reworded(now) == reworded(printed), command


def tells(now: Any, before: Any) -> bool:
    """Tells whether a JSON document holds all that an older one did; it may hold more keys."""
    if isinstance(before, dict):
        return isinstance(now, dict) and all(key in now and tells(now[key], value) for key, value in before.items())
    if isinstance(before, list):
        return isinstance(now, list) and len(now) == len(before) and all(map(tells, now, before))
    return bool(now == before)


def reworded(text: str) -> list[str]:
    """Returns the lines that every revision prints, without what only newer ones say in them."""
    lines = [line.replace(SAID_SINCE, "") for line in text.splitlines()]
    return [line for line in lines if not line.startswith(SAID_ONCE)]


def test_an_old_storage_is_exported_as_before(old: Cli, tmp_path: Path) -> None:
    old.ok("study export --dir", str(tmp_path / "tuned"))
    for name, text in WRITTEN["files"].items():
        assert (tmp_path / "tuned" / name).read_text() == text, name


def test_unfinished_studies_of_an_old_storage_are_run(old: Cli) -> None:
    (unfinished,) = re.findall(r"^(\S+-new) +new ", WRITTEN["printed"]["list"], re.MULTILINE)
    old.ok("study run --trials 3", unfinished)
    assert json.loads(old.ok("study show --json", unfinished))["result"]["configs"] > 3


@pytest.mark.parametrize(
    ("url", "expected"),
    [("sqlite:///some/file.db", True), ("sqlite://", False), ("sqlite:///:memory:", False), ("mysql://host/db", True)],
)
def test_a_storage_in_memory_cannot_be_shared(url: str, expected: bool) -> None:
    assert shared(url) is expected


@pytest.mark.parametrize(
    ("url", "extra"),
    [("postgresql+pg8000://u@h/d", "postgresql"), ("mysql+asyncmy://u@h/d", "mysql"), ("mysql://u@h/d", "mysql")],
)
def test_a_missing_driver_is_named_with_what_brings_one(url: str, extra: str) -> None:
    with pytest.raises(InputError, match=rf"its driver is not installed .*pip install 'lora-autotune\[{extra}\]'"):
        open_storage(url)
