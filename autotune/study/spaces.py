"""Builds the spaces of studies, each once a process: a study's is wanted when the study is made, and when it is run."""

from __future__ import annotations

from functools import lru_cache
from weakref import WeakValueDictionary

from autotune.contract import AnyKernel, Gpu, Problem
from autotune.contract.space import Row, Space

_MOST_KEPT = 1024
"""More than the studies of any plan."""

_Key = tuple[tuple[str, ...], tuple[Row, ...]]

_alike: WeakValueDictionary[_Key, Space] = WeakValueDictionary()
"""Of the sizes of a layer most come to the same configs, and one space does for them."""


def space_of(kernel: AnyKernel, problem: Problem, gpu: Gpu, preset: str) -> Space:
    """Returns a problem's space.

    Raises:
        InputError: If the kernel has no such preset.
    """
    try:
        hash((kernel, problem))
    except TypeError:  # somebody's own kernel, or a field of its problem, that cannot be told from another
        return Space.build(kernel, problem, gpu, preset)
    return _built(kernel, problem, gpu, preset)


@lru_cache(maxsize=_MOST_KEPT)
def _built(kernel: AnyKernel, problem: Problem, gpu: Gpu, preset: str) -> Space:
    built = Space.build(kernel, problem, gpu, preset)
    return _alike.setdefault((tuple(p.name for p in built.parameters), built.rows), built)
