"""`study report` in all its formats."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Cli


def test_the_terminal_shows_every_study_and_where_it_was_measured(finished: Cli) -> None:
    shown = finished.ok("study report")
    assert "of 2 shapes got a faster config" in shown
    assert "recorded on NVIDIA H200" in shown
    assert "Where the time went" in shown


def test_all_formats_tell_the_same_figures(finished: Cli) -> None:
    folder = finished.folder
    told = json.loads(finished.ok("study report --json --md", folder / "r.md", "--csv", folder / "r.csv"))
    with (folder / "r.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    markdown = (folder / "r.md").read_text()
    assert [row["name"] for row in rows] == [row["name"] for row in told["rows"]]
    for row, written in zip(told["rows"], rows, strict=True):
        assert float(written["tuned_us"]) == row["tuned_us"]
        assert json.loads(written["config"]) == row["config"]
        assert f"{row['speedup']:.2f}x" in markdown


def test_a_glob_chooses(finished: Cli) -> None:
    (row,) = json.loads(finished.ok("study report lora_expand* --json"))["rows"]
    assert row["op"] == "expand"
    assert "matches none of" in finished("study report nothing*").stderr


def test_a_file_that_cannot_be_written_is_one_line(finished: Cli) -> None:
    failed = finished("study report --md", finished.folder / "there/is/no/r.md")
    assert failed.exit_code == 2
    assert "--md: cannot write" in failed.stderr


def test_plots_without_matplotlib_name_what_to_install(finished: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    failed = finished("study report --html", finished.folder / "r.html")
    assert failed.exit_code == 2
    assert "lora-autotune[plot]" in failed.stderr


def test_drawing_says_what_it_wrote_and_nothing_of_optunas(finished: Cli) -> None:
    page = finished.folder / "r.html"
    command = [sys.executable, "-m", "autotune", "study", "report", "--html", str(page)]
    environment = os.environ | finished.env | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stderr == f"Wrote {page}.\n"


def test_studies_of_one_plan_are_reported_as_that_plan(cli: Cli) -> None:
    plan = "--plan Qwen3-Embedding-0.6B --runtime sglang --lora-rank 64 --max-loras 1 --chunk-sizes 16 --dtype float16"
    name = cli("study create --backend replay", plan).stderr.split("--plan ")[1].strip()
    found = json.loads(cli.ok("study report --json"))
    assert found["title"] == name
    assert found["rows"][0]["launches"] == 28
