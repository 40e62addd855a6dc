"""Killed at random moments again and again, every command goes on where it was: nothing lost, nothing twice or half."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.builders.commands import Commands

if TYPE_CHECKING:
    from tests.conftest import Cli

SHORT, LONG = 3, 110
TAGS = ("a", "b", "c")
TRIALS = 40
NOT_MEASURED = {"compile_error", "out_of_resources"}
RUN = f"study run --stop none --sampler random --trials {TRIALS}"
EXPORT = "study export --dir tuned"


@pytest.mark.parametrize("kills", [SHORT, pytest.param(LONG, marks=pytest.mark.long)])
def test_kills_at_random_moments_lose_nothing(cli: Cli, kills: int) -> None:
    commands, moments = Commands(cli.folder, cli.env), random.Random(kills)
    creates = [f"study create --backend replay --skip-if-exists {cli.SHRINK} --tag {tag}" for tag in TAGS]
    done = Counter[str]()
    assert commands.start(creates[0]).wait() == 0
    begin_s = time.monotonic()
    assert commands.start(creates[1]).wait() == 0
    # As long as a command takes on this machine now, so that kills meet all of its parts.
    whole_s = time.monotonic() - begin_s
    while sum(done.values()) < kills:
        words = moments.choice([*creates, RUN, RUN, RUN, EXPORT, EXPORT])
        command = commands.start(words)
        time.sleep(moments.uniform(0, whole_s))
        code = command.kill()
        assert code in (-9, 0, 2), command.printed
        assert code != 2 or _has_nothing_to_do(command.printed), command.printed
        done[words.split()[1]] += code == -9
        assert_whole(cli, Path("tuned"))
        if words == RUN and all_finished(cli):
            _reopen(cli)
    for words in (*creates, RUN, EXPORT):
        last = commands.start(words)
        assert last.wait() == 0, last.printed
    for state in json.loads(cli.ok("study list --json")):
        assert_complete(cli, state["name"])
    assert_whole(cli, Path("tuned"))
    print(f"kills: {dict(done)}")


def _has_nothing_to_do(printed: str) -> bool:
    """Tells whether a command came before the ones that it needs."""
    return any(part in printed for part in ("no matching study", "exists"))


def all_finished(cli: Cli) -> bool:
    return all(state["state"] in ("tuned", "default") for state in json.loads(cli.ok("study list --json")))


def _reopen(cli: Cli) -> None:
    """Deletes the studies, so that there is something to kill again."""
    for state in json.loads(cli.ok("study list --json")):
        assert_complete(cli, state["name"])
        cli.ok("study delete --yes", state["name"])
        cli.ok("study create --backend replay", cli.SHRINK, "--tag", state["name"].rpartition("-")[2])


def assert_whole(cli: Cli, folder: Path) -> None:
    """Every file that a server may read is whole, and so is the database."""
    for file in folder.rglob("*.json"):
        json.loads(file.read_text())
    if cli.database.exists():
        with contextlib.closing(sqlite3.connect(cli.database)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def assert_complete(cli: Cli, name: str) -> None:
    """A finished study has as many trials as were asked for, none twice, and its result counts them all."""
    shown: dict[str, Any] = json.loads(cli.ok("study show --json", name))
    statuses = Counter(trial["status"] for trial in shown["trials"])
    assert sum(count for status, count in statuses.items() if status not in NOT_MEASURED) == TRIALS
    assert shown["result"]["counts"] == statuses
    told = [json.dumps(trial["params"], sort_keys=True) for trial in shown["trials"]]
    assert len(set(told)) == len(told), "a config was stored twice"
