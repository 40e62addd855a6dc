"""Reads the studies that a user names, and tells what a plan makes of them. Optuna, which loads slowly, reads only what
is in no SQLite file."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from autotune.contract import Call
from autotune.errors import InputError, some_of
from autotune.plan import decided as plan_decided
from autotune.plan import worth as plan_worth
from autotune.plan.decided import Study
from autotune.study import overview
from autotune.study.overview import CountedStudy, Overview
from autotune.study.stored_study import StoredStudy

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def read(
    storage: str | BaseStorage,
    patterns: Iterable[str] = (),
    plan_name: str | None = None,
    whole_groups: bool = False,
) -> list[StoredStudy]:
    """Returns the studies that globs match, or those of a plan in its order, to be read; without either all.

    Args:
        storage: A storage, or its URL.
        whole_groups: Put all members of a group in place of any of them.

    Raises:
        InputError: If there is none, or both are given.
    """
    found = overview.of(storage)
    chosen = names(found, tuple(patterns), plan_name)
    return [found.study(name) for name in (found.whole_groups(chosen) if whole_groups else chosen)]


def read_one(storage: str | BaseStorage, name: str) -> StoredStudy:
    """Returns the study of this name, or the only one that it matches as a glob, to be read.

    Args:
        storage: A storage, or its URL.

    Raises:
        InputError: If there is none, or more than one.
    """
    found = overview.of(storage)
    if (chosen := one_name(found, name)) in found.ours:
        return found.study(chosen)
    from autotune.study import studies  # here, because only a wrong name needs it
    from autotune.study.storage import open_storage

    # It says what is wrong with the name.
    return studies.load(open_storage(storage) if isinstance(storage, str) else storage, chosen)


def standing(
    storage: str | BaseStorage, patterns: Iterable[str] = (), plan_name: str | None = None
) -> list[CountedStudy]:
    """Returns how far the studies are that `read` returns, without a look at their trials.

    Args:
        storage: A storage, or its URL.

    Raises:
        InputError: As `read`, but an empty storage has no studies.
    """
    patterns, found = tuple(patterns), overview.of(storage)
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
            there = f"matches none of: {some_of(known)}; see study list" if known else "matches none: no studies yet"
            raise InputError(f"study: got {pattern!r}, which {there}")
    return [name for name in known if not patterns or any(fnmatch.fnmatch(name, p) for p in patterns)]


def one_name(found: Overview, name: str) -> str:
    """Returns the name of the only study that a glob matches; one that matches none as it is.

    Raises:
        InputError: If it matches more than one.
    """
    matching = [name] if name in found.ours else fnmatch.filter(found.ours, name)
    if len(matching) > 1:
        raise InputError(f"study: got {name!r}, which matches {len(matching)}: {some_of(matching)}; name one of them")
    return matching[0] if matching else name


def worth(chosen: Iterable[StoredStudy], plan_name: str | None) -> dict[str, float]:
    """Returns what the search of each study of a plan is worth (`autotune.plan.worth`); without a plan nothing is
    said."""
    return {} if plan_name is None else plan_worth.worth(chosen, plan_name)


def raced(chosen: Iterable[StoredStudy], plan_name: str | None) -> set[str]:
    """Returns the names of those that a plan only races; without a plan there is none."""
    return {item.name for item in plan_decided.raced(chosen, plan_name)} if plan_name is not None else set()


def decided(chosen: Iterable[Study], plan_name: str) -> list[Study]:
    """Returns the finished studies of a plan that an export may take: a size is raced for all shapes, or left out."""
    return [item for item in plan_decided.decided(chosen, plan_name) if item.result is not None]


def required_by(chosen: Iterable[StoredStudy], plan_name: str) -> list[Call]:
    """Returns every lookup that the files of a plan must answer, measured or not.

    Args:
        chosen: The plan's studies, finished or not.
    """
    return plan_decided.required(chosen, plan_name)
