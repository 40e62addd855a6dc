"""Reads the flags that say how studies are made and run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from autotune.contract.source import AUTO
from autotune.measure.recording import RECORDED_DIR
from autotune.measure.settings import MeasureSettings
from autotune.paths import DEFAULT_STORAGE_URL
from autotune.run.options import Budget, RunOptions
from autotune.study.describe import Request

DEFAULT_TRIALS = 100


@dataclass(frozen=True)
class MakingFlags:
    """The flags that say how studies are made."""

    space: str | None = None
    tag: str = ""
    backend: str = "auto"
    recorded: Path = RECORDED_DIR
    sources: str = AUTO
    allow_unknown_server: bool = False
    storage: str = DEFAULT_STORAGE_URL

    def request(self, arg_pool_size: int | None = None) -> Request:
        """Returns how studies are made; each has a kernel of its own.

        Args:
            arg_pool_size: Most argument sets to walk over; None for the usual number.
        """
        settings = MeasureSettings()
        if arg_pool_size is not None:
            settings = replace(settings, max_sets=arg_pool_size)
        return Request(
            backend=self.backend,
            space=self.space,
            tag=self.tag,
            recorded_dir=self.recorded,
            settings=settings,
            source=self.sources,
            allow_unknown_server=self.allow_unknown_server,
        )


@dataclass(frozen=True)
class RunFlags:
    """The flags of a run."""

    storage: str = DEFAULT_STORAGE_URL
    trials: int = DEFAULT_TRIALS
    timeout: float | None = None
    sampler: str = "auto"
    stop: str = "auto"
    seed: int = 0
    backend: str = "auto"
    recorded: Path = RECORDED_DIR
    allow_env_change: bool = False

    @property
    def budget(self) -> Budget:
        """Trials of each study, and seconds of the whole run."""
        return Budget(self.trials, self.timeout)

    @property
    def options(self) -> RunOptions:
        return RunOptions(
            storage_url=self.storage,
            backend=self.backend,
            sampler=self.sampler,
            stop=self.stop,
            seed=self.seed,
            allow_env_change=self.allow_env_change,
            recorded_dir=self.recorded,
        )


@dataclass(frozen=True)
class FurtherRunFlags(RunFlags):
    """The flags of a run that may take finished studies further."""

    more: int | None = None

    @property
    def budget(self) -> Budget:
        return replace(super().budget, more=self.more)

    @property
    def options(self) -> RunOptions:
        """A stop rule has ended the studies that are taken further, and would do so at once."""
        return super().options if self.more is None else replace(super().options, stop="none")
