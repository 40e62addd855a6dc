"""The contract a kernel signs: problems, configs, parameters, launches. Pure data and protocols, no GPU.

A kernel lives in a folder of its own (`kernels/<name>/kernel.py`), or anywhere a user keeps it, and hands the tuner one
`Kernel` object. The tuner never imports a particular kernel: it finds them through `autotune.registry`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from autotune.errors import InputError, one_of
from autotune.gpu import Gpu

if TYPE_CHECKING:
    import torch

Value = int | None
"""One value of a tuning parameter. None means "leave it to the compiler" (an unset ``maxnreg``)."""

Config = Mapping[str, Value]
"""One assignment of the tuning parameters, spelled as the runtime spells them, e.g. ``{"block_m": 16, ...}``."""


_DTYPE_ALIASES = {"fp16": "float16", "half": "float16", "bf16": "bfloat16", "fp32": "float32"}


def dtype_name(text: str) -> str:
    """A dtype as problems spell it, of all that vLLM's script takes: ``torch.float16``, ``half``, ``bf16``, ..."""
    name = text.removeprefix("torch.")
    return _DTYPE_ALIASES.get(name, name)


@dataclass(frozen=True)
class Parameter:
    """A tuning parameter and the values it may take, in ascending order (None first)."""

    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Problem:
    """One shape of one kernel: everything that fixes the work. Kernels subclass it with their own frozen fields.

    Raises:
        InputError: From the subclass's ``__post_init__``, for sizes that make no sense.
    """

    @property
    def label(self) -> str:
        """Short and readable, unique among the problems of a kernel; becomes part of the study's name."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise InputError(f"{cls.__name__}: got unknown field {one_of(unknown)}; allowed: {one_of(sorted(known))}")
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in data.items()})


@dataclass(frozen=True)
class Workload:
    """One kind of batch among those that a problem stands for.

    Attributes:
        weight: Its share in the objective, relative to the other workloads' weights.
        problem: The same shape over this batch alone.
    """

    name: str
    weight: float
    problem: Problem


@dataclass(frozen=True)
class Call:
    """What the runtime looks up when it launches a problem: the runtime, its op, and the sizes its lookup compares.

    Attributes:
        dims: The values as the runtime computes them (for vLLM's dense ops ``max_loras`` is already L + 1).
        triton: The Triton version to serve with, for a runtime whose files belong to one; None for the installed one.
    """

    runtime: str
    op: str
    dims: Mapping[str, int]
    triton: str | None = None

    def to_json(self) -> dict[str, Any]:
        version = {"triton": self.triton} if self.triton else {}
        return {"runtime": self.runtime, "op": self.op, "dims": dict(self.dims), **version}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Call:
        return cls(data["runtime"], data["op"], dict(data["dims"]), data.get("triton"))


@dataclass(frozen=True)
class Floor:
    """The least work a problem can be: bytes through device memory (each tensor once) and floating-point operations."""

    bytes: int
    flops: int

    def us(self, bandwidth_bytes_per_s: float) -> float:
        """Microseconds below which no kernel that moves these bytes can run at this memory bandwidth."""
        return self.bytes / bandwidth_bytes_per_s * 1e6


@dataclass(frozen=True)
class Launch:
    """One Triton launch, ``fn[grid](*args, **options)``: run on the GPU, or compiled ahead without one."""

    fn: Any
    grid: tuple[int, ...]
    args: Sequence[Any]
    options: Mapping[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        self.fn[self.grid](*self.args, **self.options)

    def warmup(self) -> Any:
        """Compile without launching; returns Triton's compiled kernel."""
        return self.fn.warmup(*self.args, grid=self.grid, **self.options)


@dataclass(frozen=True)
class Expected:
    """A reference result and how far, element by element, a correct kernel may be from it.

    Attributes:
        value: The result, in fp32 or wider, shaped as the kernel's output.
        max_error: Largest difference that rounding explains, the reference's own included; same shape; derived, never
            tuned (each kernel's README says how).
        further_error: What a config adds to it by roundings of its own, as splits that round their parts; None if
            all configs round alike. So one reference serves all configs.
    """

    value: torch.Tensor
    max_error: torch.Tensor
    further_error: Callable[[Config], torch.Tensor] | None = None

    def bound(self, config: Config) -> torch.Tensor:
        """Largest difference of a correct kernel with this config."""
        return self.max_error if self.further_error is None else self.max_error + self.further_error(config)


P = TypeVar("P", bound=Problem)
Inputs = TypeVar("Inputs")


class Kernel(ABC, Generic[P, Inputs]):
    """One tunable operation.

    The life of a kernel in a study: `problem_from_flags` reads what the user asked for; `parameters`, `canonical` and
    `infeasible` give the space; in a compile process `launches` is compiled over inputs on torch's ``meta`` device; in
    the GPU worker `make_inputs` is called once per argument set, then per config `poison`, `run` and a comparison with
    `reference`, then timing of `run`.
    """

    name: ClassVar[str]
    problem_type: ClassVar[type[Problem]]
    spaces: ClassVar[tuple[str, ...]] = ("wide",)
    """Names of the spaces `parameters` knows; the first is the default."""
    runtime: ClassVar[str | None] = None
    """The runtime that this is a kernel of; None for any or none."""
    aliases: ClassVar[tuple[str, ...]] = ()
    """Further names it goes by among the kernels of its runtime."""

    @abstractmethod
    def problem_from_flags(self, flags: Mapping[str, Any]) -> P:
        """Build the problem from command-line flags (snake_case names; absent or None where not given).

        Raises:
            InputError: Naming the flag, what it got, what is allowed.
        """

    def problems_from_flags(self, flags: Mapping[str, Any]) -> list[P]:
        """One problem for each value of a flag that may list several; the kernel knows which do.

        Raises:
            InputError: As `problem_from_flags`.
        """
        return [self.problem_from_flags(flags)]

    def workloads(self, problem: P) -> tuple[Workload, ...]:
        """The kinds of batch to gate and to time this problem's configs on: more than one where the runtime launches
        them all by the same key. Inputs, launches and floors are asked for of the workloads' problems only."""
        return (Workload(self.name, 1.0, problem),)

    @abstractmethod
    def parameters(self, problem: P, space: str) -> tuple[Parameter, ...]:
        """The values worth trying, before `canonical` and `infeasible` thin their product."""

    @abstractmethod
    def default_config(self, problem: P, gpu: Gpu) -> Config:
        """The incumbent: what the runtime launches when no file says otherwise, in canonical form."""

    def canonical(self, problem: P, config: Config, gpu: Gpu) -> Config:
        """The config that will really execute: ignored, forced and clipped parameters set to what the launch uses."""
        return config

    def infeasible(self, problem: P, config: Config, gpu: Gpu) -> str | None:
        """Why this config cannot run or cannot win on this GPU, or None. Never true of the incumbent's space."""
        return None

    def cannot_run(self, call: Call, config: Config, shared_bytes: int) -> str | None:
        """Why the runtime surely cannot launch a call with this config, or None.

        `infeasible` also says what is not worth a trial. This is said of anybody's files and of the runtime's own
        kernel: a lower bound, never a guess.

        Args:
            shared_bytes: Largest shared memory one block may ask for.
        """
        return None

    @abstractmethod
    def floor(self, problem: P) -> Floor:
        """Bytes and flops the problem cannot do without."""

    @abstractmethod
    def make_inputs(self, problem: P, device: str, seed: int) -> Inputs:
        """Fresh random arguments (random signs, ragged adapters, base tokens) on `device`; ``meta`` must work."""

    @abstractmethod
    def launches(self, inputs: Inputs, config: Config) -> list[Launch]:
        """The Triton launches `run` makes, in order; empty for an empty problem."""

    @abstractmethod
    def run(self, inputs: Inputs, config: Config) -> torch.Tensor:
        """Run the whole operation as a server pays for it (zeroing included); returns the output tensor."""

    @abstractmethod
    def poison(self, inputs: Inputs) -> None:
        """Set what `run` must write to NaN, and what it accumulates into back to its starting values."""

    @abstractmethod
    def reference(self, inputs: Inputs, dtype: torch.dtype) -> Expected:
        """The result of `run` after `poison`, in plain torch, computed in `dtype` (float32 or float64)."""

    def call(self, problem: P) -> Call | None:
        """The runtime's lookup for this problem; None for a kernel that no runtime loads configs for."""
        return None

    def estimate_us(self, problem: P, config: Config, gpu: Gpu) -> float | None:
        """About how long `run` takes, from the launch and the GPU alone, to begin a search with; None if unknown.

        Only how configs compare matters. It is scaled by what is measured, and ignored when it misleads.
        """
        return None

    def recording(self, problem: P) -> str | None:
        """Name of the recorded space that holds this very problem (`studies/recorded/<name>.csv.gz`), if one could."""
        return None

    def problem_of_recording(self, name: str) -> P | None:
        """The problem that a recorded space's name tells, as far as an estimate needs it; None if it is not ours."""
        return None


AnyKernel = Kernel[Any, Any]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
