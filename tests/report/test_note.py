"""Notes and plots of studies are for the dashboard: where it is not installed, none is kept and nothing fails."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

from autotune.report.note import study_note
from autotune.report.results import result_line
from autotune.report.timed import timed_trials
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
    assert lead == f"**{result_line(study.name, study.result)}**"


def test_the_reports_plots_are_kept_beside_the_note(finished: Cli) -> None:
    (first, *_) = open_storage(finished.url).get_all_studies()
    kept = get_plotly_graph_objects(first.system_attrs)
    drawn = {name: json.loads(text) for name, text in kept.items()}
    assert set(drawn) == {"search", "space"}
    item = studies.load(open_storage(finished.url), first.study_name)
    timed = timed_trials(item)
    points = {each["name"]: each for each in drawn["search"]["data"]}
    assert len(points["timed"]["x"]) + len(points["given up early"]["x"]) == len(timed)
    assert points["best"]["y"][-1] == min(trial.time_us for trial in timed)
    (cells,) = drawn["space"]["data"]
    assert [int(value) for value in cells["x"]] == sorted(int(value) for value in cells["x"])
    assert 1.0 in [share for row in cells["z"] for share in row], "the fastest is on the map"
