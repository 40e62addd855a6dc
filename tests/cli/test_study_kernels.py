"""A storage that names a file of somebody's runs nothing of it, whatever the command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pytest

if TYPE_CHECKING:
    from tests.conftest import Cli

RAN = Path("ran")
HOSTILE = Path("hostile.py")


@pytest.fixture
def named(finished: Cli) -> str:
    """Has the storage's finished shrink name a file of somebody's; returns the study's name."""
    HOSTILE.write_text(f"import pathlib\npathlib.Path({str(RAN.absolute())!r}).touch()\nKERNEL = None\n")
    name = optuna.get_all_study_names(finished.url)[0]
    study = optuna.load_study(study_name=name, storage=finished.url)
    spec: dict[str, Any] = study.user_attrs["autotune"]
    study.set_user_attr("autotune", {**spec, "kernel": f"{HOSTILE.absolute()}:KERNEL"})
    return name


@pytest.mark.parametrize("command", ["study list", "study show {}", "study best {}"])
def test_reading_a_study_needs_no_kernel(finished: Cli, named: str, command: str) -> None:
    finished.ok(command.format(named))
    assert not RAN.exists()


def test_an_export_refuses_the_file(finished: Cli, named: str) -> None:
    refused = finished("study export --dir tuned", named)
    assert refused.exit_code == 2
    assert f"{HOSTILE}, which is not what the study was created with" in refused.stderr
    assert f"--kernel {HOSTILE.absolute()}" in refused.stderr
    assert not RAN.exists()


def test_a_run_refuses_the_file_until_it_is_named(finished: Cli, named: str) -> None:
    optuna.load_study(study_name=named, storage=finished.url).set_user_attr("result", None)
    refused = finished("study run", named)
    assert refused.exit_code == 2
    assert len(refused.stderr.splitlines()) <= 2  # what is replayed, and the refusal
    assert not RAN.exists()
    named_again = finished("study run --kernel hostile.py", named)
    assert "which is NoneType; allowed: a Kernel object" in named_again.stderr
    assert RAN.exists()
