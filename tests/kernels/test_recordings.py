"""The recorded spaces are of our kernels, and tell which problem they are of."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.contract import registry
from autotune.measure import recording


@pytest.mark.parametrize("path", recording.find(), ids=lambda path: path.name.removesuffix(recording.SUFFIX))
def test_a_recording_is_of_the_kernel_that_its_name_says(path: Path) -> None:
    name = path.name.removesuffix(recording.SUFFIX)
    source, op = name.split("_")[:2]
    kernels = [registry.load(kernel) for kernel in registry.installed().names()]
    claimed = {kernel.name: problem for kernel in kernels if (problem := kernel.problem_of_recording(name))}
    assert list(claimed) == [f"csgmv_{op}" if source.startswith("sglang") else f"lora_{op}"]
    for kernel, problem in claimed.items():
        assert registry.load(kernel).problem_type.from_json(problem.to_json()) == problem
