"""Defines the launches of a kernel, and the result that a correct one has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autotune.contract.config import Config

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Launch:
    """One Triton launch, ``fn[grid](*args, **options)``: run on the GPU, or compiled ahead without one."""

    fn: Any
    grid: tuple[int, ...]
    args: Sequence[Any]
    options: Mapping[str, Any] = field(default_factory=dict)

    def run(self) -> Any:
        """Launches; returns Triton's compiled kernel, None in its interpreter."""
        return self.fn[self.grid](*self.args, **self.options)

    def warmup(self) -> Any:
        """Compiles without launching; returns Triton's compiled kernel."""
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
        """Returns the largest difference of a correct kernel with this config."""
        return self.max_error if self.further_error is None else self.max_error + self.further_error(config)
