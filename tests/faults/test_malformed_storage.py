"""A storage that somebody else has written into, nearly sound: no traceback, and one line of what is wrong with it."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from autotune.contract import Call
from autotune.contract.converter import to_json
from autotune.study.membership import Membership
from tests.builders.malformed import documents, json_files
from tests.builders.time_limit import at_most

if TYPE_CHECKING:
    from tests.conftest import Cli

SHORT, LONG = 5, 150
CLOCK_S, PROCESSOR_S = 300, 30
PLANS = {"p": to_json(Membership(0, 1.0, (Call("vllm", "shrink", {"m": 16}),), layers=("q_proj",), launches=1))}
COMMANDS = (
    "study list",
    "study list --plan p",
    "study show *shrink*",
    "study best *shrink*",
    "study report --md report.md --csv report.csv *shrink*",
    "study report *shrink*",
    "study export --dir tuned --csv trials.csv *shrink*",
    "study run --trials 16 --stop none --sampler random *shrink*",
    "study delete --yes *shrink*",
)
OF_STUDY = ("autotune", "result", "group result", "plans", "own search done")
OF_TRIALS = ("status", "message", "registers", "compile_s")


@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.long)])
def test_an_attribute_of_a_study_is_read_or_refused(finished: Cli, count: int) -> None:
    kept = written(finished)
    values = {
        name: json_files(kept.get(name) or PLANS).map(lambda text: text.decode(errors="replace")) for name in kept
    }
    drawn = st.sampled_from(OF_STUDY).flatmap(lambda name: st.tuples(values[name], st.just(name)))
    run_commands(finished, drawn, count, "UPDATE study_user_attributes SET value_json = ? WHERE key = ?")


@pytest.mark.parametrize(
    "of_another_type",
    [{"problem": {}}, {"m": None}, {"dtype": []}, {"group": []}],
    ids=["problem", "m", "dtype", "group"],
)
def test_what_a_study_is_about_is_read_or_refused(finished: Cli, of_another_type: dict[str, Any]) -> None:
    spec = written(finished)["autotune"]
    spec |= {name: value for name, value in of_another_type.items() if name in spec}
    spec["problem"] |= {name: value for name, value in of_another_type.items() if name in spec["problem"]}
    drawn = st.just((json.dumps(spec), "autotune"))
    run_commands(finished, drawn, 1, "UPDATE study_user_attributes SET value_json = ? WHERE key = ?")


@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.long)])
def test_an_attribute_of_trials_is_read_or_refused(finished: Cli, count: int) -> None:
    written(finished)
    drawn = st.tuples(documents("ok").map(json.dumps), st.sampled_from(OF_TRIALS))
    run_commands(finished, drawn, count, "UPDATE trial_user_attributes SET value_json = ? WHERE key = ?")


def written(cli: Cli) -> dict[str, Any]:
    """Gives the first study all attributes, and keeps a copy of the storage; returns the attributes."""
    with contextlib.closing(sqlite3.connect(cli.database)) as connection, connection:
        for name, value in (("plans", PLANS), ("group result", None), ("own search done", True)):
            connection.execute(
                "INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (1, ?, ?)",
                (name, json.dumps(value)),
            )
        rows = connection.execute("SELECT key, value_json FROM study_user_attributes WHERE study_id = 1").fetchall()
    shutil.copy(cli.database, cli.folder / "sound.db")
    return {key: json.loads(value) for key, value in rows}


def run_commands(cli: Cli, drawn: st.SearchStrategy[tuple[str, str]], count: int, change: str) -> None:
    """Runs every command on a storage with one attribute changed."""

    @settings(
        max_examples=count, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(drawn)
    def handed_over(change_to: tuple[str, str]) -> None:
        for command in COMMANDS:
            for left in cli.folder.glob("studies.db*"):
                left.unlink()
            shutil.copy(cli.folder / "sound.db", cli.database)
            shutil.rmtree(Path("tuned"), ignore_errors=True)
            with contextlib.closing(sqlite3.connect(cli.database)) as connection, connection:
                connection.execute(change, change_to)
            with at_most(CLOCK_S, PROCESSOR_S):
                # It lets through what nobody has caught.
                done = cli(command)
            assert done.exit_code in (0, 1, 2)
            assert "\x1b[2J" not in done.output
            if done.exit_code == 2:
                assert done.stderr.splitlines()[-1].startswith("Error: ")

    handed_over()
