"""Holds what is the same for all studies of a run, and what bounds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autotune.measure import recording


@dataclass(frozen=True)
class Budget:
    """Upper bounds of one study's search.

    Attributes:
        trials: Measured configs over the study's whole life; what only failed to compile is not counted.
        timeout_s: Wall seconds of this run; None for no limit.
        more: Instead of `trials`: configs to measure beyond those that a study has when its turn begins.
    """

    trials: int
    timeout_s: float | None = None
    more: int | None = None


@dataclass(frozen=True)
class RunOptions:
    """How studies are run; how long is a `Budget`'s to say.

    Attributes:
        storage_url: Names the storage in the lock.
        backend: The backend to insist on; ``auto`` for each study's own.
        sampler: Name of the search, see `autotune.search.SAMPLERS`.
        stop: Name of the stop rule, see `autotune.search.STOPS`.
        seed: Decides every random choice of a search.
        allow_env_change: Go on although GPU, driver, versions or the kernel's source have changed.
        recorded_dir: Where the recordings of replays are.
    """

    storage_url: str
    backend: str = "auto"
    sampler: str = "auto"
    stop: str = "auto"
    seed: int = 0
    allow_env_change: bool = False
    recorded_dir: Path = recording.RECORDED_DIR
