"""Studies of a problem that no GPU is needed for, and what runs them on a stand-in for one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from optuna.storages import BaseStorage

from autotune.contract import registry
from autotune.contract.gpu import INTERPRETER
from autotune.contract.space import Space
from autotune.environment import Environment
from autotune.measure.backend import Backend
from autotune.run.options import Budget, RunOptions
from autotune.run.runner import Runner
from autotune.study.study import KernelStudy
from tests.builders.specs import spec_on_gpu
from tests.builders.stand_in_backend import StandIn, StandInBackends

FILE = Path(__file__).parent / "faulty_kernel.py"
REFERENCE = f"{FILE}:KERNEL"
KERNEL = registry.load(REFERENCE)
PROBLEM = sys.modules[type(KERNEL).__module__].DoubleProblem(64)
SPACE = Space.build(KERNEL, PROBLEM, INTERPRETER, "wide")
HERE = Environment("NVIDIA H200", driver="575.1", cuda="13.0", torch="2.11.0", triton="3.6.0")
"""The machine that tests with the fixture `here` run on."""
SPEC = spec_on_gpu(REFERENCE, PROBLEM, INTERPRETER, HERE, "wide")
BUDGET = Budget(3)


def runner_of(
    storage: BaseStorage,
    make: Callable[[KernelStudy], Backend] = lambda study: StandIn(),
    *,
    allow_env_change: bool = False,
    backend: str = "auto",
) -> Runner:
    """Makes a runner that measures on a stand-in, in any order."""
    options = RunOptions("sqlite://", backend, sampler="random", allow_env_change=allow_env_change)
    return Runner(storage, options, StandInBackends(make))
