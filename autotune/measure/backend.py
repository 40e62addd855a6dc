"""Defines what the tuning loop needs of a place that measures. Two exist: `cuda.CudaBackend` and
`replay.ReplayBackend`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from autotune.contract import Config
from autotune.measure.result import Measurement

BACKENDS = ("auto", "cuda", "replay")
"""What a user may ask for; ``auto`` takes the GPU if there is one, else a recording."""


class Backend(Protocol):
    """Measures the configs of one problem. Not thread-safe; one study uses it at a time."""

    name: str

    def compile_ahead(self, configs: Sequence[Config]) -> None:
        """Compiles these in the background, the first of them first, instead of what still waits; returns
        immediately.

        Asking twice for a config is free.
        """

    def wait_compiled(self, configs: Sequence[Config]) -> list[Config]:
        """Returns those of the configs whose compiler has finished or failed; waits until there is one."""
        ...

    def compile_failure(self, config: Config) -> Measurement | None:
        """Tells how a config of `wait_compiled` failed to compile, or None if it can be launched."""
        ...

    def measure(self, config: Config, limit_us: float | None) -> Measurement:
        """Checks accuracy, then times; gives up early (`pruned`) when even the fastest of the first replays is above
        ``limit_us``."""
        ...

    def race(self, configs: Sequence[Config], rounds: int) -> list[Measurement]:
        """Times several configs interleaved, in alternating order, so that sample i of each was taken side by side."""
        ...

    def close(self) -> None:
        """Stops workers and frees the GPU."""
