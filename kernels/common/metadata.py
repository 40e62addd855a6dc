"""Which token uses which adapter: the index tensors vLLM's dense ops launch with (contracts A4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from autotune.kernels.common.problem import LoraProblem
from autotune.kernels.common.zipf import zipf_split


@dataclass(frozen=True)
class LoraMetadata:
    """Tokens grouped by adapter; L is max_loras. All tensors are int32 on the device.

    Attributes:
        token_lora_mapping: ``[M]``, each token's adapter slot, -1 for none.
        token_indices_sorted_by_lora_ids: ``[M]``, stable argsort of the mapping.
        num_tokens_per_lora: ``[L + 1]``, group sizes, in the order of `lora_ids`.
        lora_token_start_loc: ``[L + 2]``, where each group starts among the sorted tokens.
        lora_ids: ``[L + 1]``, ascending, -1 first if there are base tokens, the tail filled with -1.
        no_lora: No token uses an adapter: the ops return at once, leaving their outputs as they are.
        launched_groups: How many of the groups, from the first on, a launch has blocks for; None for all of them.
    """

    token_lora_mapping: torch.Tensor
    token_indices_sorted_by_lora_ids: torch.Tensor
    num_tokens_per_lora: torch.Tensor
    lora_token_start_loc: torch.Tensor
    lora_ids: torch.Tensor
    no_lora: bool = False
    launched_groups: int | None = None

    @property
    def groups(self) -> int:
        """Groups that a launch has blocks for."""
        return self.lora_ids.numel() if self.launched_groups is None else self.launched_groups

    @property
    def launched_with(self) -> tuple[torch.Tensor, ...]:
        """What a launch reads to find each adapter's rows, in the order of the kernels' arguments."""
        return (
            self.token_indices_sorted_by_lora_ids,
            self.num_tokens_per_lora,
            self.lora_token_start_loc,
            self.lora_ids,
        )

    @classmethod
    def build(cls, mapping: torch.Tensor, max_loras: int, device: str | torch.device) -> LoraMetadata:
        """Groups the tokens of a mapping ``[M]`` that lies on the CPU; the result lies on `device`."""
        ids, counts = torch.unique(mapping, sorted=True, return_counts=True)
        groups = ids.numel()
        lora_ids = torch.full((max_loras + 1,), -1)
        lora_ids[:groups] = ids
        tokens = torch.zeros(max_loras + 1, dtype=torch.int64)
        tokens[:groups] = counts
        start = torch.zeros(max_loras + 2, dtype=torch.int64)
        start[1 : groups + 1] = counts.cumsum(0)
        order = torch.argsort(mapping, stable=True)
        no_lora = not bool((mapping >= 0).any())

        def int32(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(device, torch.int32)

        return cls(int32(mapping), int32(order), int32(tokens), int32(start), int32(lora_ids), no_lora)


def random_metadata(problem: LoraProblem, device: str, seed: int) -> LoraMetadata:
    """Makes random tokens of a problem: adapters as in `random_mapping`."""
    generator = torch.Generator().manual_seed(seed)
    mapping = random_mapping(problem.m, problem.base_tokens, problem.active_loras, problem.max_loras, generator)
    if problem.sort_by_lora_id:
        mapping = mapping.sort().values
    return LoraMetadata.build(mapping, problem.max_loras, device)


def random_mapping(m: int, base: int, adapters: int, max_loras: int, generator: torch.Generator) -> torch.Tensor:
    """Returns the adapter slots of m tokens, ``[m]`` on the CPU in random order; `base` tokens have none (-1).

    Ragged: popularity falls as 1/rank (Zipf), as requests to a multi-adapter server do; every adapter is used as long
    as the tokens last.
    """
    slots = torch.randperm(max_loras, generator=generator)[: min(adapters, m - base)]
    tokens = zipf_split(m - base, slots.numel())
    mapping = torch.cat([torch.full((base,), -1), slots.repeat_interleave(torch.tensor(tokens))])
    return mapping[torch.randperm(m, generator=generator)]
