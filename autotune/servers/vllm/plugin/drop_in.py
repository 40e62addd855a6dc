"""Defines what a kernel of ours signs to stand in for one of the server's ops."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

import torch

from autotune.contract import Call, Config, Launch
from autotune.servers.vllm.plugin import metadata
from autotune.servers.vllm.plugin.trailing import with_defaults


class OpCall(Protocol):
    """One call of an op, as the server makes it."""

    @property
    def x(self) -> torch.Tensor: ...

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        ...

    @property
    def weights_key(self) -> Hashable:
        """Tells all of the weights that a table of addresses and the limits of our kernel depend on: other weights may
        come to lie where these were."""
        ...

    @property
    def shape_key(self) -> Hashable:
        """Tells all that launches depend on, except the number of tokens and the weights' addresses."""
        ...

    @property
    def batch_key(self) -> Hashable:
        """Tells all that launches depend on, except where tensors lie, and what is of the weights alone: the same
        weights may be called in another way."""
        ...

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Lists all tensors on the device."""
        ...


C = TypeVar("C", bound=OpCall)
A = TypeVar("A")


class DropIn(ABC, Generic[C, A]):
    """One of our kernels in the place of one of the server's ops."""

    name: str
    """The op's name."""
    required: tuple[str, ...] = ()
    """What a tuned config must hold."""

    @abstractmethod
    def call(self, arguments: Sequence[Any]) -> C:
        """Takes the op's arguments, in its order; those at the end that equal their defaults may be missing."""

    def leaves(self, call: C) -> bool:
        """Tells whether a call is the server's by design, of which nothing is logged."""
        return False

    @abstractmethod
    def outside(self, call: C) -> str:
        """Tells what of a call is outside the limits that our kernel is proven in; empty if nothing is, or if it is
        the weights."""

    @abstractmethod
    def outside_of_weights(self, call: C) -> str:
        """Does the same for the call's weights, which are the same in the next call of their layer."""

    @abstractmethod
    def table(self, call: C) -> Any:
        """Uploads the tables of addresses that the call's weights need, if they need any."""

    @abstractmethod
    def arguments(self, call: C, table: Any) -> A:
        """Returns the arguments of our launcher."""

    @abstractmethod
    def lookup(self, arguments: A) -> Call | None:
        """Returns what is looked up for a call; None where no file has a say."""

    def fitted(self, arguments: A, config: Config) -> Config | None:
        """Returns a tuned config as a call can launch it; None where it cannot."""
        return config

    @abstractmethod
    def default_config(self, arguments: A) -> Config:
        """Returns what our kernel runs with where no tuned config is found: chosen by the shape."""

    def without_entry(self, arguments: A) -> str:
        """Tells why a call for which no tuned config is found is the server's; empty where our default runs."""
        return ""

    @abstractmethod
    def to_compile(self, call: C, m: int) -> Iterable[C]:
        """Yields the calls of m tokens that may come after a call, without memory: to compile them."""

    @abstractmethod
    def launches(self, arguments: A, config: Config) -> list[Launch]:
        """Returns the launches that do a call's work."""


@dataclass(frozen=True)
class DenseCall:
    """One call of ``lora_shrink`` or ``lora_expand``, as the server makes it (contracts A4).

    Attributes:
        x: ``[M, K]`` of shrink, ``[S, M, R]`` of expand.
        weights: S of them, ``[L, 1, N, K]``.
        out: ``[S, M, R]`` fp32 of shrink, ``[M, N]`` of expand.
        metadata: Seven tensors in the op's order (`autotune.servers.vllm.plugin.metadata`).
        extra: The op's further arguments, all of them: shrink's scaling; expand's first column, and whether it adds.
    """

    x: torch.Tensor
    weights: Sequence[torch.Tensor]
    out: torch.Tensor
    metadata: Sequence[torch.Tensor]
    extra: tuple[Any, ...]

    @property
    def no_lora(self) -> bool:
        return bool(self.metadata[metadata.NO_LORA].item())

    @property
    def idle(self) -> bool:
        return self.no_lora or self.x.shape[-2] == 0

    @property
    def groups(self) -> int:
        return int(self.metadata[metadata.GROUPS].item())

    @cached_property
    def weights_key(self) -> Hashable:
        return (self.extra, *map(address_key, self.weights))

    @property
    def shape_key(self) -> Hashable:
        shapes = tuple((each.dtype, *each.shape) for each in self.weights)
        return (self.x.dtype, self.extra, self.most_groups, shapes)

    @property
    def batch_key(self) -> Hashable:
        return batch_key(self.x, self.out, self.metadata)

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.x, self.out, *self.metadata[: metadata.NO_LORA], *self.weights)

    @property
    def most_groups(self) -> int:
        """How many a launch has at most: a group for each adapter, and one without."""
        return self.metadata[metadata.LORA_IDS].numel()

    def on_meta(self, m: int, groups: int | None = None) -> DenseCall:
        """Returns the same call for m tokens, without memory: to compile it.

        Args:
            groups: How many it has; None for the most, for this call may have none in use.
        """
        tokens = [each.to("meta") if each.is_cuda else each for each in self.metadata]
        tokens[metadata.GROUPS] = torch.tensor([self.most_groups if groups is None else groups], dtype=torch.int32)
        return replace(
            self,
            x=_resized(self.x, m),
            weights=[weight.to("meta") for weight in self.weights],
            out=_resized(self.out, m),
            metadata=tokens,
        )


class DenseDropIn(DropIn[DenseCall, A]):
    """One of our kernels in the place of one of the server's dense ops."""

    op: str
    """The op's name in lookups."""
    extra_defaults: tuple[Any, ...]
    """What the op's further arguments are where a call leaves them out."""

    def call(self, arguments: Sequence[Any]) -> DenseCall:
        x, weights, out, *rest = arguments
        extra = with_defaults(rest[metadata.COUNT :], self.extra_defaults)
        return DenseCall(x, weights, out, rest[: metadata.COUNT], extra)

    @abstractmethod
    def lookup(self, arguments: A) -> Call: ...

    def to_compile(self, call: DenseCall, m: int) -> list[DenseCall]:
        """Returns the call with the most groups and, where their number follows the adapters in use
        (``--specialize-active-lora``), the one with the fewest: between them kernels have no further variants."""
        follows = call.groups != call.most_groups
        return [call.on_meta(m), *([call.on_meta(m, groups=1)] if follows else [])]


def batch_key(x: torch.Tensor, out: torch.Tensor, tokens: Sequence[torch.Tensor]) -> Hashable:
    """Tells all that dense launches depend on, except where tensors lie, and what is of the weights alone.

    Args:
        tokens: The metadata's tensors.
    """
    indices = tuple((each.dtype, each.shape) for each in tokens[: metadata.NO_LORA])
    activations = (x.dtype, x.shape, x.stride(), out.dtype, out.shape, out.stride(), x.device)
    return (activations, indices, int(tokens[metadata.GROUPS].item()))


def address_key(weight: torch.Tensor) -> Hashable:
    """Tells where a weight lies, and how."""
    return (weight.data_ptr(), weight.dtype, weight.shape, weight.stride())


def _resized(tensor: torch.Tensor, m: int) -> torch.Tensor:
    """Returns a tensor like this one for m tokens, which are its rows, on torch's ``meta`` device."""
    return torch.empty(*tensor.shape[:-2], m, tensor.shape[-1], dtype=tensor.dtype, device="meta")
