"""Specs of studies, as they are made on a machine that the test names."""

from __future__ import annotations

from autotune.contract import Gpu, Problem, registry
from autotune.contract.fingerprint import kernel_fingerprint
from autotune.contract.space import Space
from autotune.environment import Environment
from autotune.measure.settings import MeasureSettings
from autotune.study.spec import StudySpec


def spec_on_gpu(reference: str, problem: Problem, gpu: Gpu, environment: Environment, space: str) -> StudySpec:
    """Makes the spec of a problem's study on this GPU, with the settings that are the rule."""
    kernel = registry.load(reference)
    return StudySpec(
        kernel=reference,
        problem=problem.to_json(),
        call=kernel.call(problem),
        source="builtin",
        kernel_fingerprint=kernel_fingerprint(kernel),
        backend="cuda",
        gpu=gpu,
        environment=environment,
        space=space,
        space_fingerprint=Space.build(kernel, problem, gpu, space).fingerprint,
        settings=MeasureSettings(),
    )
