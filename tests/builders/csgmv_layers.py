"""Layers of small whole numbers over SGLang's csgmv backend: every sum of theirs is exact, in half precision too."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from autotune.kernels.common.chunks import ChunkedBatch, Pool

HIDDEN, RANK = 32, 16
POOL = Pool(ranks=(0, 16, 8, 5), scalings=(1.0, 0.5, 2.0, -1.0))
SLOTS = (1, 3, 0, 1, 2, 2, 0, 3, *(1,) * 20, 2)


def whole(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float16) -> torch.Tensor:
    """Returns random -1, 0 and 1."""
    return torch.randint(-1, 2, shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def batch_info(
    make: Any,
    slots: Sequence[int] = SLOTS,
    chunk_size: int = 16,
    graph: int = 0,
    pool: Pool = POOL,
    device: str = "cpu",
) -> Any:
    """Makes a batch.

    Args:
        make: The server's class.
        graph: Segments of the buffer of the graph that it is for; 0 for none.
    """
    b = ChunkedBatch.build(torch.tensor(slots), pool, chunk_size, device, graph)
    return make(
        use_cuda_graph=bool(graph),
        bs=1,
        num_segments=b.segments,
        seg_indptr=b.seg_indptr,
        weight_indices=b.weight_indices,
        lora_ranks=b.lora_ranks,
        scalings=b.scalings,
        max_len=chunk_size,
        seg_lens=None,
        permutation=b.permutation,
    )


@dataclass(frozen=True)
class LoraLayer:
    """A layer with slices of these widths, and which of the backend's methods runs it."""

    widths: tuple[int, ...]
    method: str
    dtype: torch.dtype = torch.float16

    def run(self, backend: Any, tokens: int = len(SLOTS), on_cpu: bool = True, device: str = "cpu") -> torch.Tensor:
        """Runs it as the server's layers do; returns the output, added to a base output with longer rows.

        Args:
            on_cpu: The release has the slices' offsets on the CPU, too.
        """
        call, base = self.prepared(tokens, on_cpu, device)
        call(backend)
        return base

    def prepared(
        self, tokens: int = len(SLOTS), on_cpu: bool = True, device: str = "cpu"
    ) -> tuple[Callable[[Any], object], torch.Tensor]:
        """Returns what runs it on a backend, and the tensor that this adds to."""
        s, n = len(self.widths), sum(self.widths)
        x, a, b, base = (
            whole(*shape, seed=seed, dtype=self.dtype).to(device)
            for seed, shape in enumerate(
                (
                    (tokens, HIDDEN),
                    (len(POOL.ranks), s * RANK, HIDDEN),
                    (len(POOL.ranks), n, RANK),
                    (tokens, n + 8),
                )
            )
        )
        offsets = torch.tensor((0, *itertools.accumulate(self.widths)), dtype=torch.int32)
        more: dict[str, Any] = {"output_offset": offsets.to(device), "base_output": base[:, :n]}
        if on_cpu:
            more["output_offset_cpu"] = offsets
        if self.method == "qkv":
            widest = max(self.widths)
            return lambda to: to.run_qkv_lora(
                x=x, qkv_lora_a=a, qkv_lora_b=b, max_qkv_out_dim=widest, n_slices=s, **more
            ), base
        if self.method == "gate_up":
            return lambda to: to.run_gate_up_lora(x=x, gate_up_lora_a=a, gate_up_lora_b=b, **more), base
        return lambda to: to.run_lora_b_sgemm(x=to.run_lora_a_sgemm(x, a), weights=b, **more), base


LAYERS = (
    LoraLayer((48, 16, 16), "qkv"),
    LoraLayer((40, 24), "qkv"),
    LoraLayer((32, 32), "gate_up"),
    LoraLayer((40,), "plain"),
)
