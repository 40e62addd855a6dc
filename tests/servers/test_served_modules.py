"""Every served kernel on the servers' real modules, in Triton's interpreter: ``pytest --served DIR``.

DIR holds a folder ``<package>-<version>`` for each release, with the modules of its LoRA ops and what these import.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("vllm", "sglang")
_SUITE = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", "autotune.testing")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = metafunc.config.getoption("--served")
    cases = [
        pytest.param(release, f"{name}@{package}", id=f"{release.name}-{name}")
        for package in PACKAGES
        for release in (sorted(folder.resolve().glob(f"{package}-*")) if folder else [])
        for name in importlib.import_module(f"autotune.servers.{package}.served").NAMES
    ]
    metafunc.parametrize(("release", "kernel"), cases)


def test_the_release_is_known_and_its_kernel_conforms(release: Path, kernel: str) -> None:
    path = os.pathsep.join([str(ROOT), str(release)])
    command = [sys.executable, *_SUITE, "--kernel", kernel, "-k", "default_config or meta_launches"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    known = f"from autotune.contract import registry; print(registry.load({kernel!r}).origin().unknown)"
    told = subprocess.run([sys.executable, "-c", known], env=os.environ | {"PYTHONPATH": path}, capture_output=True)
    assert told.stdout.strip() == b""
