"""Options and fixtures of the conformance suite.

``--device cpu`` (the default) runs kernels in Triton's interpreter.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from autotune.contract import Gpu


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("autotune", "conformance of kernels")
    group.addoption("--device", choices=("cpu", "cuda"), default="cpu", help="where kernels run")
    group.addoption(
        "--kernel", metavar="NAME", help="the kernel to check, a name or path/to/file.py:NAME; default: all"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--device") == "cpu":
        # Triton reads it when a kernel is defined, so it must be set before any kernel module is imported.
        os.environ["TRITON_INTERPRET"] = "1"
    # Triton 3.9 warns of a coming change of this default, and warnings may be errors.
    os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
    if reference := config.getoption("--kernel"):
        _refuse_what_has_no_problems(reference)


def _refuse_what_has_no_problems(reference: str) -> None:
    from autotune.contract import registry
    from autotune.errors import InputError
    from autotune.testing.problems import problems_of

    try:
        problems_of(registry.load(reference))
    except InputError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def gpu(device: str) -> Gpu:
    """Returns the GPU whose spaces are tested: the one at hand, or an H200."""
    from autotune.contract.gpu import H200
    from autotune.environment import current_gpu

    return H200 if device == "cpu" else current_gpu()
