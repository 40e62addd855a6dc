"""A command does not look for cycles again and again, and leaves nothing open at its end all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import Cli

ROOT = Path(__file__).parents[2]
# Runs the command of argv; prints how often Python looked for cycles, and how many objects it passes by at the end.
SCRIPT = """
import atexit, gc
from autotune.__main__ import main
looked = []
gc.callbacks.append(lambda phase, _: looked.append(phase))
atexit.register(lambda: print(looked.count("start"), gc.get_freeze_count()))
main()
"""


def test_a_command_looks_seldom_for_cycles_and_closes_its_storage(tmp_path: Path) -> None:
    storage = tmp_path / "of" / "studies.db"
    storage.parent.mkdir()
    words = f"study create --backend replay {Cli.SHRINK} --storage sqlite:///{storage}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    looked, passed_by = map(int, done.stdout.split()[-2:])
    # Python by itself looks 400 times, and through 200,000 objects at the end.
    assert looked < 40
    assert passed_by > 100_000
    # SQLite removes its log once the last connection is closed.
    assert list(storage.parent.iterdir()) == [storage]
