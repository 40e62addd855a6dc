"""Commands load what they need: help and the readers of files do without what measures and searches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from autotune.cli.lazy import LazyGroup
from autotune.cli.main import main

if TYPE_CHECKING:
    from tests.conftest import Cli

ROOT = Path(__file__).parents[2]
HEAVY = ("optuna", "torch", "sklearn", "scipy", "numpy", "sqlalchemy", "triton")
# Runs the commands of argv[2], one after the other, and prints what each has loaded of the packages of argv[1].
SCRIPT = """
import json
import sys
from autotune.cli.main import main
unwanted, commands = map(json.loads, sys.argv[1:])
found = {}
for command in commands:
    try:
        main(command)
    except SystemExit as ended:
        assert ended.code in (0, 1, None), (command, ended.code)
    found[" ".join(command)] = [name for name in unwanted if name in sys.modules]
print()
print(json.dumps(found))
"""


def assert_not_loaded(unwanted: Sequence[str], *commands: str) -> None:
    """Runs commands in one process: what one of them loads shows in its place, and in that of those after it."""
    arguments = [json.dumps(unwanted), json.dumps([command.split() for command in commands])]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {command: [] for command in commands}


def test_what_neither_measures_nor_reads_a_storage_loads_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    assert_not_loaded(
        HEAVY,
        "--help",
        "study --help",
        "config check --help",
        "config diff --help",
        f"config check {tmp_path} --runtime vllm --json",
        "plan Qwen3-8B --runtime vllm --lora-rank 16 --max-loras 4",
    )


def test_listing_studies_loads_neither_torch_nor_the_search(tmp_path: Path) -> None:
    unwanted = ("torch", "triton", "sklearn", "scipy")
    assert_not_loaded(unwanted, "study list --help", f"doctor --storage sqlite:///{tmp_path}/none.db")


def test_making_studies_of_recordings_loads_no_torch_no_search_and_no_report(tmp_path: Path) -> None:
    optunas = ("optuna.importance", "optuna.visualization", "optuna_dashboard", "plotly", "pandas")
    reports = ("matplotlib", "jinja2", "rich")
    unwanted = ("torch", "triton", "sklearn", "scipy", "pebble", "yaml", *optunas, *reports)
    shapes = (
        "--op-type lora_shrink --m-values 16 --hidden-size 5120 --lora-rank 16 --num-loras 4",
        "--runtime sglang --op-type expand --chunk-sizes 16 --output-dim 6144 --lora-rank 64 --num-slices 2",
        "--runtime sglang --plan Qwen3-Embedding-0.6B --chunk-sizes 16 --lora-rank 64 --max-loras 1 --dtype float16",
    )
    create = f"study create --backend replay --storage sqlite:///{tmp_path}"
    assert_not_loaded(unwanted, *(f"{create}/{number}.db {shape}" for number, shape in enumerate(shapes)))


def groups(group: LazyGroup) -> list[LazyGroup]:
    below = [command.load() for command in group.lazy.values()]
    return [group, *(found for each in below if isinstance(each, LazyGroup) for found in groups(each))]


def test_what_a_group_says_of_a_command_is_the_commands_own_word() -> None:
    assert isinstance(main, LazyGroup)
    for group in groups(main):
        context = click.Context(group)
        for name, lazy in group.lazy.items():
            command = lazy.load()
            assert command.name == name
            assert lazy.help == command.get_short_help_str(limit=200), name
        assert group.get_command(context, "nothing") is None


@pytest.mark.parametrize(
    ("commands", "more"),
    [
        (("study list", "doctor"), ("numpy", "jinja2")),
        (("study report --md report.md --csv report.csv",), ("numpy", "jinja2")),
        # The problems of some kernels are made of arrays.
        (
            (
                "study show lora_shrink*",
                "study show --json lora_shrink*",
                "study best lora_shrink*",
                "study export --dir tuned --csv trials.csv",
            ),
            (),
        ),
    ],
    ids=["lists", "report", "studies"],
)
def test_what_only_reads_a_storage_loads_neither_optuna_nor_a_kernels_code(
    finished: Cli, commands: tuple[str, ...], more: tuple[str, ...]
) -> None:
    unwanted = (*(name for name in HEAVY if name != "numpy"), *more, "matplotlib", "rich", "unittest.mock")
    assert_not_loaded(unwanted, *(f"{command} --storage {finished.url}" for command in commands))
