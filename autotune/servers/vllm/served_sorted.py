"""Values of pairs in the order of the sorted pairs, as vLLM's two kernels pass them on where they use descriptors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from autotune.servers.vllm.served_moe import Rows, Tokens


@dataclass
class SortedRows:
    """One buffer for all block_m, of which each takes its part.

    Attributes:
        values: Room for ``[S, L, W, R]`` of the widest.
        by_pairs: ``[S, M, T, R]``, the shape of the same values in the order of the pairs.
        rows: By block_m, the sorted ids ``[L, W]``; a pair's number is its row.
        ordered: The block_m in whose order the values are; None before `order`.
    """

    values: torch.Tensor
    by_pairs: torch.Size
    rows: Mapping[int, Rows]
    ordered: int | None = None

    @classmethod
    def of(cls, pairs: torch.Tensor, tokens: Tokens) -> SortedRows:
        """Makes room for these values, with random ones in it: the time of a product can depend on its values."""
        widest = max(_ids(rows).numel() for rows in tokens.rows.values())
        values = torch.empty(pairs.shape[0] * widest * pairs.shape[-1], dtype=pairs.dtype, device=pairs.device)
        return cls(values if pairs.is_meta else values.normal_(), pairs.shape, tokens.rows)

    def view(self, block_m: int) -> torch.Tensor:
        """Returns the part for a block_m, ``[S, L, W, R]``."""
        shape = (self.by_pairs[0], *_ids(self.rows[block_m]).shape, self.by_pairs[-1])
        return self.values[: torch.Size(shape).numel()].view(shape)

    def order(self, block_m: int, pairs: torch.Tensor) -> None:
        """Puts values ``[S, M, T, R]`` in the order of a block_m.

        Not while a graph is captured, which times what lies in it: only where results are compared do values matter.
        """
        if pairs.is_meta or block_m == self.ordered or _capturing(pairs.device):
            return
        ids = _ids(self.rows[block_m]).long()
        flat = pairs.flatten(1, 2)
        found = flat[:, ids.clamp(max=flat.shape[1] - 1)]
        self.view(block_m).copy_(torch.where((ids < flat.shape[1])[None, :, :, None], found, 0))
        self.ordered = block_m

    def by_pair(self, block_m: int) -> torch.Tensor:
        """Returns the values in the order of the pairs, 0 for pairs that are not there."""
        ids, (slices, tokens, top_k, rank) = _ids(self.rows[block_m]).long(), self.by_pairs
        pairs = tokens * top_k
        found = torch.zeros(slices, pairs + 1, rank, dtype=self.values.dtype, device=self.values.device)
        found[:, ids.flatten().clamp(max=pairs)] = self.view(block_m).flatten(1, 2)
        return found[:, :pairs].view(self.by_pairs)


def _ids(rows: Rows) -> torch.Tensor:
    assert rows.sorted_ids is not None
    return rows.sorted_ids


def _capturing(device: Any) -> bool:
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()
