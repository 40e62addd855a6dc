"""Our kernels by the real entry of each release of vLLM, in Triton's interpreter: ``pytest --served DIR``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[3]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = metafunc.config.getoption("--served")
    releases = sorted(folder.resolve().glob("vllm-*")) if folder else []
    metafunc.parametrize("release", [pytest.param(each, id=each.name) for each in releases])
    metafunc.parametrize("family", ["dense", "moe"])


def test_ours_by_the_releases_entry(release: Path, family: str) -> None:
    path = os.pathsep.join([str(ROOT), str(release)])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / f"test_stand_in_{family}.py")]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "skipped" not in done.stdout
