"""Runs a study from where it stands to its result: the search, the race of the finalists, the result that is stored."""

from __future__ import annotations

import datetime
import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

import optuna
from optuna.storages import BaseStorage

from autotune.contract import Config, workloads
from autotune.errors import AutotuneError, StorageError
from autotune.run import identity
from autotune.run.backends import Backends, LocalBackends
from autotune.run.finalists import decide
from autotune.run.loop import Meanwhile, SearchLoop
from autotune.run.options import Budget, RunOptions
from autotune.run.progress import OnProgress, ProgressReporter, Stage
from autotune.run.sessions import Session, Sessions
from autotune.search.api import Search
from autotune.search.pruning import GapPruner
from autotune.search.ranking import ListSampler
from autotune.search.stopping import NeverStop
from autotune.study import trials
from autotune.study.leases import Leases
from autotune.study.result import WALL, Decision, StudyResult
from autotune.study.storage import shared
from autotune.study.storage_failure import Presence
from autotune.study.study import KernelStudy
from autotune.study.writer import StoringProcess, ThreadWriter, Writer


class Runner:
    """Runs studies one after the other; leaving it (``with``) stops every process that was started for them.

    Args:
        backends: Where studies are measured; by default where their specs say.
        on_finished: Is told of each study whose result has been stored, while the next one is measured; of the last in
            the end.
    """

    def __init__(
        self,
        storage: BaseStorage,
        options: RunOptions,
        backends: Backends | None = None,
        on_finished: Callable[[KernelStudy], None] = lambda study: None,
    ) -> None:
        self.options = options
        self.backends = backends or LocalBackends(options.recorded_dir)
        self.sessions = Sessions(storage, options, self.backends)
        self._leases = Leases(storage)
        self._presence = Presence(storage)
        self._held = ExitStack()
        self._gpu: str | None = None
        self._on_finished = on_finished
        self._untold: list[KernelStudy] = []
        self._storing: StoringProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # A storage that has failed takes nothing more.
            if not isinstance(error, StorageError):
                self._tell_finished()
        finally:
            self.sessions.close()
            if self._storing is not None:
                self._storing.close()
            self.backends.close()
            self._held.close()

    def run(
        self,
        study: KernelStudy,
        budget: Budget,
        on_progress: OnProgress = lambda progress: None,
        following: KernelStudy | None = None,
    ) -> StudyResult:
        """Finishes one study; returns its result. Safe to kill at any moment, and to call again.

        Args:
            following: Run next: its first configs are compiled while this study is decided.

        Raises:
            InputError: If the study cannot go on here.
            HeldError: If another process is running it, or measures on its GPU.
            AutotuneError: If none of its configs ran correctly.
        """
        identity.check(study, self.options)
        with self.holding([study]):
            if (result := study.result) is not None:
                return result
            with self.sessions.opened(study) as session:
                searched = self.search_whole(session, budget, on_progress, "finalists", following)
                self.sessions.prepare(following)
                result = self.decide(session, searched)
                self.finish(study, result)
                return result

    @contextmanager
    def holding(self, studies: Sequence[KernelStudy]) -> Iterator[None]:
        """Keeps every other process from running studies during a block, and from their GPU for as long as this runner
        lives.

        Raises:
            HeldError: If another process is running one, or measures on their GPU.
        """
        self._reserve(studies[0])
        with ExitStack() as stack:
            for study in studies:
                stack.enter_context(self._leases.holding(_lease_of(study), f"study {study.name} is being run"))
            yield

    def _reserve(self, study: KernelStudy) -> None:
        """Takes the GPU on this host, and in the storage: the containers of a host may know each other by it alone."""
        gpu = self.backends.reserve(study)
        if gpu is not None and gpu != self._gpu:
            self._held.enter_context(self._leases.holding(f"gpu {gpu}", f"GPU {gpu} is being measured on"))
            self._gpu = gpu

    def search_whole(
        self,
        session: Session,
        budget: Budget,
        on_progress: OnProgress,
        then: Stage,
        following: KernelStudy | None = None,
    ) -> SearchLoop:
        """Searches the study's whole space.

        Args:
            then: The stage shown afterwards.
            following: Its first configs are compiled along with the last of this study.
        """
        on_ending = functools.partial(self.sessions.prepare, following)
        return self.search(session, self.sessions.search_of(session), budget, on_progress, then, on_ending)

    def search(
        self,
        session: Session,
        search: Search,
        budget: Budget,
        on_progress: OnProgress,
        then: Stage = "search",
        on_ending: Meanwhile = lambda: None,
    ) -> SearchLoop:
        """Runs a search; returns its loop, which has all trials of the study and knows where the time went."""
        loop = SearchLoop(session.study.study, session.space, search, session.backend, self._writer(session.study))
        reporter = ProgressReporter(session.study.name, loop, on_progress)
        loop.run(budget, reporter.on_trial, on_ending, on_begun=self._tell_finished)
        reporter.report(then)
        return loop

    def measure_all(self, session: Session, configs: Sequence[Config], on_progress: OnProgress) -> SearchLoop:
        """Measures these configs and no others."""
        search = Search(ListSampler(session.space, configs), GapPruner(), NeverStop())
        return self.search(session, search, Budget(len(configs)), on_progress, "finalists")

    def finish(self, study: KernelStudy, result: StudyResult) -> None:
        """Stores a study's result.

        Raises:
            StorageError: If the storage is gone, or another process has taken the study over meanwhile.
        """
        self._presence.check()
        self._leases.check()
        study.finish(result)
        self._presence.check()
        self._untold.append(study)

    def _tell_finished(self) -> None:
        """Tells of the studies that have been finished, when there is time."""
        while self._untold:
            self._on_finished(self._untold.pop(0))

    def result(
        self, session: Session, decision: Decision, searched: optuna.Study, seconds: Mapping[str, float]
    ) -> StudyResult:
        """Makes a study's result of a decision: with what else a report needs.

        Args:
            searched: The study's trials as its last search left them, in memory.
        """
        study, space = session.study, session.space
        measured = trials.measured(searched.get_trials(deepcopy=False), space)
        floor = workloads.floor(study.kernel, study.problem)
        bandwidth_bytes_per_s = self.backends.bandwidth_bytes_per_s(study)
        return StudyResult(
            decision=decision,
            configs=len(space),
            counts=dict(Counter(m.status for m in measured)),
            seconds={name: round(value, 3) for name, value in seconds.items()},
            floor=floor,
            floor_us=floor.us(bandwidth_bytes_per_s) if bandwidth_bytes_per_s else None,
            bandwidth_bytes_per_s=bandwidth_bytes_per_s,
            finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            defaults=1 + len(session.own_defaults),
        )

    def decide(self, session: Session, searched: SearchLoop) -> StudyResult:
        """Races the finalists of a study that has been searched."""
        study, start_s = session.study, time.monotonic()
        rounds = study.settings.race_rounds
        decision = decide(searched.study, session.space, session.backend, rounds, session.own_defaults)
        if decision is None:
            raise AutotuneError(
                f"study {study.name}: no config ran correctly, not even the default; see: study show {study.name}"
            )
        race_s = time.monotonic() - start_s
        clock = searched.clock
        return self.result(session, decision, searched.study, clock.seconds | {"finalists": race_s, WALL: clock.wall_s})

    def _writer(self, study: KernelStudy) -> Writer:
        """Makes what stores a study's trials for as long as this process holds it: a process of its own, unless it is a
        replay, or no other process can open the storage."""
        if study.spec.backend == "replay" or not shared(self.options.storage_url):
            return ThreadWriter(study.study, self._leases.check)
        if self._storing is None:
            self._storing = StoringProcess(self.options.storage_url)
        return self._storing.writer(study.study, self._leases.lease(_lease_of(study)))


def _lease_of(study: KernelStudy) -> str:
    return f"study {study.name}"
