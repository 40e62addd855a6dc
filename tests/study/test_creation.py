"""Creating studies: by many at once, and after a creation was killed half-way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import pytest

from autotune.errors import InputError
from autotune.study import creation, studies
from autotune.study.storage import open_storage
from tests.builders.double_study import SPEC
from tests.builders.mortal_storage import Killed, MortalStorage

if TYPE_CHECKING:
    from tests.conftest import Cli

SHRINK = "lora_shrink-m16-k5120-n16-s1-l4-float16-NVIDIA_H200-replay"


@pytest.mark.parametrize("last_write", range(2))
def test_what_a_killed_creation_left_is_taken_over(last_write: int) -> None:
    storage = MortalStorage()
    storage.last_write = last_write
    with pytest.raises(Killed):
        creation.create_all(storage, {"one": SPEC, "two": SPEC}, skip_if_exists=False)
    storage.last_write = None
    assert creation.create_all(storage, {"one": SPEC, "two": SPEC}, skip_if_exists=True) == ["one", "two"]
    assert studies.names(storage) == ["one", "two"]
    assert studies.load(storage, "one").spec == SPEC


def test_an_empty_study_is_created_run_and_deleted_by_its_name(cli: Cli) -> None:
    storage = open_storage(cli.url, create=True)
    for name in (SHRINK, "other"):
        optuna.create_study(storage=storage, study_name=name)
    refused = cli("study show", SHRINK)
    assert refused.exit_code == 2
    assert "it is empty; create it again" in refused.output
    assert cli.ok("study create --backend replay --skip-if-exists", cli.SHRINK) == f"{SHRINK}\n"
    assert f"{SHRINK}  new" in cli.ok("study list")
    cli.ok("study delete --yes", SHRINK)
    cli.ok("study delete --yes other")
    assert not storage.get_all_studies()


def test_another_programs_study_is_neither_taken_over_nor_deleted(cli: Cli) -> None:
    storage = open_storage(cli.url, create=True)
    theirs = optuna.create_study(storage=storage, study_name=SHRINK)
    theirs.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(InputError, match="exists and was not made by this tool; give this one a --tag"):
        creation.create_all(storage, {"new": SPEC, SHRINK: SPEC}, skip_if_exists=True)
    assert studies.names(storage) == [], "all or none"
    assert cli("study delete --yes", SHRINK).exit_code == 2
    assert len(theirs.trials) == 1


def test_two_create_the_same_studies_in_a_storage_that_is_not_there(cli: Cli) -> None:
    command = [sys.executable, "-m", "autotune", "study", "create", "--backend", "replay", "--skip-if-exists"]
    environment = os.environ | cli.env | {"PYTHONPATH": str(Path(__file__).parents[2])}
    started = [
        subprocess.Popen([*command, *cli.SHRINK.split()], env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0] * 2, errors
    assert studies.names(open_storage(cli.url)) == [SHRINK]
