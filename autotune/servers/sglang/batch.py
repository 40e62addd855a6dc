"""Describes a batch as SGLang's csgmv backend hands it to its kernels, and as ours take it (contracts B3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    import torch

_WIDE: Final = 8
"""Elements of the widest access: a rank that it divides is as good as any."""


@dataclass(frozen=True)
class CsgmvBatch:
    """A batch of T tokens, sorted by adapter slot and cut into G segments of at most `chunk_size` tokens.

    Segments of one slot are neighbours. Under CUDA graphs G is the size of the whole buffer: the tail is empty.

    Attributes:
        permutation: ``[T]`` int32, or longer under a graph: stable argsort of the tokens' slots.
        seg_indptr: ``[G + 1]`` int32, where each segment starts among the sorted tokens.
        weight_indices: ``[G]`` int32, each segment's slot; unused where the segment is empty.
        lora_ranks: ``[slots]`` int32.
        scalings: ``[slots]`` fp32.
        chunk_size: BLOCK_M of both kernels.
        rank_alignment: A power of two that divides every rank, if the host knows them: what makes wide accesses safe.
            Else (`check_ranks` of a call) one that the kernels must not rely on.
    """

    permutation: torch.Tensor
    seg_indptr: torch.Tensor
    weight_indices: torch.Tensor
    lora_ranks: torch.Tensor
    scalings: torch.Tensor
    chunk_size: int
    rank_alignment: int

    @classmethod
    def of(cls, info: Any, ranks: tuple[int, ...] | None) -> Self:
        """Reads the server's ``LoRABatchInfo``.

        Args:
            ranks: The adapters' ranks, if the host knows those of every batch that the launch is for.
        """
        return cls(
            permutation=info.permutation,
            seg_indptr=info.seg_indptr,
            weight_indices=info.weight_indices,
            lora_ranks=info.lora_ranks,
            scalings=info.scalings,
            chunk_size=info.max_len,
            rank_alignment=rank_alignment(ranks),
        )

    @property
    def segments(self) -> int:
        return self.weight_indices.numel()

    def on_meta(self, segments: int, chunk_size: int) -> Self:
        """Returns a batch of this kind without memory: to compile for it."""
        return replace(
            self,
            permutation=self.permutation.to("meta"),
            seg_indptr=self.seg_indptr.new_empty(segments + 1, device="meta"),
            weight_indices=self.weight_indices.new_empty(segments, device="meta"),
            lora_ranks=self.lora_ranks.to("meta"),
            scalings=self.scalings.to("meta"),
            chunk_size=chunk_size,
        )


def rank_alignment(ranks: Sequence[int] | None) -> int:
    """Returns what launches take for a power of two that divides every rank.

    Args:
        ranks: None where the host does not know them: then the kernels look.
    """
    return _WIDE if ranks is None or not any(rank % _WIDE for rank in ranks) else 1
