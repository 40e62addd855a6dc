"""Batches, arguments and references pair by pair, for the tests of the fused MoE LoRA kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from autotune.kernels.fused_moe_lora.blocks import Batch
from autotune.kernels.fused_moe_lora.expand import MoeExpandArguments
from autotune.kernels.fused_moe_lora.one_shot import MoeOneShotArguments
from autotune.kernels.fused_moe_lora.routing import Routing
from autotune.kernels.fused_moe_lora.shrink import MoeShrinkArguments

SHRINK = {"block_m": 16, "block_n": 16, "block_k": 32, "split_k": 1, "group_size_m": 8, "num_warps": 4, "num_stages": 2}
EXPAND = {"block_m": 16, "block_n": 32, "block_k": 16, "group_size_m": 8, "num_warps": 4, "num_stages": 2}


def make_routing(
    topk_ids: Sequence[Sequence[int]], mapping: Sequence[int], enabled: Sequence[int], experts: int, device: str
) -> Routing:
    """Returns a batch with these choices, and random routing weights that do not sum to one."""
    weights = torch.rand(len(topk_ids), len(topk_ids[0]), generator=torch.Generator().manual_seed(7)) + 0.1
    return Routing.build(torch.tensor(topk_ids), weights, torch.tensor(mapping), torch.tensor(enabled), experts).to(
        device
    )


@dataclass(frozen=True)
class Layer:
    """Tensors of one product over a batch: x ``[M, K]`` or ``[M * T, K]``, A and B ``[L, E, ...]``, start of y."""

    batch: Batch
    x: torch.Tensor
    a: list[torch.Tensor]
    b: list[torch.Tensor]
    start: torch.Tensor

    @classmethod
    def random(cls, batch: Batch, slices: int = 2, row_per_token: bool = True) -> Layer:
        k, rank, n = 72, 20, 40
        r = batch.routing
        device = r.topk_ids.device
        generator = torch.Generator(device).manual_seed(3)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float16, device=device)

        m, t = r.topk_ids.shape
        pool = (r.max_loras, r.num_experts)
        return cls(
            batch=batch,
            x=normal(m if row_per_token else m * t, k),
            a=[normal(*pool, rank, k).mul_(k**-0.5) for _ in range(slices)],
            b=[normal(*pool, n, rank).mul_(rank**-0.5) for _ in range(slices)],
            start=normal(m, t, slices * n),
        )

    def shrink(self) -> MoeShrinkArguments:
        m, t = self.batch.routing.topk_ids.shape
        out = self.x.new_full((len(self.a), m, t, self.a[0].shape[2]), torch.nan)
        return MoeShrinkArguments(self.x, self.a, out, self.batch)

    def expand(self, x: torch.Tensor, add_inputs: bool = True, routed: bool = False) -> MoeExpandArguments:
        return MoeExpandArguments(x, self.b, self.start.clone(), self.batch, add_inputs, routed)

    def one_shot(self, add_inputs: bool = True, routed: bool = False) -> MoeOneShotArguments:
        return MoeOneShotArguments(self.x, self.a, self.b, self.start.clone(), self.batch, add_inputs, routed)

    def expected_shrink(self) -> torch.Tensor:
        """Returns ``[S, M, T, R]`` in float64, one pair after the other."""
        out = self.start.new_zeros(len(self.a), *self.batch.routing.topk_ids.shape, self.a[0].shape[2]).double()
        for t, j, lora, expert in live_pairs(self.batch.routing):
            row = t if self.x.shape[0] == out.shape[1] else t * out.shape[2] + j
            for s, a in enumerate(self.a):
                out[s, t, j] = a[lora, expert].double() @ self.x[row].double()
        return out

    def expected(self, x: torch.Tensor, add_inputs: bool = True, routed: bool = False) -> torch.Tensor:
        """Returns ``[M, T, S * N]`` in float64 from shrunk x ``[S, M, T, R]``, one pair after the other."""
        out, routing = self.start.double(), self.batch.routing
        for t, j, lora, expert in live_pairs(routing):
            weight = routing.topk_weights[t, j].double() if routed else 1.0
            products = [weight * (b[lora, expert].double() @ x[s, t, j].double()) for s, b in enumerate(self.b)]
            out[t, j] = torch.cat(products) + (out[t, j] if add_inputs else 0)
        return out


def live_pairs(routing: Routing) -> list[tuple[int, int, int, int]]:
    """Yields token, choice, adapter and expert of every pair whose adapter is there and enabled."""
    enabled, mapping = routing.enabled.tolist(), routing.token_lora_mapping.tolist()
    return [
        (t, j, lora, expert)
        for t, (lora, experts) in enumerate(zip(mapping, routing.topk_ids.tolist(), strict=True))
        for j, expert in enumerate(experts)
        if lora >= 0 and enabled[lora]
    ]
