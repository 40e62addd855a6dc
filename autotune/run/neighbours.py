"""Finds finished studies of neighbouring shapes in the storage: what they measured warms up the next search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.storages import BaseStorage

from autotune.contract import Config
from autotune.errors import AutotuneError
from autotune.search.estimate import estimated
from autotune.search.neighbour import Neighbour, distance
from autotune.study import studies
from autotune.study.spec import StudySpec
from autotune.study.studies import Finished
from autotune.study.study import KernelStudy

_NEAREST = 3


class NothingBesideError(AutotuneError):
    """No size beside a study's own has a winner that could be raced."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"{subject}: no size beside it has a winner to race; run those first")


_TOKENS = "m"
"""The size that batches choose: problems that differ in it alone are of one shape."""


@dataclass(frozen=True)
class _Timed:
    """What a finished study timed. Fixed parameters are those of its incumbent."""

    configs: list[Config]
    log_us: list[float]
    log_estimate: list[float] | None


class Neighbourhood:
    """The finished studies of a storage, for the searches to come; the trials of each are read once."""

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage
        self._timed: dict[tuple[str, str], _Timed] = {}

    def of(self, study: KernelStudy) -> list[Neighbour]:
        """Finds the nearest finished studies of the same kernel, source and GPU, the nearest first.

        The nearest of the same shape is always among them: whether its winner is as good here decides which of the two
        an export needs (`autotune.export.thinning`).
        """
        found = studies.finished(self._storage)
        near = [name for name, other in found.items() if name != study.name and _comparable(other.spec, study.spec)]
        near.sort(key=lambda name: distance(_sizes(found[name].spec.problem), _sizes(study.spec.problem)))
        chosen = near[:_NEAREST]
        same = next((name for name in near if _shape(found[name].spec) == _shape(study.spec)), None)
        if same is not None and same not in chosen:
            chosen[-1] = same
        return [self._neighbour(name, found[name], study) for name in chosen]

    def beside(self, study: KernelStudy) -> dict[str, Config]:
        """Returns, by study, the winners of the searched sizes right below and right above a study's, of its shape, as
        the study would launch them."""
        found = studies.finished(self._storage)
        sizes = {
            other.spec.problem[_TOKENS]: name
            for name, other in found.items()
            if name != study.name
            and not other.result.raced_from
            and _comparable(other.spec, study.spec)
            and _shape(other.spec) == _shape(study.spec)
        }
        own = study.spec.problem[_TOKENS]
        sides = (max((m for m in sizes if m < own), default=None), min((m for m in sizes if m > own), default=None))
        names = [sizes[m] for m in sides if m is not None]
        return {name: _as_launched(found[name], study) for name in names}

    def _neighbour(self, name: str, other: Finished, wanted: KernelStudy) -> Neighbour:
        """Takes what the other study timed; its winner is as `wanted` would launch it."""
        # A study that is taken up again finishes once more.
        key = name, other.result.finished
        if key not in self._timed:
            self._timed[key] = _timed(studies.load(self._storage, name), other.result.decision.incumbent)
        timed = self._timed[key]
        winner = _as_launched(other, wanted)
        return Neighbour(_sizes(other.spec.problem), timed.configs, timed.log_us, timed.log_estimate, winner)


def _as_launched(other: Finished, wanted: KernelStudy) -> Config:
    """Returns the winner of another study as a study would launch it."""
    default = wanted.kernel.default_config(wanted.problem, wanted.gpu)
    return wanted.kernel.canonical(wanted.problem, {**default, **other.result.decision.config}, wanted.gpu)


def _timed(study: KernelStudy, fixed: Config) -> _Timed:
    timed: list[tuple[Config, float]] = [
        ({**fixed, **trial.params}, math.log(trial.value))
        for trial in study.trials()
        if trial.was_timed_whole and trial.value
    ]
    configs = [config for config, _ in timed]
    expected = estimated(configs, study.kernel, study.problem, study.gpu)
    return _Timed(configs, [log_us for _, log_us in timed], None if expected is None else expected.tolist())


def _comparable(other: StudySpec, spec: StudySpec) -> bool:
    fields = ("kernel", "source", "backend", "gpu", "kernel_fingerprint")
    return all(getattr(other, field) == getattr(spec, field) for field in fields)


def _shape(spec: StudySpec) -> dict[str, Any]:
    return {name: value for name, value in spec.problem.items() if name != _TOKENS}


def _sizes(problem: Mapping[str, Any]) -> dict[str, int]:
    return {name: value for name, value in problem.items() if isinstance(value, int) and not isinstance(value, bool)}
