"""Chooses which value of the shared parameter a group takes, and where more measurements could change that.

A group's time at a value is the sum of its ops' times there. The optima of the ops on their own may disagree; only the
sum counts. A value whose ops, at the best they may still reach, sum up to more than what another value has already been
measured at is out of the running, and nothing more is spent on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Standing:
    """What is known of one op at one value of the shared parameter.

    Attributes:
        best_us: The fastest time measured there; None while none has.
        possible_us: The least time the op may still reach there; it does not matter once the op is explored.
        explored: It has been searched enough for its best time to be trusted.
    """

    best_us: float | None
    possible_us: float
    explored: bool

    @property
    def optimistic_us(self) -> float:
        best_us = math.inf if self.best_us is None else self.best_us
        return best_us if self.explored else min(best_us, self.possible_us)


Table = Mapping[int, Mapping[str, Standing]]
"""By value of the shared parameter, then by op."""


def sums_us(table: Table) -> dict[int, float]:
    """Sums up the times at each value at which every op has been measured, the fastest first."""
    found = {
        value: math.fsum(op.best_us for op in ops.values() if op.best_us is not None)
        for value, ops in table.items()
        if all(op.best_us is not None for op in ops.values())
    }
    return dict(sorted(found.items(), key=lambda item: item[1]))


def best_us(table: Table, op: str) -> dict[str, float]:
    """Finds an op's fastest time at each value, as results keep it: it shows where the ops disagree."""
    found = {str(value): ops[op].best_us for value, ops in table.items()}
    return {value: round(time_us, 3) for value, time_us in found.items() if time_us is not None}


def in_the_running(table: Table) -> list[int]:
    """Finds the value with the least measured sum and all that may still beat it, the most promising first."""
    measured_us = sums_us(table)
    best = next(iter(measured_us), None)
    limit_us = math.inf if best is None else measured_us[best]
    optimistic_us = {
        value: math.fsum(op.optimistic_us for op in ops.values())
        for value, ops in table.items()
        if not any(math.isinf(op.optimistic_us) for op in ops.values())
    }
    running = [value for value, sum_us in optimistic_us.items() if value == best or sum_us < limit_us]
    return sorted(running, key=lambda value: optimistic_us[value])


def next_search(table: Table, last: str | None = None) -> tuple[int, str] | None:
    """Chooses the value and op to search next; None when no search can change the choice any more.

    Args:
        last: The op searched last: going on with it spares setting another one up, so it goes first if it has to be
            searched in any case. Otherwise the op that may still gain most at the most promising value.
    """
    wanted = [
        (value, name)
        for value in in_the_running(table)
        for name in sorted(table[value], key=lambda name, ops=table[value]: -_hope_us(ops[name]))  # type: ignore[misc]
        if not table[value][name].explored
    ]
    return next((pair for pair in wanted if pair[1] == last), wanted[0] if wanted else None)


def _hope_us(op: Standing) -> float:
    return math.inf if op.best_us is None else op.best_us - op.optimistic_us
