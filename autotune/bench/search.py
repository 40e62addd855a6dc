"""Compares searches on recorded spaces, over many seeds: no GPU, every core."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import optuna

from autotune.bench import kernel_tuner, own_searches
from autotune.bench.outcome import SearchOutcome
from autotune.bench.own_searches import Knowledge
from autotune.bench.rival_searches import RIVALS
from autotune.bench.score import EXACT, Score
from autotune.environment import usable_cores
from autotune.errors import InputError, one_of
from autotune.measure import recording as recordings
from autotune.measure.fork_server import deaf_to_ctrl_c
from autotune.search import SAMPLERS
from autotune.servers.variables import variables_set

CHOICES = (*SAMPLERS, *RIVALS)
DEFAULT = ("auto", EXACT, *RIVALS)

_ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""What tells a process that is started how many threads to compute with."""


@dataclass(frozen=True)
class Comparison:
    """What to replay.

    Attributes:
        paths: The recorded spaces.
        samplers: Names out of `CHOICES`.
        budgets: Evaluations after which searches are compared; each runs to the largest.
        knowledge: What our own searches are told before they begin.
    """

    paths: tuple[Path, ...]
    samplers: tuple[str, ...]
    seeds: int
    budgets: tuple[int, ...]
    knowledge: Knowledge = field(default_factory=Knowledge)

    def __post_init__(self) -> None:
        if unknown := [name for name in self.samplers if name not in CHOICES]:
            raise InputError(f"--samplers: got {one_of(unknown)}; allowed: {one_of(CHOICES)}")


@dataclass(frozen=True)
class SearchJob:
    """One search on one space with one seed, in a form that travels to a worker process."""

    sampler: str
    path: Path
    knowledge: Knowledge
    budget: int
    seed: int


def run(
    comparison: Comparison, on_score: Callable[[Score], None] = lambda score: None, workers: int | None = None
) -> list[Score]:
    """Replays everything; returns a score for each space and sampler.

    Args:
        workers: Number of processes; by default one a core that it may use. With one, all runs in this process.

    Raises:
        InputError: If a recorded space cannot be read.
    """
    loaded = {path: recordings.load(path) for path in comparison.paths}
    pairs = [(path, name) for path in comparison.paths for name in comparison.samplers]
    scores = []
    with _mapping(workers or usable_cores()) as in_order:
        running = [(path, name, in_order(replay, _jobs(comparison, path, name))) for path, name in pairs]
        for path, name, outcomes in running:
            scores.append(Score(loaded[path], name, tuple(outcomes)))
            on_score(scores[-1])
    return scores


def replay(job: SearchJob) -> SearchOutcome:
    """Runs one search."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    recording = recordings.load(job.path)
    if job.sampler in RIVALS:
        return RIVALS[job.sampler](recording, job.budget, job.seed)
    return own_searches.run(job.sampler, recording, job.knowledge, job.budget, job.seed)


def available(samplers: Sequence[str]) -> Iterator[str]:
    """Returns those of the samplers that can run here: Kernel Tuner is an extra."""
    missing = () if kernel_tuner.installed() else kernel_tuner.STRATEGIES
    return (name for name in samplers if name not in missing)


def _jobs(comparison: Comparison, path: Path, sampler: str) -> list[SearchJob]:
    seeds = range(0 if sampler == EXACT else comparison.seeds)
    return [SearchJob(sampler, path, comparison.knowledge, max(comparison.budgets), seed) for seed in seeds]


_Map = Callable[[Callable[[SearchJob], SearchOutcome], Sequence[SearchJob]], Iterable[SearchOutcome]]
"""The builtin `map`, or that of a pool: results come in the order of the jobs."""


@contextmanager
def _mapping(workers: int) -> Iterator[_Map]:
    if workers == 1:
        yield map
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))

    def in_order(function: Callable[[SearchJob], SearchOutcome], jobs: Sequence[SearchJob]) -> Iterable[SearchOutcome]:
        with deaf_to_ctrl_c():
            return pool.map(function, jobs)

    # The matrices are small, and every core has a process of its own.
    with variables_set(_ONE_THREAD):
        try:
            yield in_order
        finally:
            pool.shutdown(cancel_futures=True)
