"""Tells how far the studies of a storage are, and which of them patterns or a plan name."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from autotune.errors import InputError, one_of
from autotune.study import overview
from autotune.study.overview import CountedStudy, Overview

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def standing(
    storage: str | BaseStorage, patterns: Iterable[str] = (), plan_name: str | None = None
) -> list[CountedStudy]:
    """Returns how far the studies are that `find` finds, without opening them: all of a large storage in a moment.

    Args:
        storage: A storage, or its URL, which is read without loading Optuna where it is a SQLite file.

    Raises:
        InputError: As `find`, but an empty storage has no studies.
    """
    patterns = tuple(patterns)
    with overview.opened(storage) as found:
        named = bool(patterns) or plan_name is not None
        return found.counted(names(found, patterns, plan_name) if named else None)


def names(found: Overview, patterns: Sequence[str], plan_name: str | None) -> list[str]:
    """Returns the names of the studies that globs match, or of those of a plan in its order; without either all.

    Raises:
        InputError: If a glob or the plan matches none, or both are given.
    """
    if plan_name is not None:
        if patterns:
            raise InputError(f"--plan: got {plan_name!r} and the glob {patterns[0]!r}; give one of them")
        return found.of_plan(plan_name)
    known = list(found.ours)
    for pattern in patterns:
        if not fnmatch.filter(known, pattern):
            raise InputError(f"study: got {pattern!r}, which matches none of: {one_of(known) or 'no studies yet'}")
    return [name for name in known if not patterns or any(fnmatch.fnmatch(name, p) for p in patterns)]
