"""Makes a server's own kernel of an op a kernel of the tuner: our problems, reference and floor, the server's code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import torch

from autotune.contract import (
    AnyKernel,
    Call,
    Config,
    Expected,
    Floor,
    Gpu,
    Kernel,
    Launch,
    Parameter,
    Problem,
    Workload,
)
from autotune.contract.source import Origin, join
from autotune.errors import InputError

A = TypeVar("A")


class ServedOp(ABC, Generic[A]):
    """What a server's folder tells of one of its ops: how to call it, and which of its configs are distinct.

    The op is called as the server calls it, with the tensors of the built-in kernel's inputs, and takes a config
    without a file. Nothing of the server's package is imported before the first call that needs it.
    """

    def flag_defaults(self, flags: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns what flags of problems are where these do not give them, if that is another value than the built-in
        kernel's default (`Kernel.problem_from_flags`)."""
        return {}

    @abstractmethod
    def origin(self) -> Origin:
        """Tells which package the op comes from.

        Raises:
            InputError: If it is not installed.
        """

    @abstractmethod
    def arguments(self, inputs: Any, problem: Any) -> A:
        """Returns the op's arguments over the tensors of the built-in kernel's inputs, tables of addresses uploaded."""

    @abstractmethod
    def run(self, arguments: A, config: Config) -> torch.Tensor:
        """Calls the op with a config; returns its output tensor."""

    @abstractmethod
    def launches(self, arguments: A, config: Config) -> list[Launch]:
        """Records the Triton launches that `run` would make, without making them."""

    def poison(self, arguments: A) -> None:
        """Sets what `run` must write to NaN, where that is no tensor of the built-in kernel's inputs."""

    def laid_out(self, arguments: A, output: torch.Tensor, config: Config) -> torch.Tensor:
        """Returns an output of `run` in the built-in kernel's layout."""
        return output

    def refusal(self, problem: Any) -> str | None:
        """Tells why no server of the release runs a problem, or None."""
        return None

    def no_file(self, problem: Any, gpu: Gpu, builtin: Config) -> Config:
        """Returns what the server launches where nobody tuned, with the parameters that the built-in kernel's default
        has."""
        return builtin

    def other_defaults(self, problem: Any, gpu: Gpu, builtin: Config) -> tuple[Config, ...]:
        """Returns what else it may launch without a study's result."""
        return ()

    def serving_note(self, problem: Any, grouped: bool) -> str | None:
        """Tells what the server really runs; None leaves it to the built-in kernel's note."""
        return None

    def parameters(self, problem: Any, space: str, builtin: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
        """Returns the parameters of a space, of the built-in kernel's those that the op has a use for."""
        return builtin

    def canonical(self, problem: Any, config: Config, gpu: Gpu) -> Config:
        """Returns the config that the op really executes."""
        return config

    def infeasible(self, problem: Any, config: Config, gpu: Gpu) -> str | None:
        """Tells why a config cannot run or cannot win, or None."""
        return None

    def estimate_us(self, problem: Any, config: Config, gpu: Gpu) -> float | None:
        """Tells what a config is likely to take; None leaves it to the built-in kernel's estimate."""
        return None


@dataclass(frozen=True)
class ServedInputs(Generic[A]):
    """One argument set: the built-in kernel's, and the op's own over the same tensors."""

    builtin: Any
    arguments: A


class ServedKernel(Kernel[Any, ServedInputs[Any]]):
    """The kernel that a server launches for an op.

    Args:
        builtin: Our kernel of the op, which knows its problems, inputs, reference, floor and lookup.
        server: The server's name.
        version: The server's release.
        op: The server's side.
    """

    def __init__(self, builtin: AnyKernel, server: str, version: str, op: ServedOp[Any]) -> None:
        self.builtin = builtin
        self.op = op
        self.source = server
        self.version = version
        self.name = join(builtin.name, server, version)
        self.problem_type = builtin.problem_type

    @property
    def spaces(self) -> tuple[str, ...]:  # type: ignore[override]
        """The spaces of the op, whichever kernel runs it."""
        return self.builtin.spaces

    @property
    def server(self) -> str | None:  # type: ignore[override]
        """The server that it is a kernel of."""
        return self.source

    def problem_from_flags(self, flags: Mapping[str, Any]) -> Problem:
        problem: Problem = self.builtin.problem_from_flags(self._with_defaults(flags))
        return problem

    def problems_from_flags(self, flags: Mapping[str, Any]) -> list[Problem]:
        return self.builtin.problems_from_flags(self._with_defaults(flags))

    def _with_defaults(self, flags: Mapping[str, Any]) -> dict[str, Any]:
        defaults = self.op.flag_defaults(flags)
        return {**flags, **{name: value for name, value in defaults.items() if flags.get(name) is None}}

    def workloads(self, problem: Problem) -> tuple[Workload, ...]:
        return self.builtin.workloads(problem)

    def parameters(self, problem: Problem, space: str) -> tuple[Parameter, ...]:
        return self.op.parameters(problem, space, self.builtin.parameters(problem, space))

    def default_config(self, problem: Problem, gpu: Gpu) -> Config:
        builtin = self.builtin.default_config(problem, gpu)
        return self.canonical(problem, self.op.no_file(problem, gpu, builtin), gpu)

    def other_defaults(self, problem: Problem, gpu: Gpu) -> tuple[Config, ...]:
        others = self.op.other_defaults(problem, gpu, self.builtin.default_config(problem, gpu))
        return tuple(self.canonical(problem, config, gpu) for config in others)

    def canonical(self, problem: Problem, config: Config, gpu: Gpu) -> Config:
        return self.op.canonical(problem, config, gpu)

    def infeasible(self, problem: Problem, config: Config, gpu: Gpu) -> str | None:
        call = self.builtin.call(problem)
        reason = self.builtin.cannot_run(call, config, gpu.shared_bytes) if call else None
        return reason or self.op.infeasible(problem, config, gpu)

    def cannot_run(self, call: Call, config: Config, shared_bytes: int) -> str | None:
        return self.builtin.cannot_run(call, config, shared_bytes)

    def floor(self, problem: Problem) -> Floor:
        return self.builtin.floor(problem)

    def make_inputs(self, problem: Problem, device: str, seed: int) -> ServedInputs[Any]:
        inputs = self.builtin.make_inputs(problem, device, seed)
        return ServedInputs(inputs, self.op.arguments(inputs, problem))

    def launches(self, inputs: ServedInputs[Any], config: Config) -> list[Launch]:
        return self.op.launches(inputs.arguments, config)

    def run(self, inputs: ServedInputs[Any], config: Config) -> torch.Tensor:
        return self.op.run(inputs.arguments, config)

    def poison(self, inputs: ServedInputs[Any]) -> None:
        self.builtin.poison(inputs.builtin)
        self.op.poison(inputs.arguments)

    def laid_out(self, inputs: ServedInputs[Any], output: torch.Tensor, config: Config) -> torch.Tensor:
        return self.op.laid_out(inputs.arguments, output, config)

    def refusal(self, problem: Problem) -> str | None:
        return self.op.refusal(problem)

    def reference(self, inputs: ServedInputs[Any], dtype: torch.dtype) -> Expected:
        return self.builtin.reference(inputs.builtin, dtype)

    def call(self, problem: Problem) -> Call | None:
        return self.builtin.call(problem)

    def answers(self, call: Call, config: Config) -> list[tuple[Call, Config]]:
        return self.builtin.answers(call, config)

    def shards(self, problem: Problem) -> int:
        return self.builtin.shards(problem)

    def is_read(self, problem: Problem) -> bool:
        return self.builtin.is_read(problem)

    def serving_note(self, problem: Problem, grouped: bool) -> str | None:
        return self.op.serving_note(problem, grouped) or self.builtin.serving_note(problem, grouped)

    def estimate_us(self, problem: Problem, config: Config, gpu: Gpu) -> float | None:
        """Begins with the built-in kernel's estimate where the op has none of its own: the same bytes move and the same
        products are made."""
        found = self.op.estimate_us(problem, config, gpu)
        return self.builtin.estimate_us(problem, config, gpu) if found is None else found

    def origin(self) -> Origin:
        """Tells which package is installed.

        Raises:
            InputError: If it is not installed, or is of another release than the kernel.
        """
        found = self._installed
        if found.version != self.version:
            raise InputError(
                f"kernel {self.name}: {found} is installed here; make studies of that one, or run where "
                f"{self.source} {self.version} is installed"
            )
        return found

    @cached_property
    def _installed(self) -> Origin:
        """Hashes the op's sources once: every study of the kernel asks for them."""
        return self.op.origin()

    def recording(self, problem: Problem) -> str | None:
        name = self.builtin.recording(problem)
        return name if name and name.startswith(self.source) else None

    def problem_of_recording(self, name: str) -> Problem | None:
        problem: Problem | None = self.builtin.problem_of_recording(name)
        return problem if name.startswith(self.source) else None
