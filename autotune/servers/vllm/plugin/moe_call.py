"""One call of the server's op for the LoRA of experts, with what it says of its rows."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import torch

from autotune.servers.vllm.plugin.drop_in import address_key
from autotune.servers.vllm.plugin.trailing import with_defaults

_TENSORS: Final = 14
"""Arguments ahead of the tiles (contracts A13)."""

_TILES: Final = 14
"""Seven of the shrink's config, of which block_m is the first, and seven of the expand's (contracts A13)."""

_DEFAULTS: Final = (False, False, 0, True)
"""What the op takes for its last arguments where a call leaves them out (contracts A14)."""


def last(arguments: Sequence[Any]) -> tuple[bool, bool, int, bool]:
    """Returns the op's last arguments: whether it weighs (w2), whether layers are fully sharded, the first column, and
    whether it adds."""
    routed, fully_sharded, offset, add_inputs = with_defaults(arguments[_TENSORS + _TILES :], _DEFAULTS)
    return routed, fully_sharded, offset, add_inputs


@dataclass(frozen=True)
class MoeRows:
    """Which pairs of a token and an expert a block of rows has (contracts A6).

    Attributes:
        sorted_ids: ``[L, W]`` int32; None where pairs are naive.
        expert_ids: ``[L, cdiv(W, block_m)]`` int32; ``[M * T]`` where pairs are naive.
        post_padded: ``[L]`` int32; None where pairs are naive.
        block_m: What the server has aligned to.
    """

    sorted_ids: torch.Tensor | None
    expert_ids: torch.Tensor
    post_padded: torch.Tensor | None
    block_m: int


@dataclass(frozen=True)
class MoeCall:
    """One call of ``fused_moe_lora``, for w13 or w2 (contracts A6, A13).

    Attributes:
        out: ``[M, T, S * N]``.
        x: ``[M, K]`` of w13, ``[M * T, K]`` of w2.
        a: S weights ``[L, E, R, K]``.
        b: S weights ``[L, E, N, R]``.
        topk_weights: ``[M, T]``.
        mapping: ``[M]``, the adapter slot of each token, -1 for none.
        lora_ids: ``[L + 1]``, the slots in use.
        enabled: ``[L + 1]``, 0 for slots without an adapter for the experts.
        groups: How many of the slots in use a launch of sorted pairs has blocks for.
        rank: The rows of A, as the server says.
        routed: Multiply by the routing weights: w2.
        fully_sharded: Between the two products GPUs exchange what they have.
        offset: The first column of `out` that is written.
        add_inputs: Add to `out`, or overwrite it.
    """

    out: torch.Tensor
    x: torch.Tensor
    a: Sequence[torch.Tensor]
    b: Sequence[torch.Tensor]
    topk_weights: torch.Tensor
    rows: MoeRows
    mapping: torch.Tensor
    lora_ids: torch.Tensor
    enabled: torch.Tensor
    groups: int
    rank: int
    routed: bool
    fully_sharded: bool
    offset: int
    add_inputs: bool

    @classmethod
    def of(cls, arguments: Sequence[Any]) -> MoeCall:
        """Takes the op's arguments, in its order."""
        out, x, a, b, topk_weights, sorted_ids, expert_ids, post_padded, mapping, rank = arguments[:10]
        _, lora_ids, active, enabled, block_m = arguments[10 : _TENSORS + 1]
        routed, fully_sharded, offset, add_inputs = last(arguments)
        return cls(
            out=out,
            x=x,
            a=a,
            b=b,
            topk_weights=topk_weights,
            rows=MoeRows(sorted_ids, expert_ids, post_padded, block_m),
            mapping=mapping,
            lora_ids=lora_ids,
            enabled=enabled,
            groups=int(active.item()),
            rank=rank,
            routed=routed,
            fully_sharded=fully_sharded,
            offset=offset,
            add_inputs=add_inputs,
        )

    @property
    def pairs(self) -> int:
        return self.topk_weights.numel()

    @property
    def top_k(self) -> int:
        return self.topk_weights.shape[1]

    @property
    def naive(self) -> bool:
        return self.rows.sorted_ids is None

    @property
    def idle(self) -> bool:
        return self.pairs == 0 or (self.groups == 0 and not self.naive)

    @cached_property
    def weights_key(self) -> Hashable:
        return tuple(map(address_key, (*self.a, *self.b)))

    @property
    def shape_key(self) -> Hashable:
        weights = tuple((each.dtype, each.shape, each.stride()) for each in (*self.a, *self.b))
        return (weights, self.top_k, self.routed, self.add_inputs)

    @property
    def batch_key(self) -> Hashable:
        activations = tuple((each.dtype, each.shape, each.stride()) for each in self._activations)
        way = (self.routed, self.fully_sharded, self.offset, self.add_inputs)
        return (activations, self.rows.block_m, self.groups, self.rank, way, self.x.device)

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (*self._activations, *self.a, *self.b)

    @property
    def _activations(self) -> tuple[torch.Tensor, ...]:
        rows = (self.rows.sorted_ids, self.rows.expert_ids, self.rows.post_padded)
        indices = (each for each in rows if each is not None)
        return (self.out, self.x, self.topk_weights, *indices, self.mapping, self.lora_ids, self.enabled)

    def on_meta(self, m: int, block_m: int | None) -> MoeCall:
        """Returns the same call for m tokens, without memory: to compile it.

        Args:
            block_m: What pairs are aligned to; None for naive ones.
        """
        top_k = self.top_k
        x_rows = m * top_k if self.routed else m
        return replace(
            self,
            out=self.out.new_empty(m, *self.out.shape[1:], device="meta"),
            x=self.x.new_empty(x_rows, self.x.shape[1], device="meta"),
            a=[each.to("meta") for each in self.a],
            b=[each.to("meta") for each in self.b],
            topk_weights=self.topk_weights.new_empty(m, top_k, device="meta"),
            rows=_rows_on_meta(m * top_k, self.a[0].shape, block_m),
            mapping=self.mapping.new_empty(m, device="meta"),
            lora_ids=self.lora_ids.to("meta"),
            enabled=self.enabled.to("meta"),
            groups=self.groups or self.lora_ids.numel(),  # a call that nobody uses may have none
        )


def _rows_on_meta(pairs: int, a: torch.Size, block_m: int | None) -> MoeRows:
    """Returns rows without memory; as wide as sorted ones are, but for what expert parallelism adds."""
    if block_m is None:
        return MoeRows(None, torch.empty(pairs, dtype=torch.int32, device="meta"), None, 0)
    loras, experts = a[:2]
    width = pairs * block_m if pairs < experts else pairs + experts * (block_m - 1)
    shapes = ((loras, width), (loras, -(-width // block_m)), (loras,))
    sorted_ids, expert_ids, post_padded = (torch.empty(each, dtype=torch.int32, device="meta") for each in shapes)
    return MoeRows(sorted_ids, expert_ids, post_padded, block_m)
