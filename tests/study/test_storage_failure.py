"""A storage that fails or goes away is named in one line, and no result is reported that is nowhere."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import OperationalError

from autotune.errors import StorageError
from autotune.run.options import RunOptions
from autotune.run.runner import Runner
from autotune.study import studies
from autotune.study.storage import open_storage
from autotune.study.storage_failure import failure_of
from autotune.study.study import KernelStudy
from tests.builders.double_study import BUDGET, SPEC
from tests.builders.stand_in_backend import StandIn, StandInBackends

if TYPE_CHECKING:
    from tests.conftest import Cli


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
def test_no_result_is_reported_that_is_nowhere(tmp_path: Path, replaced: bool) -> None:
    path, reported = tmp_path / "a.db", list[KernelStudy]()
    storage = open_storage(f"sqlite:///{path}", create=True)
    study = studies.create(storage, "one", SPEC)

    def lose() -> StandIn:
        path.rename(tmp_path / "kept.db")
        if replaced:
            shutil.copy(tmp_path / "kept.db", path)
        return StandIn()

    options = RunOptions("sqlite://", sampler="random", allow_env_change=True)
    refused = pytest.raises(StorageError, match=f"a.db was {'replaced' if replaced else 'deleted'}")
    with Runner(storage, options, StandInBackends(lambda study: lose()), reported.append) as runner, refused:
        runner.run(study, BUDGET)
    assert reported == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("SQLITE_FULL", "the disk is full"),
        ("SQLITE_IOERR_WRITE", "it may be full"),
        ("SQLITE_READONLY_DIRECTORY", "it is read-only"),
        ("SQLITE_BUSY", "kept it busy"),
        ("", "as the database says"),
    ],
)
def test_what_fails_has_its_true_name(name: str, said: str) -> None:
    original = sqlite3.OperationalError("as the database says\nin two lines")
    original.sqlite_errorname = name
    line = str(failure_of(OperationalError("INSERT", {}, original)))
    assert said in line
    assert "\n" not in line


def test_a_full_storage_is_one_line_and_the_run_goes_on_later(cli: Cli) -> None:
    cli.ok("study create --backend replay", cli.SHRINK)
    with contextlib.closing(sqlite3.connect(cli.database)) as connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON trials BEGIN SELECT RAISE(FAIL, 'no room'); END")
        connection.commit()
        failed = cli("study run --trials 5")
        assert failed.exit_code == 1
        assert failed.stderr.splitlines()[-1].startswith("Error: --storage: no room; what is stored stays")
        connection.execute("DROP TRIGGER full")
        connection.commit()
    cli.ok("study run --trials 5")
