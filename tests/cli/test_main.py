"""The entry point: version, exit in one line where a package is missing, and one program under two names."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from autotune import __version__
from autotune.cli.main import main

if TYPE_CHECKING:
    from tests.conftest import Cli

ROOT = Path(__file__).parents[2]
# Runs the entry point as a script of the name in argv[1], without the package in argv[2].
SCRIPT = """
    import importlib.metadata
    import sys

    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == missing:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    script, missing, entry, *arguments = sys.argv[1:]
    sys.meta_path.insert(0, Missing())
    sys.argv = [script, *arguments]
    importlib.metadata.EntryPoint("", entry, "console_scripts").load()()
"""


def entry_point() -> str:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    name, _, entry = setup["options.entry_points"]["console_scripts"].strip().partition(" = ")
    assert name == "lora-autotune"
    return entry


def run_script(script: str, missing: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), script, missing, entry_point(), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_version_has_the_distributions_name(cli: Cli) -> None:
    assert cli.ok("--version") == f"lora-autotune, version {__version__}\n"


@pytest.mark.parametrize("package", ["click", "optuna"])
def test_a_missing_package_is_said_in_a_line(package: str) -> None:
    done = run_script("lora-autotune", package, "study", "run")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: {package} is not installed")
    assert done.stderr.count("\n") == 1


def test_the_installed_script_and_the_module_are_one_program() -> None:
    script = run_script("bin/lora-autotune", "", "study", "list", "--nothing")
    module = run_script("autotune/__main__.py", "", "study", "list", "--nothing")
    assert script.returncode == module.returncode == 2
    assert "see lora-autotune study list --help" in script.stderr
    assert module.stderr == script.stderr.replace("lora-autotune", "python -m autotune")


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(commands(main)), ids=" ".join)
def test_help_fits_a_narrow_terminal_and_is_not_cut(path: tuple[str, ...]) -> None:
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(main, [*path, "--help"], prog_name="python -m autotune").output
    usage, *lines = shown.splitlines()
    assert usage.startswith("Usage: ")
    assert not [line for line in lines if len(line) > 80 or line.endswith("...")]
