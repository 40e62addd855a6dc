"""Measures how long the command line takes to start: CPU seconds of each command, the least and the median of several
runs; and of what opening a storage loads, whoever does it.

Run from anywhere, on one core and with nothing else at work: taskset -c 1 python docs/measure_startup.py
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

RUNS = 7
ROOT = Path(__file__).parents[1]
SHAPE = "--op-type lora_shrink --batch-size 16 --hidden-size 5120 --lora-rank 16 --num-loras 4 --backend replay"
COMMANDS = {
    "--help": 0.3,
    "config check FOLDER --runtime vllm": 1.0,
    "plan Qwen3-8B --runtime vllm --lora-rank 16 --max-loras 4": 1.0,
    "study list": 1.0,
    "doctor": 1.0,
    "study show *": 1.0,
    "study best *": 1.0,
    "study report": 1.0,
    "study export --dir FOLDER": 1.0,
    f"study create --skip-if-exists {SHAPE}": 2.0,
    f"study create --storage sqlite:///NEW {SHAPE}": 2.0,
}
"""The commands, and the CPU seconds that each is to take on a machine of two cores. NEW is another file in each run."""

STEPS = {
    "Python alone": "pass",
    "and SQLAlchemy": "import sqlalchemy.orm",
    "and Optuna": "import sqlalchemy.orm, optuna",
    "and alembic, which Optuna compares a storage's version by": (
        "import sqlalchemy.orm, optuna, alembic.command, alembic.config, alembic.migration, alembic.script"
    ),
    "and Optuna opens the storage": "import optuna, os; optuna.storages.RDBStorage(os.environ['AUTOTUNE_STORAGE'])",
}
"""What a command that writes to a storage begins with, each with all before it, and nothing of this project."""


def cpu_s(arguments: list[str], environment: dict[str, str]) -> float:
    """Runs Python; returns the CPU seconds that it and its children took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def least_and_median(run: Callable[[int], float]) -> str:
    """Runs something several times, by the number of the run; returns its CPU seconds in words."""
    took_s = [run(number) for number in range(RUNS)]
    return f"{min(took_s):5.2f} s, median {statistics.median(took_s):5.2f} s"


def main() -> None:
    print(f"{os.getloadavg()[0]:.1f} other processes at work on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "PYTHONPYCACHEPREFIX": f"{folder}/bytecode",
            "PYTHONDONTWRITEBYTECODE": "",
            "AUTOTUNE_STORAGE": f"sqlite:///{folder}/studies.db",
            "AUTOTUNE_CACHE_DIR": f"{folder}/cache",
        }
        for words in (f"create {SHAPE}", "run"):
            cpu_s(["-m", "autotune", "study", *words.split()], environment)
        Path(folder, "tuned").mkdir()
        for command, reach_s in COMMANDS.items():

            def run(number: int, command: str = command) -> float:
                words = command.replace("FOLDER", f"{folder}/tuned").replace("NEW", f"{folder}/{number}.db")
                return cpu_s(["-m", "autotune", *words.split()], environment)

            print(f"{least_and_median(run)}, to reach {reach_s:.1f} s  {command}")
        for step, code in STEPS.items():

            def do(_: int, code: str = code) -> float:
                return cpu_s(["-c", code], environment)

            print(f"{least_and_median(do)}  {step}")


if __name__ == "__main__":
    main()
