"""Compares one of our kernels with what does its work otherwise: the server's, and several launches where ours is
one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from autotune.study.head_to_head import APART, DEFAULT, OURS, SERVED
from autotune.study.stored_study import StoredStudy

RUNS_OURS: Final = "ours"
RUNS_SERVED: Final = "the server's"
RUNS_TOGETHER: Final = "ours as a pair"
RUNS_APART: Final = "apart"
TIMED_TOGETHER: Final = "side by side"
TIMED_APART: Final = "in separate studies"


@dataclass(frozen=True)
class Rivals:
    """The times of all ways to do a kernel's work; None for one that was not compared, or does not run.

    Attributes:
        server_default_us: The server's kernel without a file.
        server_tuned_us: The server's kernel, tuned.
        ours_us: Our kernel, tuned; of several launches all together, each by the faster of the server's and ours.
        together_us: Ours as a pair, where that was compared with several.
        runs: What a server with the plug-in runs.
        timed: How the times were taken.
    """

    server_default_us: float | None
    server_tuned_us: float | None
    ours_us: float | None
    together_us: float | None
    runs: str
    timed: str

    @property
    def saved_us(self) -> float:
        """What the plug-in saves, beside the server's tuned kernel, or beside several launches."""
        if self.runs == RUNS_TOGETHER:
            return _less(self.ours_us, self.together_us)
        return _less(self.server_tuned_us, self.ours_us) if self.runs == RUNS_OURS else 0.0


NO_RIVALS: Final = Rivals(None, None, None, None, "", "")


def rivals_of(item: StoredStudy) -> Rivals | None:
    """Returns what a study of our kernel was compared with; None where it was not compared."""
    if (met := item.head_to_head) is None:
        return None
    together = met.of(APART) is not None
    runs = (RUNS_TOGETHER, RUNS_APART) if together else (RUNS_OURS, RUNS_SERVED)
    return Rivals(
        server_default_us=met.us(DEFAULT),
        server_tuned_us=met.us(SERVED),
        ours_us=met.us(APART if together else OURS),
        together_us=met.us(OURS) if together else None,
        runs=runs[0] if met.is_ours else runs[1],
        timed=TIMED_TOGETHER if met.interleaved else TIMED_APART,
    )


def _less(before_us: float | None, after_us: float | None) -> float:
    return before_us - after_us if before_us is not None and after_us is not None else 0.0
