"""Races at sizes that were not searched: what the sizes beside them run, and the defaults, side by side.

A size of a group is raced by whole sets: what a group beside it chose for all of its ops has one common value.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from autotune.errors import AutotuneError, HeldError, InputError, StorageError
from autotune.run import identity
from autotune.run.clock import Deadline
from autotune.run.neighbours import NothingBesideError
from autotune.run.progress import OnProgress
from autotune.run.queue import Result, Turn, Watcher
from autotune.run.runner import Runner
from autotune.run.stopping import told_where
from autotune.study.result import StudyResult
from autotune.study.study import KernelStudy

RACES_S = 120.0
"""Longest that all races of a plan take."""


def race(runner: Runner, study: KernelStudy, on_progress: OnProgress = lambda progress: None) -> StudyResult:
    """Finishes a study by a race of the winners of the sizes beside its own and of the defaults; returns its result.

    Raises:
        InputError: If the study cannot go on here.
        HeldError: If another process is running it, or measures on its GPU.
        NothingBesideError: If no size beside it has a winner.
        AutotuneError: If no config ran correctly.
    """
    identity.check(study, runner.options)
    with runner.holding([study]):
        if (result := study.result) is not None:
            return result
        with runner.sessions.opened(study) as session:
            winners = runner.sessions.beside(session)
            if not winners:
                raise NothingBesideError(f"study {study.name}")
            defaults = [session.space.incumbent, *session.own_defaults]
            candidates = [*defaults, *filter(session.space.has, winners.values())]
            measured = runner.measure_all(session, candidates, on_progress)
            result = replace(runner.decide(session, measured), raced_from=tuple(winners))
            runner.finish(study, result)
            return result


class RaceQueue:
    """Races turns size by size, while there is time: a size is raced for all of its shapes, or for none.

    Attributes:
        failures: Messages of the races that failed.
    """

    def __init__(self, runner: Runner, watcher: Watcher, now_s: Callable[[], float] = time.monotonic) -> None:
        self.failures: list[str] = []
        self._runner = runner
        self._watcher = watcher
        self._now_s = now_s

    def run(self, turns: Sequence[Turn], time_s: float = RACES_S) -> None:
        """Takes the turns in their order, which is by size.

        Raises:
            InputError: If a study cannot go on here.
            StorageError: If the storage failed or is gone.
            AutotuneError: If it was stopped.
        """
        start_s, deadline, taken = self._now_s(), Deadline(time_s, self._now_s), 0
        for _, of_size in itertools.groupby(turns, key=lambda turn: turn.studies[0].spec.problem["m"]):
            together, left_s = list(of_size), deadline.left_s or 0.0
            each_s = (self._now_s() - start_s) / taken if taken else 0.0
            if left_s == 0 or left_s < each_s * len(together):
                return
            for turn in together:
                with told_where(turn.name):
                    self._take(turn)
            taken += len(together)

    def _take(self, turn: Turn) -> None:
        try:
            self._watcher.on_start(turn)
            self._watcher.on_result(turn, self._raced(turn))
        except (InputError, StorageError):
            raise
        except NothingBesideError:
            # The searches beside it found no time: neither does it.
            return
        except HeldError as error:
            self._watcher.on_held(turn, str(error))
        except AutotuneError as error:
            self.failures.append(str(error))
            self._watcher.on_failure(turn)

    def _raced(self, turn: Turn) -> Result:
        if turn.group is None:
            return race(self._runner, turn.studies[0], self._watcher.on_progress)
        from autotune.run.group_runner import GroupRunner  # loads the model

        return GroupRunner(self._runner).race(turn.studies, self._watcher.on_progress)
