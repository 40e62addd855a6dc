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

# Runs the command of argv, and is stopped when the storage's connection is open and nobody has it yet.
STOPPED = """
from optuna.storages import RDBStorage
from autotune.__main__ import main
opened = RDBStorage.__init__
def stop(storage, *args, **kwargs):
    opened(storage, *args, **kwargs)
    raise KeyboardInterrupt
RDBStorage.__init__ = stop
main()
"""


def _run(script: str, words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, *words.split()]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_command_looks_seldom_for_cycles_and_closes_its_storage_even_if_it_is_stopped(tmp_path: Path) -> None:
    storage = tmp_path / "of" / "studies.db"
    storage.parent.mkdir()
    words = f"study create --backend replay {Cli.SHRINK} --storage sqlite:///{storage}"
    done = _run(SCRIPT, words)
    assert done.returncode == 0, done.stderr
    looked, ignored = map(int, done.stdout.split()[-2:])
    # Python by itself looks 400 times, and through 200,000 objects at the end.
    assert looked < 40
    assert ignored > 100_000
    # SQLite removes its log once the last connection is closed.
    assert list(storage.parent.iterdir()) == [storage]
    stopped = _run(STOPPED, words)
    assert stopped.returncode != 0
    assert "Aborted" in stopped.stderr
    assert list(storage.parent.iterdir()) == [storage]
