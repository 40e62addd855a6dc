"""Several runs of one storage share the work: every study is searched by one of them, and all end well."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tests.run.test_resume import assert_none_twice

if TYPE_CHECKING:
    from tests.conftest import Cli

RUNS = 2
TAGS = ("a", "b", "c")
"""A study each, of one problem."""


def test_runs_of_one_storage_share_the_work(cli: Cli) -> None:
    names = [cli.ok("study create --backend replay", cli.SHRINK, "--tag", tag).strip() for tag in TAGS]
    command = [sys.executable, "-m", "autotune", "study", "run", "--trials", "10", "--stop", "none"]
    command += ["--sampler", "random"]  # What is proposed does not matter; a model would take most of the time.
    environment = os.environ | cli.env | {"PYTHONPATH": str(Path(__file__).parents[2])}
    started = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(RUNS)]
    errors = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0] * RUNS, errors
    for name in names:
        shown = json.loads(cli.ok("study show --json", name))
        statuses = Counter(trial["status"] for trial in shown["trials"])
        assert shown["result"]["counts"] == statuses, "what the result counts is what is stored"
        assert_none_twice(shown["trials"])
