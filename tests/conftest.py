"""Options and fixtures of all tests. ``--device cpu`` (the default) runs kernels in Triton's interpreter."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from autotune.gpu import Gpu


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=("cpu", "cuda"), default="cpu", help="where kernels run")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--device") == "cpu":
        # Triton reads it when a kernel is defined, so it must be set before any kernel module is imported.
        os.environ["TRITON_INTERPRET"] = "1"
    # Triton 3.9 warns of a coming change of this default, and warnings are errors here.
    os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def gpu(device: str) -> Gpu:
    """The GPU whose spaces are tested: the one at hand, or an H200."""
    import torch

    from autotune.gpu import H200, Gpu

    if device == "cpu":
        return H200
    p = torch.cuda.get_device_properties(0)
    shared, sms = p.shared_memory_per_block_optin, p.multi_processor_count
    return Gpu(p.name, (p.major, p.minor), sms, shared, p.L2_cache_size)


@pytest.fixture(scope="session")
def wait_until() -> Callable[[Callable[[], object]], None]:
    """Look until something is so; fails when it takes longer than anything here may."""

    def wait(condition: Callable[[], object], limit_s: float = 60.0) -> None:
        end_s = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < end_s, "waited in vain"
            time.sleep(0.005)

    return wait


@pytest.fixture(scope="session")
def wait_gone() -> Callable[[int], None]:
    """Wait for any process, child or not, to end."""

    def wait(pid: int, limit_s: float = 60.0) -> None:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            assert select.select([descriptor], [], [], limit_s)[0], f"process {pid} lives on"
        finally:
            os.close(descriptor)

    return wait
