"""Says what tuning a plan takes: its studies on the kernels of each source, and roughly how long they run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from autotune import servers
from autotune.contract.source import BUILTIN
from autotune.plan.by_source import entries_of, sources_of
from autotune.plan.plan import LARGE_STUDY_S, Entry, Plan
from autotune.plan.timed import TimedKernel, timed_kernels

RACE_S = 1.0
"""What a race of a few configs will take, at most about half of a small study, whose race of finalists it is."""


@dataclass(frozen=True)
class TunedEntry:
    """An entry of a plan, on kernels of one source.

    Attributes:
        source: The server whose own kernels they are, or ``builtin``.
    """

    entry: Entry
    source: str

    @property
    def seconds(self) -> float:
        """What it will take, roughly: of several kinds of batches as of a large one."""
        planner = servers.get(self.entry.call.server).planner
        several = planner.times_several(self.entry.flags, self.source)
        return self.entry.studies * LARGE_STUDY_S if several else self.entry.seconds

    def to_json(self) -> dict[str, Any]:
        return {**self.entry.to_json(), "source": self.source}


@dataclass(frozen=True)
class TuningWork:
    """What tuning a plan takes.

    Attributes:
        searched: What studies search.
        raced: What studies only race.
        following: What at most follows, once it is known what the server launches (`Plan.replacements`).
    """

    searched: Sequence[TunedEntry] = ()
    raced: Sequence[TunedEntry] = ()
    following: Sequence[TunedEntry] = ()

    @property
    def studies(self) -> int:
        """How many studies search, without what follows."""
        return sum(each.entry.studies for each in self.searched)

    @property
    def seconds(self) -> float:
        """What it takes, roughly."""
        return sum(each.seconds for each in (*self.searched, *self.following)) + RACE_S * len(self.raced)

    def to_json(self) -> dict[str, Any]:
        return {
            "studies": [each.to_json() for each in self.searched],
            "following": [each.to_json() for each in self.following],
            "seconds": self.seconds,
        }


def work_of(plan: Plan, wanted: str) -> TuningWork:
    """Says what a plan takes on a GPU, where the same packages are installed as here.

    Args:
        wanted: One of `autotune.contract.source.SOURCES`, or `autotune.contract.source.BOTH`.

    Raises:
        InputError: If the server's own kernel is asked for and cannot be had, or its package is there twice.
    """
    searched, raced, following = list[TunedEntry](), list[TunedEntry](), list[TunedEntry]()
    for each in sources_of(wanted):
        entries, of_source = entries_of(plan, each), partial(_of_source, timed=timed_kernels(plan, each))
        searched += map(of_source, (*entries.searched, *entries.in_one_launch))
        raced += map(of_source, entries.raced)
        following += map(of_source, entries.replacements)
    return TuningWork(_distinct(searched), _distinct(raced), following)


def _of_source(entry: Entry, timed: Mapping[str, TimedKernel]) -> TunedEntry:
    """Returns an entry on the kernels that are timed; what no lookup of the server's own names is built-in."""
    found = timed.get(entry.members[0])
    return TunedEntry(entry, found.choice.source if found else BUILTIN)


def _distinct(entries: Iterable[TunedEntry]) -> list[TunedEntry]:
    """Leaves out what is there twice, where the server's own kernels are not to be had and ours are taken."""
    return list({(each.source, each.entry.kernel, str(each.entry.call)): each for each in entries}.values())
