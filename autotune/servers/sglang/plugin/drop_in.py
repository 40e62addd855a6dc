"""Defines what a kernel of ours signs to stand in for one of the server's csgmv ops."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch

from autotune.contract import Call, Config, Launch
from autotune.servers.sglang import facts, workloads
from autotune.servers.sglang.batch import CsgmvBatch

A = TypeVar("A")

_TYPES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class CsgmvCall:
    """One call of shrink or expand, as the backend makes it (contracts B3).

    Attributes:
        x: ``[T, K]`` of shrink, ``[T, S * R]`` of expand.
        weights: ``[slots, S * R, K]`` of shrink, ``[slots, N, R]`` of expand.
        batch: Which tokens use which adapter.
        num_slices: S.
        widths: Of expand: columns of each slice.
        base: Of expand: what is added to, if there is anything.
        check_ranks: The ranks are on the GPU alone, or a graph is captured, which is replayed with others.
    """

    x: torch.Tensor
    weights: torch.Tensor
    batch: CsgmvBatch
    num_slices: int
    widths: tuple[int, ...] = ()
    base: torch.Tensor | None = None
    check_ranks: bool = False

    @property
    def is_decode(self) -> bool:
        """Whether the batch is taken for one of decode."""
        return workloads.is_decode(self.x.shape[0], self.check_ranks)

    @property
    def workload(self) -> str | None:
        """The kind of the batch, ``prefill`` or ``decode``: a config that was timed on the other kind alone does not
        stand above the default. None where any does."""
        return workloads.of_batch(self.x.shape[0], self.check_ranks)

    @property
    def outside(self) -> str:
        """Tells what is outside the limits that both of our kernels are proven in; empty if nothing is."""
        if self.x.dtype not in _TYPES or self.weights.dtype != self.x.dtype:
            return f"x is {self.x.dtype}, weights are {self.weights.dtype}"
        if self.batch.chunk_size not in facts.CHUNK_SIZES:
            return f"chunks have {self.batch.chunk_size} tokens"
        if not (self.x.ndim == 2 and self.x.is_contiguous() and self.weights.is_contiguous()):
            return "x or weights are not contiguous"
        return ""

    @property
    def shape_key(self) -> Hashable:
        """Tells all that launches depend on, except the batch."""
        row = None if self.base is None else self.base.stride(0)
        return (self.x.dtype, self.weights.shape, self.num_slices, self.widths, row)

    @property
    def batch_key(self) -> Hashable:
        """Tells what else launches depend on, except where tensors lie."""
        batch, base = self.batch, self.base
        known = (batch.chunk_size, batch.rank_alignment, self.check_ranks)
        indices = tuple((each.dtype, each.shape) for each in self._indices)
        into = None if base is None else (base.dtype, base.shape, base.stride())
        activations = (self.x.shape, self.x.stride(), self.weights.dtype, self.weights.stride(), into, self.x.device)
        return (known, indices, activations)

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Lists what launches read."""
        return (self.x, self.weights, *self._indices)

    @property
    def _indices(self) -> tuple[torch.Tensor, ...]:
        b = self.batch
        return (b.permutation, b.seg_indptr, b.weight_indices, b.lora_ranks, b.scalings)

    def on_meta(self, tokens: int, segments: int, chunk_size: int, check_ranks: bool) -> CsgmvCall:
        """Returns the same call for another batch, without memory: to compile it."""
        base = self.base
        if base is not None:
            columns, row = base.shape[1], base.stride(0)
            base = torch.empty(tokens, row, dtype=base.dtype, device="meta")[:, :columns]
        return replace(
            self,
            x=torch.empty(tokens, self.x.shape[1], dtype=self.x.dtype, device="meta"),
            weights=self.weights.to("meta"),
            batch=self.batch.on_meta(segments, chunk_size),
            base=base,
            check_ranks=check_ranks,
        )


class CsgmvDropIn(ABC, Generic[A]):
    """One of our kernels in the place of one of the server's csgmv ops."""

    name: str
    """Our kernel's name."""

    @abstractmethod
    def outside(self, call: CsgmvCall) -> str:
        """Tells what of a call is outside the limits that our kernel is proven in; empty if nothing is."""

    @abstractmethod
    def output(self, call: CsgmvCall) -> torch.Tensor:
        """Returns what a call writes into; makes it where the server's op does."""

    def workspace(self, call: CsgmvCall) -> tuple[torch.Tensor, ...]:
        """Takes what memory launches need besides what the call brings."""
        return ()

    @abstractmethod
    def arguments(self, call: CsgmvCall, out: torch.Tensor, workspace: Sequence[torch.Tensor] = ()) -> A:
        """Returns the arguments of our launcher."""

    @abstractmethod
    def lookup(self, call: CsgmvCall) -> Call:
        """Returns what is looked up for a call."""

    @abstractmethod
    def default_config(self, call: CsgmvCall) -> Config:
        """Returns what runs where no tuned config is found: chosen for our kernel, by the shape."""

    @abstractmethod
    def launches(self, arguments: A, config: Config) -> list[Launch]:
        """Returns the launches that do a call's work."""
