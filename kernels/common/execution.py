"""The half of a kernel that needs torch and Triton, apart from the half that declares it.

What a plan, a new study or a space asks of a kernel is its declaration, ``kernel.py``, which loads in a moment; torch
takes seconds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from autotune.contract import Config, Expected, Kernel, Launch, Problem

if TYPE_CHECKING:
    import torch

P = TypeVar("P", bound=Problem)
Inputs = TypeVar("Inputs")


class Execution(ABC, Generic[P, Inputs]):
    """Makes a kernel's inputs and runs it; the methods are those of `autotune.contract.Kernel`."""

    @abstractmethod
    def make_inputs(self, problem: P, device: str, seed: int) -> Inputs: ...

    @abstractmethod
    def launches(self, inputs: Inputs, config: Config) -> list[Launch]: ...

    @abstractmethod
    def run(self, inputs: Inputs, config: Config) -> torch.Tensor: ...

    @abstractmethod
    def poison(self, inputs: Inputs) -> None: ...

    @abstractmethod
    def reference(self, inputs: Inputs, dtype: torch.dtype) -> Expected: ...


class DeclaredKernel(Kernel[P, Any], Generic[P]):
    """A kernel whose declaration loads without torch, and knows nothing of its inputs."""

    @property
    @abstractmethod
    def execution(self) -> Execution[P, Any]:
        """Loads what runs the kernel."""

    def load_code(self) -> None:
        _ = self.execution

    def make_inputs(self, problem: P, device: str, seed: int) -> Any:
        return self.execution.make_inputs(problem, device, seed)

    def launches(self, inputs: Any, config: Config) -> list[Launch]:
        return self.execution.launches(inputs, config)

    def run(self, inputs: Any, config: Config) -> torch.Tensor:
        return self.execution.run(inputs, config)

    def poison(self, inputs: Any) -> None:
        self.execution.poison(inputs)

    def reference(self, inputs: Any, dtype: torch.dtype) -> Expected:
        return self.execution.reference(inputs, dtype)
