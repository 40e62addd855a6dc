"""Times a server's kernel and ours against each other: an entry of ours is for where it is no slower.

Their studies were measured at different times, in different states of the GPU. So what they decided for is timed again
in one process, in turn, back and forth, each on argument sets of its own. Where one way does the work in several
launches, sample i of it is the sum of their samples i. What the two kernels were tuned on may differ, too; ways to do
one call's work are all timed on what ours was tuned on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from autotune.contract import Config, Problem, Workload, config_key
from autotune.errors import AutotuneError, HeldError, InputError, StorageError
from autotune.measure.result import Measurement
from autotune.run import identity
from autotune.run.backends import RacedConfig
from autotune.run.clock import Deadline
from autotune.run.finalists import paired_gain, slows_a_workload
from autotune.run.meetings import Meeting, contenders, meetings, outdated
from autotune.run.queue import Turn, Watcher
from autotune.run.runner import Runner
from autotune.run.stopping import told_where
from autotune.study.head_to_head import OURS, SERVED, HeadToHead, Side
from autotune.study.result import Decision
from autotune.study.study import KernelStudy

HEAD_TO_HEADS_S: Final = 180.0
"""Longest that all of them take in a run."""


class HeadToHeads:
    """Lets all that has not met yet meet, until time is up; the times of separate studies decide what is left.

    Attributes:
        failures: Messages of the races that failed, where the times of separate studies decide, too.
        settled: How many were decided so.
    """

    def __init__(self, runner: Runner, watcher: Watcher, now_s: Callable[[], float] = time.monotonic) -> None:
        self.failures: list[str] = []
        self.settled = 0
        self._runner = runner
        self._watcher = watcher
        self._now_s = now_s

    def run(self, chosen: Sequence[KernelStudy], time_s: float = HEAD_TO_HEADS_S) -> None:
        """Takes single calls first: what does several of them at once meets the faster ones.

        Raises:
            StorageError: If the storage failed or is gone.
            AutotuneError: If it was stopped.
        """
        for study in outdated(chosen):
            study.keep_head_to_head(None)
        deadline = Deadline(time_s, self._now_s)
        for apart in (False, True):
            for meeting in meetings(chosen, apart=apart):
                if meeting.is_due:
                    with told_where(meeting.own.name):
                        self._take(meeting, is_late=deadline.left_s == 0)

    def _take(self, meeting: Meeting, is_late: bool) -> None:
        own = meeting.own
        try:
            self._watcher.on_start(Turn([own]))
            if is_late or own.spec.backend == "replay":
                self._settle(meeting)
            else:
                meet(self._runner, meeting)
        except StorageError:
            raise
        except HeldError as error:
            self._watcher.on_held(Turn([own]), str(error))
        except AutotuneError as error:
            if not isinstance(error, InputError):  # measured elsewhere, or no longer what was measured
                self.failures.append(str(error))
            self._settle(meeting)

    def _settle(self, meeting: Meeting) -> None:
        settle(meeting)
        self.settled += 1


def meet(runner: Runner, meeting: Meeting) -> HeadToHead:
    """Times all ways in turn, and keeps what came of it.

    Raises:
        InputError: If one of the studies cannot go on here.
        HeldError: If another process is running our study, or measures on its GPU.
        AutotuneError: If they cannot be raced.
    """
    racers = {_key(*each): each for way in meeting.ways.values() for each in way}
    for study in {study.name: study for study, _ in racers.values()}.values():
        identity.check(study, runner.options)
    with runner.holding([meeting.own]):
        entrants = [RacedConfig(study, config, meeting.problem_of(study)) for study, config in racers.values()]
        measured = runner.backends.race(entrants, meeting.own.settings.race_rounds)
        by_key = dict(zip(racers, measured, strict=True))
        found = decide(meeting, {name: [by_key[_key(*each)] for each in way] for name, way in meeting.ways.items()})
        meeting.own.keep_head_to_head(found)
    return found


def settle(meeting: Meeting) -> HeadToHead:
    """Compares the times of separate studies, and keeps what comes of it.

    Where the server's kernel was not timed on what ours was, nothing shows that ours is no slower: the server's wins.
    """
    sides = tuple(
        Side(name, contenders(way), _sum(_time_us(meeting, *each) for each in way))
        for name, way in meeting.ways.items()
    )
    is_unknown = any(side.name == SERVED and side.time_us is None for side in sides)
    found = HeadToHead(sides, SERVED if is_unknown else _fastest(sides), interleaved=False, on_ours=True)
    meeting.own.keep_head_to_head(found)
    return found


def decide(meeting: Meeting, measured: Mapping[str, Sequence[Measurement]]) -> HeadToHead:
    """Decides by measurements that were taken side by side: ours wins unless another way is faster.

    Args:
        measured: By the name of the side, as the meeting has them.
    """
    sides = tuple(
        Side(
            name,
            contenders(meeting.ways[name]),
            _sum(each.median_us if each.status == "ok" else None for each in found),
        )
        for name, found in measured.items()
    )
    others = [side for side in sides if side.name != OURS and side.time_us is not None]
    ours = measured[OURS]
    runs = all(each.status == "ok" for each in ours)
    loses = not runs or any(_is_faster(measured[side.name], ours) for side in others)
    return HeadToHead(sides, _fastest(others) if loses and others else OURS, interleaved=True, on_ours=True)


def _is_faster(others: Sequence[Measurement], ours: Sequence[Measurement]) -> bool:
    """Tells whether other launches are faster than ours, or than ours on a workload beyond the noise."""
    if paired_gain(_sums_us(others), _sums_us(ours)) > 0:
        return True
    one_each = len(others) == len(ours) == 1 and set(others[0].workloads_us) == set(ours[0].workloads_us)
    return one_each and slows_a_workload(ours[0], others[0])


def _sums_us(measured: Sequence[Measurement]) -> list[float]:
    return [sum(samples) for samples in zip(*(each.samples_us for each in measured), strict=True)]


def _sum(times_us: Iterable[float | None]) -> float | None:
    found = list(times_us)
    known = [time_us for time_us in found if time_us is not None]
    return sum(known) if len(known) == len(found) else None


def _fastest(sides: Sequence[Side]) -> str:
    """Names the side with the least time; of equal ones the last, which is ours where it is among them."""
    return min(reversed(sides), key=lambda side: float("inf") if side.time_us is None else side.time_us).name


def _time_us(meeting: Meeting, study: KernelStudy, config: Config) -> float | None:
    """Returns the time of a config in the race that decided its study: where that is of the same op, on the problem of
    our study. None if it is not known."""
    if (result := study.result) is None:
        return None
    decision, own = result.decision, meeting.own
    is_tuned = config == decision.config
    if meeting.runs_our_problem(study):
        problem = own.kernel.problem_type.from_json(study.spec.problem)
        if problem != own.problem:
            return _on_workload_us(decision, is_tuned, own.kernel.workloads(problem), own.problem)
    return decision.tuned_us if is_tuned else decision.incumbent_us


def _on_workload_us(
    decision: Decision, is_tuned: bool, workloads: Sequence[Workload], problem: Problem
) -> float | None:
    """Returns the time on the one of a study's workloads that is a problem; None if there is none."""
    names = [workload.name for workload in workloads if workload.problem == problem]
    if names and len(workloads) == 1:
        return decision.tuned_us if is_tuned else decision.incumbent_us
    times = next((times for times in decision.workloads if times.name in names), None)
    return None if times is None else times.tuned_us if is_tuned else times.incumbent_us


def _key(study: KernelStudy, config: Config) -> object:
    return (study.name, config_key(config))
