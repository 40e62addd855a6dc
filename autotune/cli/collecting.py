"""Has Python look seldom for what only a cycle keeps: it looked through all that a short command loads again and again,
which took a third of its time."""

from __future__ import annotations

import gc

_CREATED = 50_000
"""The objects that are created before Python looks again; some ten megabytes. It does so after 700 by itself."""


def seldom() -> None:
    """Looks seldom from now on; in this process, not in those that measure."""
    gc.set_threshold(_CREATED)


def never_again() -> None:
    """Leaves what is there to the end of the process, instead of looking through it four times on the way.

    For commands that are done: they close what they open. One that is stopped may have half opened a storage, whose
    connection is closed only when Python finds it."""
    gc.freeze()
