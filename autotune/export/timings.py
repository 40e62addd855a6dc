"""Tells what a study timed, as far as an export needs it: how much slower one config is than another at the same m."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any


def _itself(config: Hashable) -> Hashable:
    return config


@dataclass(frozen=True)
class Timings:
    """What was timed of one shape at one m.

    Attributes:
        tables: Times in microseconds of configs that ran correctly, by `key`; within a table they may be compared.
            Where two tables hold the same pair of configs, the first one counts.
        default: What the server launches without a file; None if that does not run here.
        key: Returns equal values for configs that are the same launch at this m.
    """

    tables: tuple[Mapping[Hashable, float], ...]
    default: Any = None
    key: Callable[[Any], Hashable] = _itself

    def loss(self, config: Any, own: Any) -> float | None:
        """Returns by which share a config is slower than this m's own; None if nobody timed both.

        Returns None, too, unless the config is known to be no slower than the default: nothing may get slower than it.
        """
        if self.default is not None:
            behind = self._slower(config, self.default)
            if behind is None or behind > 0:
                return None
        return self._slower(config, own)

    def _slower(self, config: Any, than: Any) -> float | None:
        a, b = self.key(config), self.key(than)
        return next((times[a] / times[b] - 1 for times in self.tables if a in times and b in times), None)
