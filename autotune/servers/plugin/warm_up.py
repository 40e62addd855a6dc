"""Compiles ahead whatever a shape may be launched with, so that no request waits for the compiler."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Final

import triton

from autotune.contract import Launch
from autotune.environment import usable_cores

TOKEN_COUNTS: Final = tuple(1 << exponent for exponent in range(17))
"""Token counts at which the config may change where no file says otherwise; no batch is larger."""

_MOST_THREADS: Final = 8


def compile_ahead(launches_at: Callable[[int], Iterable[Launch]], token_counts: Iterable[int]) -> None:
    """Compiles what launches at these token counts need, several kernels at a time where this Triton can.

    What cannot be made or does not compile is left to the launch, which tells.

    Args:
        launches_at: The launches over tensors without memory.
    """
    if triton.knobs.runtime.interpret:
        return
    with _together():
        for launch in _distinct(launches_at, token_counts):
            with suppress(Exception):
                launch.warmup()


def _distinct(launches_at: Callable[[int], Iterable[Launch]], token_counts: Iterable[int]) -> Iterator[Launch]:
    """Yields the launches that the compiler tells apart; an odd count may make sizes of another divisibility."""
    seen = set()
    for m in sorted({each for count in token_counts for each in (count, count + 1)}):
        for launch in _made(launches_at, m):
            sizes = tuple((arg == 1, arg % 16 == 0) for arg in launch.args if isinstance(arg, int))
            key: Hashable = (sizes, *sorted(launch.options.items()))
            if key not in seen:
                seen.add(key)
                yield launch


def _made(launches_at: Callable[[int], Iterable[Launch]], m: int) -> list[Launch]:
    """Returns the launches of one count; none where an entry asks for what cannot be launched."""
    with suppress(Exception):
        return list(launches_at(m))
    return []


@contextmanager
def _together() -> Iterator[None]:
    mode: Any = getattr(triton, "AsyncCompileMode", None)
    with (
        ThreadPoolExecutor(min(_MOST_THREADS, usable_cores())) as pool,
        suppress(Exception),
        # Triton 3.6 stays in the mode for good where leaving it raises.
        nullcontext() if mode is None else mode(pool, ignore_errors=True),
    ):
        yield
