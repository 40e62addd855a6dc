"""Joining runs of the engine, also of those that were cut short."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import join_serve_runs

FILE = Path(join_serve_runs.__file__).parent / "data" / "serve-llama-3.1-8b.json"


def joined(folder: Path, monkeypatch: pytest.MonkeyPatch, *without: str) -> dict[str, Any]:
    """Makes the tables of a measured file again, without some of its processes."""
    file = folder / "serve.json"
    file.write_text(FILE.read_text())
    monkeypatch.setattr("sys.argv", ["join_serve_runs.py", str(file), "--without", *without])
    join_serve_runs.main()
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_all_processes_make_the_same_table_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = json.loads(FILE.read_text()), joined(tmp_path, monkeypatch)
    times = [
        [(cell["variant"], cell["ms"], cell["above_off_ms"]) for cell in each["cells"]] for each in (before, after)
    ]
    assert times[0] == times[1]


def test_a_variant_without_a_process_has_no_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = joined(tmp_path, monkeypatch, "C:3")
    assert {cell["variant"] for cell in found["cells"]} == {"A", "B", "D", "N"}
    assert "C" in found["variants"], "a further run may have it"


def test_a_run_needs_its_own_process_with_lora_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="no process with LoRA off is of run 1: leave its others out"):
        joined(tmp_path, monkeypatch, "N:1")
