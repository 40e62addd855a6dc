"""A kernel in a file of the user's that takes its time, so that a kill meets it at work; no config ends its process."""

from __future__ import annotations

import time
from typing import Final

import torch

from autotune.contract import Config, Launch, Parameter
from autotune.measure.result import Status
from tests.builders.faulty_kernel import (
    COMPILE_REFUSED,
    NAN,
    OK,
    OUT_OF_RESOURCES,
    WRONG,
    DoubleInputs,
    DoubleProblem,
    FaultyKernel,
)

ENDS_AS: Final[dict[int, set[Status]]] = {
    OK: {"ok", "pruned"},
    WRONG: {"wrong_result"},
    NAN: {"wrong_result"},
    OUT_OF_RESOURCES: {"out_of_resources"},
    COMPILE_REFUSED: {"compile_error"},
}
"""The statuses that a config of a fault can have when nobody kills anything."""
_COMPILES_IN_S, _RUNS_IN_S = 0.05, 0.003


class UnhurriedKernel(FaultyKernel):
    """Doubles a vector, slowly."""

    name = "unhurried"

    def parameters(self, problem: DoubleProblem, space: str) -> tuple[Parameter, ...]:
        return (Parameter("repeats", (1, 2, 3, 4)), Parameter("fault", tuple(ENDS_AS)))

    def launches(self, inputs: DoubleInputs, config: Config) -> list[Launch]:
        time.sleep(_COMPILES_IN_S)
        return super().launches(inputs, config)

    def run(self, inputs: DoubleInputs, config: Config) -> torch.Tensor:
        time.sleep(_RUNS_IN_S)
        return super().run(inputs, config)


KERNEL = UnhurriedKernel()
