"""Streams that are closed or full: a line and an exit code, no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PLAN = "plan Qwen3-8B --runtime vllm --lora-rank 16 --max-loras 4"


def run(redirected: str, command: str = PLAN) -> subprocess.CompletedProcess[str]:
    line = f'"$0" -m autotune {command} {redirected}'
    return subprocess.run(["sh", "-c", line, sys.executable], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("redirected", [">&-", "<&- >&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_takes_what_would_be_written(redirected: str) -> None:
    done = run(redirected)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which is always full")
@pytest.mark.parametrize("json", ["", " --json"])
def test_a_full_disk_is_told_in_a_line(json: str) -> None:
    done = run("> /dev/full", PLAN + json)
    assert done.returncode == 1
    assert done.stderr == "Error: output: No space left on device; make room there, and run the command again\n"
