"""Describes what batches a server will run, and the batch sizes that are worth tuning for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autotune.servers.sglang.facts import DEFAULT_MAX_CHUNK
from autotune.servers.vllm.facts import DEFAULT_MAX_NUM_BATCHED_TOKENS, DEFAULT_MAX_NUM_SEQS


@dataclass(frozen=True)
class Batches:
    """The flags of servers that decide their batches; a server has its own, and leaves the others alone.

    Attributes:
        m_values: Token counts to tune; empty to choose them.
        chunk_sizes: Chunk sizes to tune; empty for those that occur.
        workload: What the kernels are timed on; None for their own choice.
        traffic: Weight of each token count of a batch, if known.
        cudagraph_capture_sizes: Token counts that CUDA graphs are captured for; empty for the server's own choice.
        max_cudagraph_capture_size: The largest of the server's own choice; None for that of the server.
        enforce_eager: No CUDA graph is captured.
        num_speculative_tokens: Tokens that are drafted for each request of a decode step.
    """

    max_num_seqs: int = DEFAULT_MAX_NUM_SEQS
    max_num_batched_tokens: int = DEFAULT_MAX_NUM_BATCHED_TOKENS
    max_lora_chunk_size: int = DEFAULT_MAX_CHUNK
    m_values: tuple[int, ...] = ()
    chunk_sizes: tuple[int, ...] = ()
    workload: str | None = None
    traffic: Mapping[int, float] = field(default_factory=dict)
    cudagraph_capture_sizes: tuple[int, ...] = ()
    max_cudagraph_capture_size: int | None = None
    enforce_eager: bool = False
    num_speculative_tokens: int = 0

    @property
    def decode_tokens(self) -> int:
        """Tokens of each request in a decode step: the new one and those that are drafted."""
        return 1 + self.num_speculative_tokens

    @property
    def most_sampled_rows(self) -> int:
        """The most rows that a step samples from."""
        return self.max_num_seqs * self.decode_tokens


@dataclass(frozen=True)
class BatchSizes:
    """The batch sizes that a server looks up: token counts, or chunk sizes.

    Attributes:
        automatic: Those that files should answer, whatever is tuned.
        shares: Those to tune, each with the share of the traffic that looks it up; 1 where nothing is known.
        raced: Others that servers run batches of: what is best there of what their neighbours run and the default, a
            short race tells.
    """

    automatic: tuple[int, ...]
    shares: Mapping[int, float]
    raced: tuple[int, ...] = ()

    @property
    def answered(self) -> tuple[int, ...]:
        """All of them, ascending."""
        return tuple(sorted({*self.automatic, *self.shares}))
