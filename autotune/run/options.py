"""Holds what is the same for all studies of a run, and what bounds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from autotune.measure import recording

BEGUN: Final = 8
"""Measured configs from which on a study's search has begun: fewer tell a model nothing."""

LEAST_SEARCH_S: Final = 1.2
"""What a study takes at least: its inputs, the first `BEGUN` configs, the race of finalists. On an H200 with 16 cores
they take about 0.6 s, 0.3 s and 0.3 s."""


@dataclass(frozen=True)
class Budget:
    """Upper bounds of one study's search.

    Attributes:
        trials: Measured configs over the study's whole life; what only failed to compile is not counted.
        timeout_s: Wall seconds of this run; None for no limit.
        more: Instead of `trials`: configs to measure beyond those that a study has when its turn begins.
        share_s: Where others wait for the time, the seconds that the search goes on once it has begun (`BEGUN`). What
            comes before is charged to no study's share: a machine's start, say, which the first one waits for.
    """

    trials: int
    timeout_s: float | None = None
    more: int | None = None
    share_s: float | None = None


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
