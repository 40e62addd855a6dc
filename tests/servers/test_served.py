"""Servers' own ops, as released: they pass the conformance suite of kernels (``--served DIR``)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autotune.servers.sglang.served_releases import CSGMV_SOURCES
from autotune.servers.vllm.served_releases import DENSE_SOURCES

DENSE = ("lora_shrink", "lora_expand")
CSGMV = ("csgmv_shrink", "csgmv_expand")
CASES = [
    *(f"{name}@vllm-{version}" for version in DENSE_SOURCES for name in DENSE),
    *(f"{name}@sglang-{version}" for version in CSGMV_SOURCES for name in CSGMV),
]


@pytest.mark.parametrize("kernel", CASES)
def test_it_conforms(kernel: str, served_folder: Path) -> None:
    """A process for each, as a process holds one release of a package."""
    package = served_folder / kernel.partition("@")[2]
    if not package.is_dir():
        pytest.skip(f"no {package.name} in {served_folder}")
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(package)])
    suite = ["-p", "autotune.testing.autoload", "--pyargs", "autotune.testing", "--kernel", kernel]
    command = [sys.executable, "-m", "pytest", *suite, "-q", "-x", "-p", "no:cacheprovider"]
    found = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout[-4000:] + found.stderr[-4000:]


@pytest.mark.parametrize("kernel", CASES[::2])
def test_its_sources_are_known(kernel: str, served_folder: Path) -> None:
    package = served_folder / kernel.partition("@")[2]
    if not package.is_dir():
        pytest.skip(f"no {package.name} in {served_folder}")
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(package)])
    code = f"from autotune.contract import registry; print(registry.load({kernel!r}).origin().unknown)"
    found = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == ""
