"""What tests of the processes that measure share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from autotune.measure.processes import WorkerPool
from tests.builders.faulty import nothing


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    """A pool of one worker."""
    made = WorkerPool(1, nothing)
    yield made
    made.close()
