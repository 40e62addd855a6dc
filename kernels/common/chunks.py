"""Tokens cut into chunks of one adapter each: the index tensors SGLang's csgmv kernels launch with (contracts B3)."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from autotune.kernels.common.segmentation import Segmentation
from autotune.kernels.common.tiles import cdiv
from autotune.servers.sglang.batch import CsgmvBatch, rank_alignment

_ALIGNMENT = 16
"""The largest that Triton makes use of."""


@dataclass(frozen=True)
class Pool:
    """What the adapter pool holds, slot by slot; a slot of rank 0 stands for the bare base model.

    Attributes:
        ranks: Each adapter's own rank, at most the pool's.
        scalings: Each adapter's factor (alpha / rank).
    """

    ranks: tuple[int, ...]
    scalings: tuple[float, ...]


@dataclass(frozen=True)
class ChunkedBatch(CsgmvBatch):
    """A batch that is built here, and read back adapter by adapter."""

    def by_adapter(self) -> Iterator[tuple[torch.Tensor, int, int]]:
        """Returns every adapter in use, the base model left out: its tokens, its slot and its rank."""
        starts, ranks = self.seg_indptr.tolist(), self.lora_ranks.tolist()
        for slot, group in itertools.groupby(enumerate(self.weight_indices.tolist()), key=operator.itemgetter(1)):
            segments = [segment for segment, _ in group]
            start, end = starts[segments[0]], starts[segments[-1] + 1]
            if start < end and ranks[slot]:
                yield self.permutation[start:end].long(), slot, ranks[slot]

    @classmethod
    def build(
        cls, slots: torch.Tensor, pool: Pool, chunk_size: int, device: str | torch.device, segments: int = 0
    ) -> ChunkedBatch:
        """Cuts the batch whose tokens use these slots, ``[T]`` on the CPU.

        Args:
            segments: Size of the segment buffer, if it is fixed; 0 for just as many as there are.

        Raises:
            ValueError: If the buffer is too small.
        """
        starts, owners = [0], list[int]()
        for slot, count in zip(*(t.tolist() for t in torch.unique(slots, return_counts=True)), strict=True):
            chunks = cdiv(count, chunk_size)
            first = starts[-1]
            starts += [first + min(i * chunk_size, count) for i in range(1, chunks + 1)]
            owners += [slot] * chunks
        if 0 < segments < len(owners):
            raise ValueError(f"the batch has {len(owners)} segments, the buffer holds {segments}")
        empty = max(segments - len(owners), 0)

        def int32(values: torch.Tensor | Sequence[int]) -> torch.Tensor:
            return torch.as_tensor(values, dtype=torch.int32).to(device)

        return cls(
            permutation=int32(slots.argsort(stable=True)),
            seg_indptr=int32(starts + [slots.numel()] * empty),
            weight_indices=int32(owners + [0] * empty),
            lora_ranks=int32(pool.ranks),
            scalings=torch.tensor(pool.scalings, dtype=torch.float32).to(device),
            chunk_size=chunk_size,
            rank_alignment=rank_alignment(pool.ranks),
        )


def alignment(sizes: Sequence[int]) -> int:
    """Returns the largest power of two, up to what Triton makes use of, that divides all sizes."""
    power = _ALIGNMENT
    while any(size % power for size in sizes):
        power //= 2
    return power


def segmentation(x: torch.Tensor, weights: torch.Tensor, batch: CsgmvBatch) -> Segmentation:
    """Returns what the host can tell of a call's batch.

    Args:
        x: ``[T, ...]``.
        weights: ``[slots, ...]``.
    """
    return Segmentation(x.shape[0], batch.segments, batch.chunk_size, weights.shape[0])
