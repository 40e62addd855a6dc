"""What is compiled ahead of the first request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import triton

from autotune.contract import Launch
from autotune.servers.plugin import warm_up


class NotingKernel:
    """A kernel that notes what it is compiled for, and does not compile with 8 warps."""

    def __init__(self) -> None:
        self.compiled: list[tuple[Any, ...]] = []

    def warmup(self, *args: Any, grid: Any, **options: Any) -> None:
        if options["num_warps"] == 8:
            raise RuntimeError("out of registers")
        self.compiled.append((*args, options["num_warps"]))


@pytest.fixture(autouse=True)
def _compiling(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with triton.knobs.runtime.scope():
        triton.knobs.runtime.interpret = False
        yield


def test_each_kernel_that_some_batch_needs_is_compiled_once() -> None:
    """Those of the counts given, and of the next ones, which may make sizes that 16 does not divide."""
    kernel = NotingKernel()

    def launches_at(m: int) -> list[Launch]:
        return [Launch(kernel, (1,), (m * 8,), {"num_warps": 2 if m < 64 else 4})]

    warm_up.compile_ahead(launches_at, (16, 32, 64, 128))
    assert kernel.compiled == [(128, 2), (136, 2), (512, 4), (520, 4)]


def test_what_does_not_compile_is_left_to_the_launch() -> None:
    kernel = NotingKernel()
    warm_up.compile_ahead(lambda m: [Launch(kernel, (1,), (), {"num_warps": 8 if m < 64 else 4})], (16, 64))
    assert kernel.compiled == [(4,)]


def test_launches_that_cannot_be_made_do_not_keep_others_from_being_compiled() -> None:
    """As those of an entry that needs more memory than there is."""
    kernel = NotingKernel()

    def launches_at(m: int) -> list[Launch]:
        if m < 64:
            raise ValueError(m)
        return [Launch(kernel, (1,), (), {"num_warps": 4})]

    warm_up.compile_ahead(launches_at, (16, 64))
    assert kernel.compiled == [(4,)]
