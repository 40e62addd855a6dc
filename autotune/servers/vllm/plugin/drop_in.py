"""What a kernel of ours signs to stand in for one of the server's dense ops."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Generic, TypeVar

import torch

from autotune.contract import Call, Config, Launch

A = TypeVar("A")


@dataclass(frozen=True)
class DenseCall:
    """One call of ``lora_shrink`` or ``lora_expand``, as the server makes it (contracts A4).

    Attributes:
        x: ``[M, K]`` of shrink, ``[S, M, R]`` of expand.
        weights: S of them, ``[L, 1, N, K]``.
        out: ``[S, M, R]`` fp32 of shrink, ``[M, N]`` of expand.
        metadata: Seven tensors in the op's order; the last two, the flag that no token has an adapter and the number of
            groups to launch for, lie on the CPU.
        extra: The op's further arguments, all of them: shrink's scaling; expand's first column, and whether it adds.
    """

    x: torch.Tensor
    weights: Sequence[torch.Tensor]
    out: torch.Tensor
    metadata: Sequence[torch.Tensor]
    extra: tuple[Any, ...]

    @property
    def no_lora(self) -> bool:
        return bool(self.metadata[5].item())

    @property
    def groups(self) -> int:
        return int(self.metadata[6].item())

    @cached_property
    def weights_key(self) -> Hashable:
        """Tells the weights' addresses and shapes, all that a table of addresses is made of."""
        return (self.extra, *((weight.data_ptr(), *weight.shape) for weight in self.weights))

    @property
    def shape_key(self) -> Hashable:
        """Tells all that launches depend on, except the number of tokens and the weights' addresses."""
        shapes = tuple((each.dtype, *each.shape) for each in self.weights)
        return (self.x.dtype, self.extra, self.metadata[4].numel(), shapes)

    def on_meta(self, m: int) -> DenseCall:
        """Returns the same call for m tokens, without memory: to compile it."""
        return replace(
            self,
            x=_resized(self.x, m),
            weights=[weight.to("meta") for weight in self.weights],
            out=_resized(self.out, m),
            metadata=[each.to("meta") if each.is_cuda else each for each in self.metadata],
        )


class DenseDropIn(ABC, Generic[A]):
    """One of our kernels in the place of one of the server's dense ops."""

    name: str
    """The op's name, which is our kernel's as well."""
    op: str
    """The op's name in lookups."""
    extra_defaults: tuple[Any, ...]
    """What the op's further arguments are where a call leaves them out."""

    @abstractmethod
    def outside(self, call: DenseCall) -> str:
        """Tells what of a call is outside the limits that our kernel is proven in; empty if nothing is, or if it is
        the weights."""

    @abstractmethod
    def outside_of_weights(self, call: DenseCall) -> str:
        """Does the same for the call's weights, which are the same in the next call of their layer."""

    @abstractmethod
    def table(self, call: DenseCall) -> torch.Tensor | None:
        """Uploads the table of addresses that the call's weights need, if they need one."""

    @abstractmethod
    def arguments(self, call: DenseCall, table: torch.Tensor | None) -> A:
        """Returns the arguments of our launcher."""

    @abstractmethod
    def lookup(self, arguments: A) -> Call:
        """Returns what is looked up for a call."""

    @abstractmethod
    def default_config(self, call: Call) -> Config:
        """Returns what runs where no tuned config is found: chosen for our kernel, by the shape."""

    @abstractmethod
    def launches(self, arguments: A, config: Config) -> list[Launch]:
        """Returns the launches that do a call's work."""

    @abstractmethod
    def run(self, arguments: A, config: Config) -> None:
        """Does a call's work."""


def _resized(tensor: torch.Tensor, m: int) -> torch.Tensor:
    """Returns a tensor like this one for m tokens, which are its rows, on torch's ``meta`` device."""
    return torch.empty(*tensor.shape[:-2], m, tensor.shape[-1], dtype=tensor.dtype, device="meta")
