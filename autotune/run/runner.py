"""Runs a study from where it stands to its result: identity, lock, search, finalists, what is kept."""

from __future__ import annotations

import datetime
import functools
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
from optuna.storages import BaseStorage

from autotune import paths
from autotune.contract import Config, workloads
from autotune.contract.fingerprint import kernel_fingerprint
from autotune.contract.space import Space
from autotune.environment import current_environment
from autotune.errors import AutotuneError, InputError
from autotune.measure import recording
from autotune.measure.backend import Backend
from autotune.measure.replay import ReplayBackend
from autotune.measure.result import Measurement
from autotune.measure.task import Task
from autotune.run.clock import Clock
from autotune.run.finalists import decide
from autotune.run.loop import Budget, OnEnding, SearchLoop
from autotune.run.neighbours import Neighbourhood
from autotune.search import make_search
from autotune.search.api import Search
from autotune.search.estimate import estimated
from autotune.study import trials
from autotune.study.result import WALL, Decision, StudyResult
from autotune.study.storage import identity, shared
from autotune.study.study import KernelStudy
from autotune.study.writer import StoringProcess

if TYPE_CHECKING:
    from autotune.measure.machine import Machine


@dataclass(frozen=True)
class RunOptions:
    """What `study run` was asked for.

    Attributes:
        storage_url: Names the storage in the lock.
        backend: The backend to insist on; ``auto`` for each study's own.
        sampler: Name of the search, see `autotune.search.SAMPLERS`.
        allow_env_change: Go on although GPU, driver, versions or the kernel's source have changed.
    """

    storage_url: str
    budget: Budget
    backend: str = "auto"
    sampler: str = "auto"
    stop: str = "auto"
    seed: int = 0
    allow_env_change: bool = False
    recorded_dir: Path = recording.RECORDED_DIR


@dataclass(frozen=True)
class Progress:
    """Where a running study stands, for a live display."""

    study: str
    space_size: int
    counts: Counter[str]
    best_us: float | None
    incumbent_us: float | None
    gain_left: float | None
    phase: str


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Session:
    """A study that this process owns for a while, with what it takes to measure it."""

    study: KernelStudy
    space: Space
    backend: Backend


