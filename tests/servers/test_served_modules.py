"""Every served kernel on the servers' real modules: ``pytest --served DIR``.

DIR holds a folder ``<package>-<version>`` for each release, with the modules of its LoRA ops and what these import.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.builders.child import run_code, run_conformance

PACKAGES = ("vllm", "sglang")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = metafunc.config.getoption("--served")
    cases = [
        pytest.param(release, f"{name}@{package}", id=f"{release.name}-{name}")
        for package in PACKAGES
        for release in (sorted(folder.resolve().glob(f"{package}-*")) if folder else [])
        for name in importlib.import_module(f"autotune.servers.{package}.served").NAMES
    ]
    metafunc.parametrize(("release", "kernel"), cases)


def test_the_release_is_known_and_its_kernel_conforms(release: Path, kernel: str, device: str) -> None:
    done = run_conformance(device, release, kernel, "-k", "default_config or meta_launches")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    known = f"from autotune.contract import registry; print(registry.load({kernel!r}).origin().unknown)"
    told = run_code(release, known)
    assert told.returncode == 0, told.stderr
    assert told.stdout.strip() == ""
