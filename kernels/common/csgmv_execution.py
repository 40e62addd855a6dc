"""What the two csgmv kernels have in common when they run: random batches, and what their outputs hold before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import torch

from autotune.kernels.common.chunks import ChunkedBatch, Pool
from autotune.kernels.common.csgmv import GRAPH_BATCH, CsgmvProblem
from autotune.kernels.common.execution import Execution
from autotune.servers.sglang.batch import rank_alignment

_PROMPT_TOKENS = 192


class _Arguments(Protocol):
    """The arguments of a launcher, as far as all csgmv kernels share them."""

    @property
    def out(self) -> torch.Tensor: ...


P = TypeVar("P", bound=CsgmvProblem)
A = TypeVar("A", bound=_Arguments)


@dataclass(frozen=True)
class CsgmvInputs(Generic[A]):
    """One argument set; `start`, shaped as its output, is what that holds before a run, NaN where a run must write."""

    arguments: A
    start: torch.Tensor


class CsgmvExecution(Execution[P, CsgmvInputs[A]], Generic[P, A]):
    """Runs one of SGLang's two kernels."""

    def poison(self, inputs: CsgmvInputs[A]) -> None:
        inputs.arguments.out.copy_(inputs.start)


def is_captured(problem: CsgmvProblem) -> bool:
    """Tells whether the server launches such batches in CUDA graphs, of which nobody knows the ranks."""
    return problem.workload == "decode"


def random_batch(problem: CsgmvProblem, device: str, seed: int) -> ChunkedBatch:
    """Makes the tokens of one random batch of a problem."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.tensor(problem.tokens_by_slot)
    tokens = torch.arange(counts.numel()).repeat_interleave(counts)
    decode = is_captured(problem)
    requests = torch.split(tokens, 1 if decode else _PROMPT_TOKENS)
    order = torch.randperm(len(requests), generator=generator).tolist()
    scalings = torch.randn(counts.numel(), generator=generator).tolist()
    batch = ChunkedBatch.build(
        slots=torch.cat([requests[i] for i in order]),
        pool=Pool(problem.pool_ranks, tuple(scalings)),
        chunk_size=problem.chunk_size,
        device=device,
        segments=max(GRAPH_BATCH, problem.tokens) if decode else 0,
    )
    return replace(batch, rank_alignment=rank_alignment(None)) if decode else batch
