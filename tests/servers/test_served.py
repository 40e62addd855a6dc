"""Servers' own ops, as released: they pass the conformance suite of kernels (``--served DIR``)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.servers.sglang.served_releases import CSGMV_SOURCES
from autotune.servers.vllm.served_releases import DENSE_SOURCES
from tests.builders.child import run_code, run_conformance

DENSE = ("lora_shrink", "lora_expand")
CSGMV = ("csgmv_shrink", "csgmv_expand")
CASES = [
    *(f"{name}@vllm-{version}" for version in DENSE_SOURCES for name in DENSE),
    *(f"{name}@sglang-{version}" for version in CSGMV_SOURCES for name in CSGMV),
]


@pytest.mark.parametrize("kernel", CASES)
def test_it_conforms(kernel: str, served: Callable[[str], Path], device: str) -> None:
    """A process for each, as a process holds one release of a package."""
    found = run_conformance(device, served(kernel.partition("@")[2]), kernel, "-x")
    assert found.returncode == 0, found.stdout[-4000:] + found.stderr[-4000:]


@pytest.mark.parametrize("kernel", CASES[::2])
def test_its_sources_are_known(kernel: str, served: Callable[[str], Path]) -> None:
    code = f"from autotune.contract import registry; print(registry.load({kernel!r}).origin().unknown)"
    found = run_code(served(kernel.partition("@")[2]), code)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == ""
