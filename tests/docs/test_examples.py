"""The examples run as they stand, on recorded times."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(example: str, *arguments: str | Path) -> str:
    command = [sys.executable, str(ROOT / "examples" / example), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_model_is_tuned_written_reported_and_looked_up(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    told = run("tune_a_model.py", tmp_path, "6")
    assert "of 7 shapes got a faster config" in told
    assert "chunk_size 16: " in told
    assert (tmp_path / "report.html").stat().st_size > 100_000
    looked_up = run("look_up.py", tmp_path / "tuned").splitlines()
    assert len(looked_up) == 7
    assert all(": file, " in line for line in looked_up)
