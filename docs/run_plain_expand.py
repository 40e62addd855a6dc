"""Times a plain csgmv expand, only the product, with which docs/results.md compares the built-in kernel.

It knows one adapter, one rank and full chunks only: no permutation, no masks, no scaling, no empty segments. Timed as a
study is: CUDA-graph replays over argument sets that overflow the L2 cache.

PYTHONPATH=. python docs/run_plain_expand.py OUT.json
"""

from __future__ import annotations

import itertools
import json
import sys
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import triton
import triton.language as tl

from autotune.measure.timing import CudaGraphTimer

TOKENS, RANK = 30_720, 64
LAYERS = {"qkv": (4096, 3), "gate_up": (6144, 2), "o": (1024, 1)}
"""Columns of the output and number of slices. With three, the first has half of the columns."""
CHUNK_SIZES = (16, 32, 64, 128)
_GRAPH_US = 2000.0
_SAMPLES = 15


@triton.jit  # type: ignore[untyped-decorator]
def plain_expand_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    b_ptr,
    out_ptr,
    N: tl.constexpr,
    SLICES: tl.constexpr,
    R: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    column = tl.program_id(0) * BN
    row = tl.program_id(1).to(tl.int64) * BM
    slice_id = column // (N // SLICES)
    if SLICES == 3:
        slice_id = tl.where(column < N // 2, 0, tl.where(column < 3 * N // 4, 1, 2))
    rows, columns, ranks = tl.arange(0, BM), tl.arange(0, BN), tl.arange(0, R)
    out_ptrs = out_ptr + row * N + column + rows[:, None] * N + columns[None, :]
    base = tl.load(out_ptrs)  # [BM, BN]
    x = tl.load(x_ptr + row * SLICES * R + slice_id * R + rows[:, None] * SLICES * R + ranks[None, :])  # [BM, R]
    b = tl.load(b_ptr + (column + columns[None, :]) * R + ranks[:, None])  # [R, BN]
    tl.store(out_ptrs, base + tl.dot(x, b).to(base.dtype))


def main(path: str) -> None:
    rows = []
    for (layer, (n, slices)), chunk_size in itertools.product(LAYERS.items(), CHUNK_SIZES):
        time_us, config = min(_timed(n, slices, chunk_size), key=lambda found: found[0])
        rows.append({"layer": layer, "chunk_size": chunk_size, "us": time_us, "config": config})
    machine = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "triton": triton.__version__}
    Path(path).write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))


def _timed(n: int, slices: int, chunk_size: int) -> list[tuple[float, dict[str, int]]]:
    """Times every config on one shape."""

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=torch.float16, device="cuda")

    sets = [(normal(TOKENS, slices * RANK), normal(n, RANK), normal(TOKENS, n)) for _ in range(3)]
    found = []
    for block_n, num_warps in itertools.product((64, 128, 256), (2, 4, 8)):
        # A thread has at most 255 registers, of which the sums and what is added to take most.
        if chunk_size * block_n > 6144 * num_warps:
            continue
        runs = [partial(_run, tensors, n, slices, chunk_size, block_n, num_warps) for tensors in sets]
        for run in runs:
            run()
        timer = CudaGraphTimer(runs, _GRAPH_US)
        time_us = median(timer.sample_us() for _ in range(_SAMPLES))
        found.append((time_us, {"BLOCK_N": block_n, "num_warps": num_warps}))
    return found


def _run(tensors: Any, n: int, slices: int, chunk_size: int, block_n: int, num_warps: int) -> None:
    grid = (n // block_n, TOKENS // chunk_size)
    plain_expand_kernel[grid](*tensors, n, slices, RANK, chunk_size, block_n, num_warps=num_warps, num_stages=1)


if __name__ == "__main__":
    main(sys.argv[1])
