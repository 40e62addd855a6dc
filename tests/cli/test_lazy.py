"""Commands load what they need: help and the readers of files do without what measures and searches."""

from __future__ import annotations

import os
import subprocess
import sys
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
# Runs a command, and prints which of the packages of argv[1] it has loaded.
SCRIPT = """
import sys
from autotune.cli.main import main
try:
    main(sys.argv[2:])
except SystemExit as ended:
    assert ended.code in (0, 1, None), ended.code
print("loaded:", [name for name in sys.argv[1].split(",") if name in sys.modules])
"""


def loaded(unwanted: tuple[str, ...], *arguments: str | Path) -> str:
    command = [sys.executable, "-c", SCRIPT, ",".join(unwanted), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "study --help",
        "config check --help",
        "config diff --help",
        "plan Qwen3-8B --runtime vllm --lora-rank 16 --max-loras 4",
    ],
)
def test_what_neither_measures_nor_reads_a_storage_loads_nothing_heavy(command: str) -> None:
    assert loaded(HEAVY, *command.split()) == "loaded: []"


def test_checking_a_folder_loads_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    assert loaded(HEAVY, "config", "check", tmp_path, "--runtime", "vllm", "--json").startswith("loaded: []")


def test_listing_studies_loads_neither_torch_nor_the_search(tmp_path: Path) -> None:
    unwanted = ("torch", "triton", "sklearn", "scipy")
    assert loaded(unwanted, "study", "list", "--help") == "loaded: []"
    assert loaded(unwanted, "doctor", "--storage", f"sqlite:///{tmp_path}/none.db") == "loaded: []"


@pytest.mark.parametrize(
    "shape",
    [
        "--op-type lora_shrink --m-values 16 --hidden-size 5120 --lora-rank 16 --num-loras 4",
        "--runtime sglang --op-type expand --chunk-sizes 16 --output-dim 6144 --lora-rank 64 --num-slices 2",
        "--runtime sglang --plan Qwen3-Embedding-0.6B --chunk-sizes 16 --lora-rank 64 --max-loras 1 --dtype float16",
    ],
)
def test_making_studies_of_recordings_loads_no_torch_no_search_and_no_report(tmp_path: Path, shape: str) -> None:
    storage = ("--storage", f"sqlite:///{tmp_path}/studies.db")
    optunas = ("optuna.importance", "optuna.visualization", "optuna_dashboard", "plotly", "pandas")
    reports = ("matplotlib", "jinja2", "rich")
    unwanted = ("torch", "triton", "sklearn", "scipy", "pebble", "yaml", *optunas, *reports)
    assert loaded(unwanted, "study", "create", "--backend", "replay", *shape.split(), *storage) == "loaded: []"


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
    ("command", "more"),
    [
        ("study list", ("numpy",)),
        ("doctor", ("numpy",)),
        ("study report --md report.md --csv report.csv", ("numpy", "jinja2")),
        ("study show lora_shrink*", ()),
        ("study show --json lora_shrink*", ()),
        ("study best lora_shrink*", ()),
        ("study export --dir tuned --csv trials.csv", ()),
    ],
)
def test_what_only_reads_a_storage_loads_neither_optuna_nor_a_kernels_code(
    finished: Cli, command: str, more: tuple[str, ...]
) -> None:
    # The problems of some kernels are made of arrays.
    unwanted = (*(name for name in HEAVY if name != "numpy"), *more, "matplotlib", "rich", "unittest.mock")
    assert loaded(unwanted, *command.split(), "--storage", finished.url) == "loaded: []"
