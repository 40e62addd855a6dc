"""Opens what measures a study: its recording, or this machine's GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from autotune.contract import Config, Problem
from autotune.measure import recording
from autotune.measure.backend import Backend
from autotune.measure.replay import ReplayBackend
from autotune.measure.result import Measurement
from autotune.measure.task import Task
from autotune.study.study import KernelStudy

if TYPE_CHECKING:
    from autotune.measure.machine import Machine


@dataclass(frozen=True)
class RacedConfig:
    """A config of a study's kernel, in a race.

    Attributes:
        problem: What it is timed on: the study's own, or another that its kernel runs.
    """

    study: KernelStudy
    config: Config
    problem: Problem


class Backends(Protocol):
    """A place where studies are measured."""

    def reserve(self, study: KernelStudy) -> str | None:
        """Takes what measures a study for this process alone, and returns the GPU's UUID; None if it takes no GPU.

        Raises:
            HeldError: If another process measures on the GPU.
        """
        ...

    def open(self, study: KernelStudy) -> Backend:
        """Opens a study's backend; whoever opens it closes it."""
        ...

    def race(self, entrants: Sequence[RacedConfig], rounds: int) -> list[Measurement]:
        """Times configs of several studies interleaved, in one process, so that sample i of each was taken side by
        side.

        Raises:
            AutotuneError: If they cannot be raced.
        """
        ...

    def bandwidth_bytes_per_s(self, study: KernelStudy) -> float | None:
        """Tells the bytes a second through device memory where the study is measured; None if that is not known."""
        ...

    def close(self) -> None:
        """Stops what was started for the studies."""
        ...


class LocalBackends:
    """Gives each study the backend of its spec; the GPU's processes are started once, when first needed.

    Args:
        recorded_dir: Where the recordings of replays are.
    """

    def __init__(self, recorded_dir: Path) -> None:
        self._recorded_dir = recorded_dir
        self._machine: Machine | None = None

    def reserve(self, study: KernelStudy) -> str | None:
        return None if study.spec.backend == "replay" else self._started.gpu

    def open(self, study: KernelStudy) -> Backend:
        if study.spec.backend == "replay":
            return ReplayBackend(study.open_recording(self._recorded_dir))
        return self._started.backend(_task(study, study.problem))

    def race(self, entrants: Sequence[RacedConfig], rounds: int) -> list[Measurement]:
        return self._started.race([(_task(each.study, each.problem), each.config) for each in entrants], rounds)

    def bandwidth_bytes_per_s(self, study: KernelStudy) -> float | None:
        """Tells the recording's, or measures this machine's once it is in use."""
        if study.spec.backend == "replay":
            return recording.machine(self._recorded_dir).copy_bandwidth_bytes_per_s
        return None if self._machine is None else self._machine.copy_bandwidth_bytes_per_s

    @property
    def _started(self) -> Machine:
        if self._machine is None:
            from autotune.measure.machine import Machine  # needs torch, which replays do not

            self._machine = Machine()
        return self._machine

    def close(self) -> None:
        if self._machine is not None:
            self._machine.close()


def _task(study: KernelStudy, problem: Problem) -> Task:
    return Task(study.spec.kernel, problem, study.gpu, study.settings)
