"""Notes of studies are for the dashboard: where it is not installed, none is kept and nothing fails."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from autotune.report.note import study_note
from autotune.report.results import result_line
from autotune.study import studies
from autotune.study.storage import open_storage

if TYPE_CHECKING:
    from tests.conftest import Cli


def system_attributes(cli: Cli) -> list[str]:
    return [name for summary in open_storage(cli.url).get_all_studies() for name in summary.system_attrs]


@pytest.mark.parametrize("installed", [True, False])
def test_a_note_is_kept_for_the_dashboard_alone(cli: Cli, monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    if not installed:
        monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    cli.ok("study create --backend replay", cli.SHRINK)
    created = system_attributes(cli)
    cli.ok("study run --trials 2")
    storage = open_storage(cli.url)
    (name,) = studies.names(storage)
    assert studies.load(storage, name).result is not None
    assert any("note" in name for name in created) == installed
    assert any("note" in name for name in system_attributes(cli)) == installed


def test_the_dashboard_says_how_to_install_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    refused = cli("dashboard")
    assert refused.exit_code != 0
    assert refused.output.strip() == "Error: dashboard: optuna-dashboard is not installed; pip install optuna-dashboard"


def test_a_note_leads_with_the_result(finished: Cli) -> None:
    storage = open_storage(finished.url)
    study = studies.load(storage, studies.names(storage)[0])
    lead = study_note(study).splitlines()[0]
    assert study.result is not None
    assert lead == f"**{result_line(study.name, study.result.decision)}**"
