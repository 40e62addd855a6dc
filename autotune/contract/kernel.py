"""Defines what a kernel signs: the one object through which the tuner knows it. No GPU is needed to read it.

A kernel lives in a folder of its own (`kernels/<name>/kernel.py`), or anywhere a user keeps it, and hands the tuner one
`Kernel` object. The tuner never imports a particular kernel: it finds them through `autotune.contract.registry`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from autotune.contract.call import Call
from autotune.contract.config import Config, Parameter
from autotune.contract.gpu import Gpu
from autotune.contract.launch import Expected, Launch
from autotune.contract.problem import Floor, Problem, Workload
from autotune.contract.source import BUILTIN, Origin

if TYPE_CHECKING:
    import torch

P = TypeVar("P", bound=Problem)
Inputs = TypeVar("Inputs")


class Kernel(ABC, Generic[P, Inputs]):
    """One tunable operation.

    The life of a kernel in a study: `problem_from_flags` reads what the user asked for; `parameters`, `canonical` and
    `infeasible` give the space; in a compile process `launches` is compiled over inputs on torch's ``meta`` device; in
    the GPU worker `make_inputs` is called once per argument set, then per config `poison`, `run` and a comparison with
    `reference`, then timing of `run`.
    """

    name: str
    problem_type: type[Problem]
    spaces: ClassVar[tuple[str, ...]] = ("wide",)
    """Names of the spaces `parameters` knows; the first is the default."""
    server: ClassVar[str | None] = None
    """The server that this is a kernel of; None for any or none."""
    source: str = BUILTIN
    """Whose code runs: ``builtin``, or the server whose installed package it is."""
    aliases: ClassVar[tuple[str, ...]] = ()
    """Further names it goes by among the kernels of its server."""

    @abstractmethod
    def problem_from_flags(self, flags: Mapping[str, Any]) -> P:
        """Builds the problem from command-line flags (snake_case names; absent or None where not given).

        Raises:
            InputError: Naming the flag, what it got, what is allowed.
        """

    def problems_from_flags(self, flags: Mapping[str, Any]) -> list[P]:
        """Returns one problem for each value of a flag that may list several; the kernel knows which do.

        Raises:
            InputError: As `problem_from_flags`.
        """
        return [self.problem_from_flags(flags)]

    def workloads(self, problem: P) -> tuple[Workload, ...]:
        """Returns the kinds of batch to gate and to time this problem's configs on: more than one where the server
        launches them all by the same key. Inputs, launches and floors are asked for of the workloads' problems only."""
        return (Workload(self.name, 1.0, problem),)

    @abstractmethod
    def parameters(self, problem: P, space: str) -> tuple[Parameter, ...]:
        """Returns the values worth trying, before `canonical` and `infeasible` thin their product."""

    @abstractmethod
    def default_config(self, problem: P, gpu: Gpu) -> Config:
        """Returns the incumbent: what the server launches when no file says otherwise, in canonical form."""

    def other_defaults(self, problem: P, gpu: Gpu) -> tuple[Config, ...]:
        """Returns what the server launches without a study's result in another setting than the incumbent's, e.g. with
        an empty config folder; what wins must not be slower than these either."""
        return ()

    def own_default(self, problem: P, gpu: Gpu) -> Config | None:
        """Returns what the kernel launches in the server's place where no file has an entry, in canonical form; None
        where that is the incumbent, or where nothing launches it so. It is measured behind the incumbent, and always a
        finalist: no file may be slower than none."""
        return None

    def unfit(self, problem: P, config: Config) -> str | None:
        """Tells why a config that is found by the problem's lookup is not launched for it, or None: several problems
        may have one lookup."""
        return None

    def is_left_without_entry(self, problem: P) -> bool:
        """Tells whether a problem for which no file has an entry is left to the server's own kernel, which is faster
        than this one with its default; only a kernel that runs in the server's place may say so."""
        return False

    def canonical(self, problem: P, config: Config, gpu: Gpu) -> Config:
        """Returns the config that will really execute: ignored, forced and clipped parameters set to what the launch
        uses."""
        return config

    def infeasible(self, problem: P, config: Config, gpu: Gpu) -> str | None:
        """Tells why this config cannot run or cannot win on this GPU, or None. Never true of the incumbent's space."""
        return None

    def refusal(self, problem: P) -> str | None:
        """Tells why no config runs a problem, which no server of the kernel's release runs either; else None."""
        return None

    def cannot_run(self, call: Call, config: Config, shared_bytes: int) -> str | None:
        """Tells why the server surely cannot launch a call with this config, or None.

        `infeasible` also says what is not worth a trial. This is said of anybody's files and of the server's own
        kernel: a lower bound, never a guess.

        Args:
            shared_bytes: Largest shared memory one block may ask for.
        """
        return None

    @abstractmethod
    def floor(self, problem: P) -> Floor:
        """Counts the bytes and flops the problem cannot do without."""

    @abstractmethod
    def make_inputs(self, problem: P, device: str, seed: int) -> Inputs:
        """Returns fresh random arguments (random signs, ragged adapters, base tokens) on `device`; ``meta`` must
        work."""

    def load_code(self) -> None:
        """Imports what its runs need and its declaration does not; by default its own module needs it all."""

    @abstractmethod
    def launches(self, inputs: Inputs, config: Config) -> list[Launch]:
        """Returns the Triton launches `run` makes, in order; empty for an empty problem."""

    @abstractmethod
    def run(self, inputs: Inputs, config: Config) -> torch.Tensor:
        """Runs the whole operation as a server pays for it (zeroing included); returns the output tensor."""

    def laid_out(self, inputs: Inputs, output: torch.Tensor, config: Config) -> torch.Tensor:
        """Returns an output of `run` with this config as the reference is laid out, where that depends on the config.
        It is not timed."""
        return output

    @abstractmethod
    def poison(self, inputs: Inputs) -> None:
        """Sets what `run` must write to NaN, and what it accumulates into back to its starting values."""

    @abstractmethod
    def reference(self, inputs: Inputs, dtype: torch.dtype) -> Expected:
        """Returns the result of `run` after `poison`, in plain torch, computed in `dtype` (float32 or float64)."""

    def call(self, problem: P) -> Call | None:
        """Returns the server's lookup for this problem; None for a kernel that no server loads configs for."""
        return None

    def answers(self, call: Call, config: Config) -> list[tuple[Call, Config]]:
        """Tells which lookups a result for this one answers, and what to write for each; by default itself alone.

        A kernel that does what a server looks up as several ops answers them all.
        """
        return [(call, config)]

    def shards(self, problem: P) -> int:
        """Tells over how many GPUs the server splits the op, if its lookup then has a shard of a size (see
        `autotune.servers.Shards`)."""
        return 1

    def is_read(self, problem: P) -> bool:
        """Tells whether the server reads the entry for batches of the problem's own size."""
        return True

    def serving_note(self, problem: P, grouped: bool) -> str | None:
        """Tells what the server really runs for the problem, and what the result has to do with it; None where that is
        clear.

        Args:
            grouped: The result is one of a group's.
        """
        return None

    def estimate_us(self, problem: P, config: Config, gpu: Gpu) -> float | None:
        """Estimates how long `run` takes, from the launch and the GPU alone, to begin a search with; None if unknown.

        Only how configs compare matters. It is scaled by what is measured, and ignored when it misleads.
        """
        return None

    def origin(self) -> Origin | None:
        """Tells which installed package the code comes from; None for a kernel that is in no server's package.

        Raises:
            InputError: If the package is not installed here, or is of another release than the kernel.
        """
        return None

    def recording(self, problem: P) -> str | None:
        """Returns the name of the recorded space that holds this very problem (`studies/recorded/<name>.csv.gz`), if
        one could."""
        return None

    def problem_of_recording(self, name: str) -> P | None:
        """Returns the problem that a recorded space's name tells, as far as an estimate needs it; None if it is not
        ours."""
        return None


AnyKernel = Kernel[Any, Any]
