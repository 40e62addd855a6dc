"""Walks down a nested config file as vLLM does: level by level, the exact key if it is there, else the nearest one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.errors import one_of
from autotune.servers.lookup import Failure, Step, is_integer
from autotune.servers.vllm.facts import EXACT_LEVEL


def descend(
    table: Any, levels: tuple[str, ...], dims: Mapping[str, int]
) -> tuple[Any, tuple[Step, ...], Failure | None]:
    """Takes the keys the server takes; returns what it arrives at, the steps, and the failure that stopped it.

    The expressions are the server's own, on purpose, so that any content at all leads to the same result.
    """
    node, steps = table, list[Step]()
    for level in levels:
        try:
            step = _step(node, level, dims[level])
            node = node[step.taken]
        except (KeyError, ValueError, AttributeError, TypeError) as error:
            return None, tuple(steps), _failure(node, level, dims[level], type(error).__name__)
        steps.append(step)
    return node, tuple(steps), None


def _step(node: Any, level: str, wanted: int) -> Step:
    key = str(wanted)
    # The server writes `node.get(key) or node[nearest]`: an exact key whose value is empty counts as absent.
    if level == EXACT_LEVEL or node.get(key):
        return Step(level, wanted, key, "exact")
    taken = min(node, key=lambda other: abs(int(other) - wanted))
    distance = abs(int(taken) - wanted)
    ties = tuple(other for other in node if other != taken and abs(int(other) - wanted) == distance)
    return Step(level, wanted, taken, "nearest", ties)


def _failure(node: Any, level: str, wanted: int, error: str) -> Failure:
    if not isinstance(node, dict):
        return Failure(error, level, None, f"got {type(node).__name__}, allowed: an object with {level} as keys")
    if level == EXACT_LEVEL:
        have = one_of(node) or "none"
        message = f"has no {level} {wanted}, which is never approximated; there: {have}; tune that shape too"
        return Failure(error, level, str(wanted), message)
    if not node:
        return Failure(error, level, None, f"got an empty object where {level} is looked up; remove or tune it")
    bad = next(key for key in node if not is_integer(key))
    return Failure(error, level, bad, f"got key {bad!r} for {level}, allowed: integers; remove it")
