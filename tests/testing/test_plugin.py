"""The conformance suite as a third party runs it: from an installed wheel, on a kernel in a file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / "builders/copying_kernel.py"


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    """Returns the user's file, far from this checkout."""
    return Path(shutil.copy(FILE, tmp_path / "mine.py"))


def run_pytest(site: Path, folder: Path, *arguments: str) -> tuple[int, str]:
    """Runs pytest with what is installed, and the tool from the site folder alone; returns its exit code and output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment | {"PYTHONPATH": str(site)}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_a_kernel_in_a_file_passes_the_shipped_suite(installed_wheel: Path, kernels: Path) -> None:
    status, output = run_pytest(
        installed_wheel, kernels.parent, "--pyargs", "autotune.testing", "--kernel", f"{kernels}:KERNEL", "-v"
    )
    assert status == 0, output
    assert "test_configs_of_the_space_are_correct[copy-size7] PASSED" in output
    assert "lora_shrink" not in output


def test_a_wrong_kernel_fails_where_it_is_wrong(installed_wheel: Path, kernels: Path) -> None:
    status, output = run_pytest(
        installed_wheel, kernels.parent, "--pyargs", "autotune.testing", "--kernel", "mine.py:WRONG_KERNEL"
    )
    assert status == 1, output
    failed = {line.split("::")[1].split("[")[0] for line in output.splitlines() if line.startswith("FAILED")}
    assert failed == {"test_configs_of_the_space_are_correct"}


def test_a_kernel_without_problems_is_refused_in_one_line(installed_wheel: Path, kernels: Path) -> None:
    status, output = run_pytest(
        installed_wheel, kernels.parent, "--pyargs", "autotune.testing", "--kernel", "mine.py:UNKNOWN_KERNEL"
    )
    assert status == pytest.ExitCode.USAGE_ERROR
    assert output.strip() == (
        "ERROR: kernel 'copy_without_problems' has no problems to check it on; "
        f"define PROBLEMS = {{'copy_without_problems': (problem, ...)}} in {kernels}"
    )


def test_other_sessions_keep_their_own_options(installed_wheel: Path, tmp_path: Path) -> None:
    """Another project's conftest may claim the names of our options."""
    (tmp_path / "conftest.py").write_text("def pytest_addoption(parser): parser.addoption('--device')\n")
    (tmp_path / "test_theirs.py").write_text("def test(pytestconfig): assert pytestconfig.getoption('device') == 'x'\n")
    status, output = run_pytest(installed_wheel, tmp_path, "--device", "x")
    assert status == 0, output
