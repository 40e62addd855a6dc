"""Which token uses which adapter and which experts, and random batches of them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from autotune.kernels.common.metadata import LoraMetadata, random_mapping
from autotune.kernels.fused_moe_lora.problem import MoeProblem


@dataclass(frozen=True)
class Routing:
    """The choices of M tokens. A pair is a token and one of its T experts; pair ``t * T + j`` is token t's j-th.

    Attributes:
        topk_ids: ``[M, T]`` int32, distinct in each row; from E on those of other GPUs.
        topk_weights: ``[M, T]`` fp32, the routing weights.
        token_lora_mapping: ``[M]`` int32, each token's adapter slot, -1 for none.
        lora_ids: ``[L + 1]`` int32, the slots in use, ascending, -1 first if there are base tokens, the tail -1.
        enabled: ``[L]`` int32, 0 for a slot whose adapter must contribute nothing.
        num_experts: E, of this GPU.
        ep: GPUs that the experts are spread over, E on each.
    """

    topk_ids: torch.Tensor
    topk_weights: torch.Tensor
    token_lora_mapping: torch.Tensor
    lora_ids: torch.Tensor
    enabled: torch.Tensor
    num_experts: int
    ep: int = 1

    @property
    def top_k(self) -> int:
        return self.topk_ids.shape[1]

    @property
    def pairs(self) -> int:
        return self.topk_ids.numel()

    @property
    def max_loras(self) -> int:
        return self.enabled.numel()

    @property
    def all_experts(self) -> int:
        """Experts of all GPUs, for any of which an alignment has room."""
        return self.num_experts * self.ep

    def groups(self) -> torch.Tensor:
        """Returns ``adapter * E + expert`` of every pair, ``L * E`` where nothing is to be done: ``[M * T]`` int64."""
        lora = self.token_lora_mapping.long()[:, None].expand_as(self.topk_ids)
        live = (lora >= 0) & (self.enabled[lora.clamp(min=0)] != 0) & (self.topk_ids < self.num_experts)
        group = lora * self.num_experts + self.topk_ids
        return torch.where(live, group, self.max_loras * self.num_experts).reshape(-1)

    def by_group(self) -> Iterator[tuple[torch.Tensor, int, int]]:
        """Yields every group with rows: its pairs, adapter and expert. Reads back from the device."""
        group, pairs = self.groups().sort(stable=True)
        values, counts = torch.unique_consecutive(group, return_counts=True)
        for value, rows in zip(values.tolist(), torch.split(pairs, counts.tolist()), strict=True):
            if value < self.max_loras * self.num_experts:
                yield rows, *divmod(value, self.num_experts)

    @classmethod
    def build(
        cls,
        topk_ids: torch.Tensor,
        topk_weights: torch.Tensor,
        mapping: torch.Tensor,
        enabled: torch.Tensor,
        experts: int,
        ep: int = 1,
    ) -> Routing:
        """Builds a routing from tensors on the CPU, which stay there."""
        lora_ids = LoraMetadata.build(mapping.long(), enabled.numel(), "cpu").lora_ids
        return cls(topk_ids.int(), topk_weights.float(), mapping.int(), lora_ids, enabled.int(), experts, ep)

    def to(self, device: str | torch.device) -> Routing:
        return replace(
            self,
            topk_ids=self.topk_ids.to(device),
            topk_weights=self.topk_weights.to(device),
            token_lora_mapping=self.token_lora_mapping.to(device),
            lora_ids=self.lora_ids.to(device),
            enabled=self.enabled.to(device),
        )


def random_routing(problem: MoeProblem, seed: int) -> Routing:
    """Makes random tokens of a problem, on the CPU: skewed adapters, experts by their popularity, weights that sum to
    one."""
    p = problem
    generator = torch.Generator().manual_seed(seed)
    mapping = random_mapping(p.m, p.base_tokens, p.active_loras, p.max_loras, generator)
    popularity = torch.tensor(p.popularity)
    if not p.expert_counts:
        popularity = popularity[torch.randperm(p.all_experts, generator=generator)]
    # The smallest of exponential variables of these rates: a draw of top_k experts one by one, without replacement.
    arrival = torch.empty(p.m, p.all_experts).exponential_(generator=generator) / popularity
    chosen = arrival.topk(p.top_k, largest=False).indices
    return Routing.build(
        # This GPU's experts are numbered from 0, the others' after them.
        topk_ids=(chosen - p.first_expert) % p.all_experts,
        topk_weights=torch.randn(p.m, p.top_k, generator=generator).softmax(dim=1),
        mapping=mapping,
        enabled=torch.ones(p.max_loras),
        experts=p.num_experts,
        ep=p.ep,
    )


@dataclass(frozen=True)
class RoutedWork:
    """What there is to do for this GPU in the batch of seed 0.

    Attributes:
        groups: Distinct (adapter, expert) pairs with rows.
        pairs: Pairs of a token with an adapter and one of this GPU's experts.
        tokens: Tokens of these pairs.
    """

    groups: int
    pairs: int
    tokens: int


@functools.lru_cache(maxsize=64)
def work(problem: MoeProblem) -> RoutedWork:
    """Counts the work that is done, since a floor must not be above what a batch takes."""
    group = random_routing(problem, 0).groups().view(problem.m, problem.top_k)
    live = group < problem.max_loras * problem.num_experts
    return RoutedWork(torch.unique(group[live]).numel(), int(live.sum()), int(live.any(dim=1).sum()))