class Runner:
    """Runs studies one after the other on one machine; the GPU's processes are started once, when first needed.

    Args:
        on_finished: Is told of each study whose result has been stored.
    """

    def __init__(
        self,
        storage: BaseStorage,
        options: RunOptions,
        on_finished: Callable[[KernelStudy], None] = lambda study: None,
    ) -> None:
        self.storage = storage
        self.options = options
        self._on_finished = on_finished
        self._neighbourhood = Neighbourhood(storage)
        self._machine: Machine | None = None
        self._storing: StoringProcess | None = None
        self._prepared: Session | None = None

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._prepared is not None:
            self._prepared.backend.close()
        if self._storing is not None:
            self._storing.close()
        if self._machine is not None:
            self._machine.close()

    def run(
        self,
        study: KernelStudy,
        on_progress: OnProgress = lambda progress: None,
        following: KernelStudy | None = None,
    ) -> StudyResult:
        """Finish one study; returns its result. Safe to kill at any moment, and to call again.

        Args:
            following: Run next: its first configs are compiled while this study is decided.

        Raises:
            InputError: If the study cannot go on here, or another process is running it.
            AutotuneError: If none of its configs ran correctly.
        """
        self.check_identity(study)
        with self.locked(study):
            if (result := study.result) is not None:
                return result
            with self.session(study) as session:
                return self._search_and_decide(session, on_progress, following)

    @contextmanager
    def session(self, study: KernelStudy) -> Iterator[Session]:
        """Open what measures a study that is `locked`."""
        session = self._take_prepared(study) or self._open(study)
        try:
            yield session
        finally:
            session.backend.close()

    def _open(self, study: KernelStudy) -> Session:
        return Session(study, study.open_space(self.options.recorded_dir), self._backend(study))

    def _take_prepared(self, study: KernelStudy) -> Session | None:
        prepared, self._prepared = self._prepared, None
        if prepared is None or prepared.study.name == study.name:
            return prepared
        prepared.backend.close()
        return None

    def prepare(self, study: KernelStudy | None) -> None:
        """Have a study's first configs compiled before its turn. If that cannot be, its own turn will say why."""
        if study is None or study.result is not None or study.spec.backend == "replay":
            return
        if self._prepared is not None and self._prepared.study.name == study.name:
            return
        try:
            self.check_identity(study)
            session = self._open(study)
            self.compile_first(session)
        except AutotuneError:
            return
        self._prepared = session

    def compile_first(self, session: Session) -> None:
        """Begin to compile what the study's search will measure first."""
        search = self._search_of(session)
        live = trials.working_copy(session.study.study, search.sampler)
        session.backend.compile_ahead(search.sampler.shortlist(live, search.compile_ahead))

    def search_whole(
        self,
        session: Session,
        on_progress: OnProgress,
        then: str = "finalists",
        following: KernelStudy | None = None,
    ) -> Clock:
        """Search the study's whole space, within the run's budget.

        Args:
            then: The phase shown afterwards.
            following: Its first configs are compiled beside the last of this study.
        """
        on_ending = functools.partial(self.prepare, following)
        return self.search(session, self._search_of(session), self.options.budget, on_progress, then, on_ending)

    def _search_of(self, session: Session) -> Search:
        study, space, options = session.study, session.space, self.options
        known = self._neighbourhood.of(study)
        log_estimate = estimated(space.configs, study.kernel, study.problem, study.gpu)
        return make_search(options.sampler, space, options.seed, known, log_estimate, stop=options.stop)

    def search(
        self,
        session: Session,
        search: Search,
        budget: Budget,
        on_progress: OnProgress,
        then: str = "search",
        on_ending: OnEnding = lambda: None,
    ) -> Clock:
        """Search as told."""
        study = session.study.study
        writer = None if self._storing is None else self._storing.writer(study)
        loop = SearchLoop(study, session.space, search, session.backend, writer)
        display = _Display(session.study.name, loop, on_progress)
        clock = loop.run(budget, display.on_trial, on_ending)
        display.show(then)
        return clock

    def _search_and_decide(
        self, session: Session, on_progress: OnProgress, following: KernelStudy | None
    ) -> StudyResult:
        study = session.study
        clock = self.search_whole(session, on_progress, following=following)
        self.prepare(following)
        race_start_s = time.monotonic()
        decision = decide(study.study, session.space, session.backend, study.settings.race_rounds)
        race_s = time.monotonic() - race_start_s
        if decision is None:
            raise AutotuneError(
                f"study {study.name}: no config ran correctly, not even the default; see: study show {study.name}"
            )
        result = self.result(session, decision, clock.seconds | {"finalists": race_s, WALL: clock.wall_s})
        self.finish(study, result)
        return result

    def finish(self, study: KernelStudy, result: StudyResult) -> None:
        """Store a study's result."""
        study.finish(result)
        self._on_finished(study)

    def result(self, session: Session, decision: Decision, seconds: dict[str, float]) -> StudyResult:
        """Puts beside a decision what a report needs."""
        study, space = session.study, session.space
        measured = trials.measured(study.study.get_trials(deepcopy=False), space)
        floor = workloads.floor(study.kernel, study.problem)
        bandwidth = self.bandwidth(study)
        return StudyResult(
            decision=decision,
            configs=len(space),
            counts=dict(Counter(m.status for m in measured)),
            seconds={name: round(value, 3) for name, value in seconds.items()},
            floor=floor,
            floor_us=floor.us(bandwidth) if bandwidth else None,
            bandwidth_bytes_per_s=bandwidth,
            finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )

    def check_identity(self, study: KernelStudy) -> None:
        """Refuse to mix measurements that cannot be compared."""
        wanted, spec = self.options.backend, study.spec
        if wanted not in ("auto", spec.backend):
            raise InputError(f"--backend {wanted}: study {study.name} is a {spec.backend} study; leave --backend out")
        if spec.backend == "replay" or self.options.allow_env_change:
            return
        here = current_environment().known | {"kernel source": kernel_fingerprint(study.kernel)}
        there = spec.environment.known | {"kernel source": spec.kernel_fingerprint}
        if changed := [f"{name} {there.get(name)} -> {here[name]}" for name in here if here[name] != there.get(name)]:
            raise InputError(
                f"study {study.name} was created elsewhere: {', '.join(changed)}; create a new study here "
                "(study create ... --tag NAME), or mix the measurements with --allow-env-change"
            )

    @contextmanager
    def locked(self, study: KernelStudy) -> Iterator[None]:
        """Keep other processes from running the study."""
        key = hashlib.sha256(f"{identity(self.options.storage_url)} {study.name}".encode()).hexdigest()[:24]
        lock = filelock.FileLock(paths.locks_dir() / f"{key}.lock")
        try:
            with lock.acquire(timeout=0):
                yield
        except filelock.Timeout as error:
            raise InputError(f"study {study.name} is being run by another process; wait for it, or stop it") from error

    def _backend(self, study: KernelStudy) -> Backend:
        if study.spec.backend == "replay":
            return ReplayBackend(study.open_recording(self.options.recorded_dir))
        from autotune.measure.machine import Machine  # needs torch, which replays do not

        if self._machine is None:
            self._machine = Machine()
            if shared(self.options.storage_url):
                self._storing = StoringProcess(self.options.storage_url)
        return self._machine.backend(Task(study.spec.kernel, study.problem, study.gpu, study.settings))

    def bandwidth(self, study: KernelStudy) -> float | None:
        """Bytes a second through device memory, where the study is measured; None before the GPU is in use."""
        if study.spec.backend == "replay":
            return recording.machine(self.options.recorded_dir).copy_bandwidth_bytes_per_s
        return None if self._machine is None else self._machine.copy_bandwidth_bytes_per_s


class _Display:
    """Turns finished trials into progress reports."""

    def __init__(self, name: str, loop: SearchLoop, on_progress: OnProgress) -> None:
        self._name = name
        self._loop = loop
        self._on_progress = on_progress
        self._counts: Counter[str] = Counter()
        self._best_us: float | None = None
        self._incumbent_us: float | None = None
        for measured in trials.measured(loop.study.get_trials(deepcopy=False), loop.space):
            self._add(measured.index == 0, measured.status, measured.time_us)

    def on_trial(self, config: Config, measurement: Measurement) -> None:
        time_us = measurement.median_us if measurement.samples_us else None
        self._add(config == self._loop.space.incumbent, measurement.status, time_us)
        self.show("search")

    def show(self, phase: str) -> None:
        gain_left = self._loop.search.stop.gain_left(self._loop.study)
        self._on_progress(
            Progress(
                self._name,
                len(self._loop.space),
                self._counts,
                self._best_us,
                self._incumbent_us,
                gain_left,
                phase,
            )
        )

    def _add(self, is_incumbent: bool, status: str, time_us: float | None) -> None:
        self._counts[status] += 1
        if time_us is None:
            return
        if is_incumbent:
            self._incumbent_us = time_us
        if status == "ok":
            self._best_us = min(time_us, self._best_us or time_us)
