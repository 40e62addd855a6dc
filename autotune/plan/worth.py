"""Tells what the search of each of a plan's studies is worth: where time is short, those worth most have it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from autotune.plan.decided import raced_together
from autotune.study.stored_study import StoredStudy

_LAUNCH_US: Final = 3.0
"""A launch takes as long whatever it does."""

_BYTES_PER_S: Final = 4e12
"""About the bandwidth of an H200: only how launches compare matters."""

_UNKNOWN_SHARE: Final = 1.0
"""Of every size where traffic is not known; where it is, of one alone that has all of it, or of a race."""


def worth(chosen: Iterable[StoredStudy], plan: str) -> dict[str, float]:
    """Returns, by study, what part of its batch size's launches a study's are likely to take, times the size's traffic.

    That is by the least time of each launch: what a default takes is some multiple of it. Where traffic is not known,
    steps of all sizes count the same, however long they take: a small one is made as much oftener. Where it is, time
    counts.
    """
    found = [(study, place) for study in chosen if (place := study.membership(plan))]
    likely_us = {study.name: place.weight * _likely_us(study) for study, place in found}
    if any(place.share != _UNKNOWN_SHARE for _, place in found):
        return likely_us
    of_size: dict[object, float] = defaultdict(float)
    for study, _ in found:
        of_size[_size(study)] += likely_us[study.name]
    return {study.name: us / of_size[_size(study)] if (us := likely_us[study.name]) else 0.0 for study, _ in found}


def _likely_us(study: StoredStudy) -> float:
    return _LAUNCH_US + study.kernel.floor(study.problem).us(_BYTES_PER_S)


def _size(study: StoredStudy) -> object:
    """Returns the batch size; a chunk size has none, and is in every step."""
    size, _ = raced_together(study.spec.server_call)
    return size
