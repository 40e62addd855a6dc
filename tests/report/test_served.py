"""A report tells what the server's own engine took with an export, where its folder says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import InputError
from autotune.report.content import ReportContent
from autotune.report.sections import sections
from autotune.report.served import read_served
from autotune.servers.provenance import PROOF_NAME

MEASURED = Path(__file__).parents[2] / "docs" / "data" / "serve-qwen3-8b.json"


def written(folder: Path, data: Any) -> Path:
    (folder / PROOF_NAME).write_text(json.dumps(data))
    return folder


def test_a_table_of_the_engine_is_told_phase_by_phase(tmp_path: Path) -> None:
    data = json.loads(MEASURED.read_text())
    made = ReportContent("t", "now", "m", (), (), {}, (), (), (), read_served(written(tmp_path, data)))
    (section,) = sections(made)
    assert section.title == "On the server's engine"
    assert section.note.startswith("Qwen3-8B on NVIDIA H200, vllm 0.23.0")
    assert len(section.rows) == len(data["cells"])
    assert section.remarks == tuple(data["verdicts"])
    told = {(row[0], row[1]): float(row[3]) for row in section.rows if row[3]}
    for cell in data["cells"]:
        if cell["above_off_ms"] is not None:
            variant = f"{cell['variant']}: {data['variants'][cell['variant']]}"
            assert told[cell["phase"], variant] == pytest.approx(cell["above_off_ms"], abs=0.005)


def test_a_folder_without_one_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tune --prove"):
        read_served(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"cells": None}, id="no cells"),
        pytest.param({"cells": [{"variant": "A"}]}, id="half a cell"),
        pytest.param({"versions": 3}, id="versions that are none"),
    ],
)
def test_a_file_of_something_else_is_one_line(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=PROOF_NAME) as refused:
        read_served(written(tmp_path, json.loads(MEASURED.read_text()) | change))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("time", ["3", True, None, [1]])
def test_a_time_that_is_no_number_is_refused(time: object, tmp_path: Path) -> None:
    data = json.loads(MEASURED.read_text())
    data["cells"][0]["ms"] = time
    with pytest.raises(InputError, match="number"):
        read_served(written(tmp_path, data))
