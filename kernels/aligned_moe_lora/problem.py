"""Problems of the experts' kernel in the server's place: they have the block_m that the server aligns to."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.errors import InputError, one_of
from autotune.kernels.fused_moe_lora.problem import BLOCK_MS, MoeProblem
from autotune.servers.vllm import facts


@dataclass(frozen=True)
class AlignedMoeProblem(MoeProblem):
    """One LoRA product over sorted pairs, in blocks of rows that are given.

    Attributes:
        block_m: Rows of a block: what the server takes at this m, whoever's kernel runs.
    """

    block_m: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block_m not in BLOCK_MS:
            raise InputError(f"block_m: got {self.block_m}, allowed: {one_of(BLOCK_MS)}; pass --block-m 64")
        if self.fully_sharded or self.rank > facts.ONE_SHOT_RANKS:
            raise InputError(
                f"aligned_moe_lora: got rank {self.rank}{', fully sharded' if self.fully_sharded else ''}, allowed: "
                f"ranks to {facts.ONE_SHOT_RANKS}, not fully sharded; vLLM's own two kernels run there"
            )
        if self.naive:
            raise InputError(
                f"m: got {self.m}, so few tokens that vLLM does not sort their pairs, and nothing is looked up; "
                "raise --batch-size or lower --num-experts"
            )

    @property
    def label(self) -> str:
        return f"{super().label}-bm{self.block_m}"
