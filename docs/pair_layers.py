"""The layers on which shrink and expand as a pair (`lora_linear`) are timed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autotune import api
from autotune.kernels.lora_linear.problem import LoraLinearProblem

MS = (1, 4, 16, 32, 64)
ADAPTERS = 4


@dataclass(frozen=True)
class Layer:
    """One linear layer: columns of x, slices of the output, the server's rank."""

    name: str
    k: int
    widths: tuple[int, ...]
    rank: int

    def problem(self, m: int, dtype: str = "bfloat16") -> LoraLinearProblem:
        return LoraLinearProblem(
            dtype,
            m,
            self.k,
            max(self.widths),
            len(self.widths),
            ADAPTERS,
            slice_widths=self.widths,
            lora_rank=self.rank,
        )

    def problems(self, kernel: str) -> api.Problems:
        """Describes the studies of one kernel; a shrink's hidden size is k, an expand's is n."""
        values: dict[str, Any] = {
            "dtype": "bfloat16",
            "hidden_size": max(self.widths) if kernel == "lora_expand" else self.k,
            "lora_rank": self.rank,
            "num_loras": ADAPTERS,
            "num_slices": len(self.widths),
        }
        if kernel != "lora_shrink":
            values["slice_widths"] = self.widths
        return api.Problems(kernel, values, MS)


LAYERS = (
    Layer("qwen3-8b/qkv", 4096, (4096, 1024, 1024), 16),
    Layer("qwen3-8b/o", 4096, (4096,), 16),
    Layer("qwen3-8b/gate_up", 4096, (12288, 12288), 16),
    Layer("qwen3-8b/down", 12288, (4096,), 16),
    Layer("llama-3.1-8b/qkv", 4096, (4096, 1024, 1024), 64),
    Layer("llama-3.1-8b/gate_up", 4096, (14336, 14336), 64),
    Layer("llama-3.1-8b/down", 14336, (4096,), 64),
)
