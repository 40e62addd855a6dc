"""Joining runs of the engine, also of those that were cut short."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import join_serve_runs

FILE = Path(join_serve_runs.__file__).parent / "data" / "serve-llama-3.1-8b.json"


def joined(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *without: str, lacking: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Makes the tables of a measured file again, without some of its processes.

    Args:
        lacking: By the variant and run of a process, a phase that it did not run.
    """
    file, data = folder / "serve.json", json.loads(FILE.read_text())
    for each in data["processes"]:
        lacks = (lacking or {}).get(f"{each['variant']}:{each['run']}")
        each["phases"] = [phase for phase in each["phases"] if phase["name"] != lacks]
    file.write_text(json.dumps(data))
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


def cells(data: Mapping[str, Any], phase: str) -> dict[str, int]:
    """Counts the processes of each variant that a phase has."""
    return {each["variant"]: len(each["medians_ms"]) for each in data["cells"] if each["phase"] == phase}


PHASE, OTHER = "decode 1", "decode 64"


@pytest.mark.parametrize(
    ("lacking", "left"),
    [
        (["A:1"], {"A": 2, "B": 1, "C": 1, "D": 2, "N": 3}),
        (["D:3"], {"A": 3, "B": 1, "C": 1, "N": 3}),
        (["N:3"], {"A": 2, "B": 1, "N": 2}),
    ],
    ids=["the first", "all of a variant", "that with LoRA off, above which its run is counted"],
)
def test_a_process_may_lack_a_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: list[str], left: dict[str, int]
) -> None:
    found = joined(tmp_path, monkeypatch, lacking=dict.fromkeys(lacking, PHASE))
    assert cells(found, PHASE) == left
    assert cells(found, OTHER) == {"A": 3, "B": 1, "C": 1, "D": 2, "N": 3}
