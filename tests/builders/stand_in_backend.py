"""A backend without a GPU: everything compiles at once; how long it takes is for the test to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autotune.contract import Config
from autotune.measure.backend import Backend
from autotune.measure.result import Measurement
from autotune.run.backends import RacedConfig
from autotune.study.study import KernelStudy


class StandIn:
    """Measures 1 us, seven times; a subclass says otherwise."""

    name = "stand-in"

    def compile_ahead(self, configs: Sequence[Config]) -> None: ...

    def wait_compiled(self, configs: Sequence[Config]) -> list[Config]:
        return list(configs)

    def compile_failure(self, config: Config) -> Measurement | None:
        return None

    def measure(self, config: Config, limit_us: float | None) -> Measurement:
        return Measurement("ok", (1.0,) * 7)

    def race(self, configs: Sequence[Config], rounds: int) -> list[Measurement]:
        return [Measurement("ok", (1.0,) * rounds) for _ in configs]

    def close(self) -> None: ...


class StandInBackends:
    """Opens the backend that a test says, and remembers whether it was closed."""

    def __init__(self, make: Callable[[KernelStudy], Backend] = lambda study: StandIn()) -> None:
        self.make = make
        self.closed = False

    def reserve(self, study: KernelStudy) -> str | None:
        return None

    def open(self, study: KernelStudy) -> Backend:
        return self.make(study)

    def race(self, entrants: Sequence[RacedConfig], rounds: int) -> list[Measurement]:
        """Times each config on its own study's backend."""
        return [found for each in entrants for found in self.make(each.study).race([each.config], rounds)]

    def bandwidth_bytes_per_s(self, study: KernelStudy) -> float | None:
        return None

    def close(self) -> None:
        self.closed = True
