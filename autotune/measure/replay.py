"""Looks configs up in a recorded space instead of measuring, so that a search can run without a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autotune.contract import Config
from autotune.measure.recording import Recording
from autotune.measure.result import COMPILE_FAILURES, Measurement


class ReplayBackend:
    """Answers from a recording. A recorded failure is a failure, a recorded time is that time."""

    name = "replay"

    def __init__(self, recording: Recording) -> None:
        self.recording = recording

    def compile_ahead(self, configs: Sequence[Config]) -> None:
        pass

    def wait_compiled(self, configs: Sequence[Config]) -> list[Config]:
        return list(configs)

    def compile_failure(self, config: Config) -> Measurement | None:
        found = self.recording.measurement(config)
        return found if found.status in COMPILE_FAILURES else None

    def measure(self, config: Config, limit_us: float | None) -> Measurement:
        found = self.recording.measurement(config)
        if found.status == "ok" and limit_us is not None and min(found.samples_us[:3]) > limit_us:
            return replace(found, status="pruned", samples_us=found.samples_us[:3])
        return found

    def race(self, configs: Sequence[Config], rounds: int) -> list[Measurement]:
        """Returns the recorded replays, once each, however many rounds are asked for: there are no others."""
        return [self.recording.measurement(config) for config in configs]

    def close(self) -> None:
        pass
