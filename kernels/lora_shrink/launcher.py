"""The shrink kernel and the operation a server calls. Shapes: README.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from autotune.contract import Config, Launch
from autotune.kernels.common.adapter_columns import slice_weight
from autotune.kernels.common.adapter_rows import adapter_rows
from autotune.kernels.common.addresses import address_table
from autotune.kernels.common.dependent_launch import dependent_launch, wait_for_launch_ahead
from autotune.kernels.common.metadata import LoraMetadata
from autotune.kernels.common.tiles import cdiv, integers, next_pow2, row_grid
from autotune.kernels.common.zeroing import zeroing
from autotune.servers.vllm import launching


@triton.jit
def lora_shrink_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    a_ptr,
    out_ptr,
    sorted_tokens_ptr,
    lora_tokens_ptr,
    lora_start_ptr,
    lora_ids_ptr,
    scaling,
    K,
    x_stride_m,
    out_stride_s,
    N: tl.constexpr,
    GROUPS: tl.constexpr,
    GROUP_BLOCK: tl.constexpr,
    COUNTED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SPLIT_K: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    EVEN_K: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    if DEPENDENT:
        wait_for_launch_ahead()
    pid = tl.program_id(0)
    split = pid % SPLIT_K
    if split * BLOCK_K >= K:
        return
    # One exit for all reasons: the loads it waits for travel together, and the arithmetic hides in their latency.
    lora_id, first, end = adapter_rows(
        tl.program_id(1), tl.program_id(2), lora_tokens_ptr, lora_start_ptr, lora_ids_ptr,
        GROUPS, GROUP_BLOCK, BLOCK_M, COUNTED,
    )  # fmt: skip
    slice_id, offs_n, in_n, a_rows = _columns(pid // SPLIT_K, a_ptr, x_ptr, N, BLOCK_N, NUM_SLICES)
    if (lora_id < 0) | (first >= end):
        return

    offs_m = first + tl.arange(0, BLOCK_M)
    offs_k = split * BLOCK_K + tl.arange(0, BLOCK_K)
    in_m = (offs_m < end)[:, None]
    token = tl.load(sorted_tokens_ptr + offs_m, mask=offs_m < end, other=0).to(tl.int64)
    x_ptrs = x_ptr + token[:, None] * x_stride_m + offs_k[None, :]  # [BM, BK]
    # An adapter's ranks follow each other, so do adapters.
    a_ptrs = a_rows + lora_id.to(tl.int64) * N * K + offs_n[None, :] * K + offs_k[:, None]  # [BK, BN]

    acc = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
    for k in range(split * BLOCK_K, K, BLOCK_K * SPLIT_K):
        in_k = k + tl.arange(0, BLOCK_K) < K
        # The weights first: x waits for the token list.
        a = tl.load(a_ptrs) if EVEN_K else tl.load(a_ptrs, mask=in_k[:, None], other=0.0)
        x = tl.load(x_ptrs, mask=in_m if EVEN_K else in_m & in_k[None, :], other=0.0)
        acc = tl.dot(x, a, acc)
        x_ptrs += BLOCK_K * SPLIT_K
        a_ptrs += BLOCK_K * SPLIT_K
    acc *= scaling

    out_ptrs = out_ptr + slice_id * out_stride_s + token[:, None] * N + offs_n[None, :]
    if SPLIT_K == 1:
        tl.store(out_ptrs, acc, mask=in_m & in_n)
    else:
        tl.atomic_add(out_ptrs, acc, mask=in_m & in_n, sem="relaxed")


@triton.jit
def _columns(  # type: ignore[no-untyped-def]
    tile, a_ptr, x_ptr, N: tl.constexpr, BLOCK_N: tl.constexpr, NUM_SLICES: tl.constexpr
):
    """Returns the slice of a tile's columns, their place in there, ``[BN]``, whether there are such columns, and where
    the slice's weights begin.

    A tile that does not end with a slice goes on in the next one, so that x is read once for several slices: slice and
    weights are then each column's own, ``[1, BN]``. Columns beyond the end begin again: cheaper than a mask in the
    loop, and never stored.
    """
    COLUMNS: tl.constexpr = NUM_SLICES * N
    column = tile * BLOCK_N + tl.arange(0, BLOCK_N)
    in_n = (column < COLUMNS)[None, :]
    if COLUMNS % BLOCK_N != 0:
        column = column % COLUMNS
    if NUM_SLICES == 1:
        slice_id = (tile * 0).to(tl.int64)
        offs_n = column
        a_rows = a_ptr
    elif N % BLOCK_N == 0:
        slice_id = (tile * BLOCK_N // N).to(tl.int64)
        offs_n = column % N
        a_rows = slice_weight(a_ptr, slice_id, x_ptr, NUM_SLICES)
    else:
        slices = column // N
        offs_n = column % N
        a_rows = tl.load(a_ptr + slices).to(tl.pointer_type(x_ptr.dtype.element_ty))
        a_rows = tl.multiple_of(a_rows, [16])[None, :]
        slice_id = slices.to(tl.int64)[None, :]
    return slice_id, offs_n, in_n, a_rows


@dataclass(frozen=True)
class LoraShrinkArguments:
    """Arguments of one call.

    Attributes:
        x: ``[M, K]`` fp16 or bf16; copied at every launch if its rows are not contiguous.
        a: S weights ``[L, N, K]`` (or ``[L, 1, N, K]``), contiguous, type of x.
        out: ``[S, M, N]`` fp32, contiguous.
        metadata: Which token uses which adapter.
        scaling: Factor of the product; the servers fold alpha / rank into B and pass 1.
        table: Addresses of `a` on the device, for more than one slice; uploaded here, ahead of graph captures, unless
            given.
    """

    x: torch.Tensor
    a: Sequence[torch.Tensor]
    out: torch.Tensor
    metadata: LoraMetadata
    scaling: float = 1.0
    table: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if not all(a.is_contiguous() and a.dtype == self.x.dtype for a in self.a):
            raise ValueError(f"lora_shrink: the weights must be contiguous and {self.x.dtype}, as x is")
        if not self.out.is_contiguous():
            raise ValueError(f"lora_shrink: out must be contiguous, got strides {self.out.stride()}")
        if len(self.a) > 1 and self.table is None:
            object.__setattr__(self, "table", address_table(self.a))

    @property
    def rows(self) -> torch.Tensor:
        """x with rows that are contiguous: a copy where they are not."""
        return self.x if self.x.stride(1) == 1 else self.x.contiguous()

    @property
    def weights(self) -> torch.Tensor:
        """What a launch finds the weights by: the only one, or the table."""
        return self.a[0] if self.table is None else self.table


def shrink_launches(inputs: LoraShrinkArguments, config: Config) -> list[Launch]:
    """Returns the launch that zeroes the output, and the one that adds every adapter's product to it."""
    (m, k), (slices, _, n) = inputs.x.shape, inputs.out.shape
    if m == 0:
        return []
    c, meta = integers(config), inputs.metadata
    x = inputs.rows
    across = c["split_k"] * cdiv(slices * n, c["block_n"])
    rows = row_grid(m, meta.groups, inputs.a[0].shape[0], c["block_m"], across)
    args = (
        x,
        inputs.weights,
        inputs.out,
        *meta.launched_with,
        inputs.scaling,
        k,
        x.stride(0),
        inputs.out.stride(0),
    )
    options = {
        "N": n,
        "GROUPS": meta.lora_ids.numel(),
        "GROUP_BLOCK": next_pow2(meta.lora_ids.numel()),
        "COUNTED": rows.counted,
        "BLOCK_M": c["block_m"],
        "BLOCK_N": c["block_n"],
        "BLOCK_K": c["block_k"],
        "SPLIT_K": c["split_k"],
        "NUM_SLICES": slices,
        "EVEN_K": k % c["block_k"] == 0,
        **dependent_launch(),
        "num_warps": c["num_warps"],
        "num_stages": c["num_stages"],
        "num_ctas": c["num_ctas"],
    }
    return [zeroing(inputs.out), Launch(lora_shrink_kernel, (across, rows.tiles, rows.groups), args, options)]


def lora_shrink(inputs: LoraShrinkArguments, config: Config | None = None) -> torch.Tensor:
    """Computes ``out[s, t] = scaling * x[t] @ a[s][adapter of t].T``; rows of tokens without an adapter become zero.

    Semantics of vLLM's dense op (contracts A4). With ``split_k`` > 1 sums vary from run to run.

    Args:
        inputs: The arguments; make them before a CUDA-graph capture.
        config: Tile sizes as vLLM spells them; None takes what vLLM would use now (tuned file, else default).
    """
    (m, k), (slices, _, n) = inputs.x.shape, inputs.out.shape
    if m == 0 or inputs.metadata.no_lora:
        return inputs.out
    if config is None:
        groups = inputs.metadata.lora_ids.numel()
        config = launching.dense_config("shrink", max_loras=groups, num_slices=slices, m=m, k=k, n=n)
    for launch in shrink_launches(inputs, config):
        launch.run()
    return inputs.out
