"""Describes problems of one kernel by the values of flags, with what a checkpoint adds to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autotune.errors import InputError
from autotune.plan.expert_counts import count_experts

# What the kernels of experts take where nothing is said.
_NUM_EXPERTS = 8
_TOP_K = 2


@dataclass(frozen=True)
class Problems:
    """The problems of one kernel, or of a group of kernels.

    Attributes:
        kernel: Registry reference of the kernel, or the group's name.
        values: Flag values by name, as `Kernel.problem_from_flags` takes them; absent where not given.
        m_values: Token counts, one problem each; empty to take m from batch size and sequence length.
        path: Which kernels of a group to tune, one of `autotune.contract.groups.paths`; None where not given.
    """

    kernel: str
    values: Mapping[str, Any] = field(default_factory=dict)
    m_values: tuple[int, ...] = ()
    path: str | None = None

    def with_sizes(self, inferred: Mapping[str, int], topk_ids: Path | None = None) -> Problems:
        """Adds sizes that a checkpoint implies where the values do not say otherwise, and recorded routing.

        Args:
            topk_ids: File of recorded expert ids.

        Raises:
            InputError: If that file is malformed, or the number of GPUs does not divide what was inferred.
        """
        values = {**inferred, **self.values, **self._share(inferred)}
        if topk_ids is not None:
            experts, top_k = int(values.get("num_experts", _NUM_EXPERTS)), int(values.get("top_k_num", _TOP_K))
            gpus = int(values.get("tp", 1)) if values.get("ep") else 1
            values["expert_counts"] = count_experts(topk_ids, experts * gpus, top_k)
        return replace(self, values=values)

    def _share(self, inferred: Mapping[str, int]) -> dict[str, int]:
        """Returns what one GPU has of an inferred MoE layer: some experts with --ep, else a part of each expert.

        Values that were given are one GPU's already.
        """
        tp, spread = int(self.values.get("tp", 1)), bool(self.values.get("ep"))
        name = "num_experts" if spread else "moe_intermediate_size"
        if tp == 1 or name in self.values or name not in inferred:
            return {}
        if inferred[name] % tp:
            raise InputError(
                f"--tp: got {tp}, which does not divide the model's {name} {inferred[name]}; pass the server's, or one "
                f"GPU's --{name.replace('_', '-')}"
            )
        # Unsharded ops have no further use for it.
        used = {} if spread or self.values.get("fully_sharded") else {"tp": 1}
        return {name: inferred[name] // tp, **used}
