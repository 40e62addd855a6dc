"""Finished studies of neighbouring shapes in the storage: what they measured warms up the next search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from optuna.storages import BaseStorage

from autotune import study as studies
from autotune.kernel import Config
from autotune.search.estimate import estimated
from autotune.search.neighbour import Neighbour, distance
from autotune.study import KernelStudy, StudySpec

_NEAREST = 3

_TOKENS = "m"
"""The size that batches choose: problems that differ in it alone are of one shape."""


def finished_neighbours(storage: BaseStorage, study: KernelStudy) -> list[Neighbour]:
    """The nearest finished studies of the same kernel, source and GPU, the nearest first.

    The nearest of the same shape is always among them: whether its winner does here, too, decides which of the two an
    export needs (`autotune.thinning`).
    """
    specs = studies.finished(storage)
    near = [name for name, spec in specs.items() if name != study.name and _comparable(spec, study.spec)]
    near.sort(key=lambda name: distance(_sizes(specs[name].problem), _sizes(study.spec.problem)))
    chosen = near[:_NEAREST]
    same = next((name for name in near if _shape(specs[name]) == _shape(study.spec)), None)
    if same is not None and same not in chosen:
        chosen[-1] = same
    return [_neighbour(studies.load(storage, name), study) for name in chosen]


def _comparable(other: StudySpec, spec: StudySpec) -> bool:
    fields = ("kernel", "source", "backend", "gpu", "kernel_fingerprint")
    return all(getattr(other, field) == getattr(spec, field) for field in fields)


def _shape(spec: StudySpec) -> dict[str, Any]:
    return {name: value for name, value in spec.problem.items() if name != _TOKENS}


def _neighbour(study: KernelStudy, wanted: KernelStudy) -> Neighbour:
    """The configs it timed. Fixed parameters are those of its incumbent; the winner is as `wanted` would launch it."""
    result = study.result or {}
    fixed: Mapping[str, Any] = result["incumbent"]
    timed: list[tuple[Config, float]] = [
        ({**fixed, **trial.params}, math.log(trial.value))
        for trial in study.study.get_trials(deepcopy=False)
        if trial.state.name == "COMPLETE" and trial.value
    ]
    configs, log_us = [config for config, _ in timed], [log_us for _, log_us in timed]
    expected = estimated(configs, study.kernel, study.problem, study.gpu)
    log_estimate = None if expected is None else expected.tolist()
    default = wanted.kernel.default_config(wanted.problem, wanted.gpu)
    winner = wanted.kernel.canonical(wanted.problem, {**default, **result["config"]}, wanted.gpu)
    return Neighbour(_sizes(study.spec.problem), configs, log_us, log_estimate, winner)


def _sizes(problem: Mapping[str, Any]) -> dict[str, int]:
    return {name: value for name, value in problem.items() if isinstance(value, int) and not isinstance(value, bool)}
