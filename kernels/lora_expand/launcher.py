"""The expand kernel and the operation a server calls. Shapes: README.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import triton
import triton.language as tl

from autotune.contract import Config, Launch
from autotune.kernels.common.adapter_columns import slice_columns, slice_weight
from autotune.kernels.common.adapter_rows import adapter_rows
from autotune.kernels.common.addresses import address_table
from autotune.kernels.common.dependent_launch import dependent_launch, wait_for_launch_ahead
from autotune.kernels.common.metadata import LoraMetadata
from autotune.kernels.common.tiles import cdiv, integers, next_pow2, row_grid
from autotune.kernels.lora_expand.stages import forced_stages
from autotune.servers.vllm import launching

_ALIGNED_COLUMNS = 16
_PREFETCHED_PER_WARP = 1024
"""Output elements a warp may load ahead of the product; more would cost too many registers."""


@triton.jit
def lora_expand_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    b_ptr,
    out_ptr,
    sorted_tokens_ptr,
    lora_tokens_ptr,
    lora_start_ptr,
    lora_ids_ptr,
    N,
    x_stride_s,
    x_stride_m,
    x_stride_k,
    out_stride_m,
    out_column,
    K: tl.constexpr,
    GROUPS: tl.constexpr,
    GROUP_BLOCK: tl.constexpr,
    COUNTED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    SAME_WIDTH: tl.constexpr,
    ALIGNED: tl.constexpr,
    ADD_INPUTS: tl.constexpr,
    PREFETCH: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    if DEPENDENT:
        wait_for_launch_ahead()
    # One exit for all reasons: the loads it waits for travel together, and the arithmetic hides in their latency.
    lora_id, first, end = adapter_rows(
        tl.program_id(0), tl.program_id(2), lora_tokens_ptr, lora_start_ptr, lora_ids_ptr,
        GROUPS, GROUP_BLOCK, BLOCK_M, COUNTED,
    )  # fmt: skip
    slice_id, pid_n, width, column, b_stride_l = slice_columns(
        tl.program_id(1), b_ptr, N, out_column, K, BLOCK_N, NUM_SLICES, SAME_WIDTH, ALIGNED
    )
    b_ptr = slice_weight(b_ptr, slice_id, out_ptr, NUM_SLICES)
    if (lora_id < 0) | (first >= end):
        return

    # Rows and columns beyond the end repeat the first one: cheaper than masks in the loop, and never stored.
    offs_m = first + tl.arange(0, BLOCK_M)
    offs_n = pid_n * BLOCK_N + tl.arange(0, BLOCK_N)
    offs_k = tl.arange(0, BLOCK_K)
    token = tl.load(sorted_tokens_ptr + offs_m, mask=offs_m < end, other=0).to(tl.int64)
    b_row = tl.where(offs_n < width, offs_n, 0)
    x_ptr += slice_id.to(tl.int64) * x_stride_s
    x_ptrs = x_ptr + token[:, None] * x_stride_m + offs_k[None, :] * x_stride_k  # [BM, BK]
    b_ptrs = b_ptr + lora_id.to(tl.int64) * b_stride_l + b_row[None, :] * K + offs_k[:, None]  # [BK, BN]
    out_ptrs = out_ptr + token[:, None] * out_stride_m + column + offs_n[None, :]  # [BM, BN]
    in_out = (offs_m < end)[:, None] & (offs_n < width)[None, :]
    if ADD_INPUTS and PREFETCH:
        base = tl.load(out_ptrs, mask=in_out, other=0.0)

    acc = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
    for k in range(0, K, BLOCK_K):
        in_k = k + offs_k < K
        if K % BLOCK_K == 0:
            b = tl.load(b_ptrs)
            x = tl.load(x_ptrs)
        else:
            b = tl.load(b_ptrs, mask=in_k[:, None], other=0.0)
            x = tl.load(x_ptrs, mask=in_k[None, :], other=0.0)
        acc = tl.dot(x.to(b.dtype), b, acc)
        x_ptrs += BLOCK_K * x_stride_k
        b_ptrs += BLOCK_K

    if ADD_INPUTS:
        if not PREFETCH:
            base = tl.load(out_ptrs, mask=in_out, other=0.0)
        acc += base
    tl.store(out_ptrs, acc.to(out_ptr.dtype.element_ty), mask=in_out)


@dataclass(frozen=True)
class LoraExpandArguments:
    """Arguments of one call.

    Attributes:
        x: ``[S, M, R]``, any strides: fp32 after a shrink, fp16 or bf16 after an embedding.
        b: S weights ``[L, N_s, R]`` (or ``[L, 1, N_s, R]``), contiguous, type of out.
        out: ``[M, offset + sum of N_s]`` or wider, rows contiguous.
        metadata: Which token uses which adapter.
        add_inputs: Add to `out`, or overwrite it.
        offset: Column of `out` where the first slice starts.
        table: Addresses of `b` on the device, for more than one slice, with widths, columns and adapter strides
            where widths differ; uploaded here, ahead of graph captures, unless given.
    """

    x: torch.Tensor
    b: Sequence[torch.Tensor]
    out: torch.Tensor
    metadata: LoraMetadata
    add_inputs: bool = True
    offset: int = 0
    table: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if not all(b.is_contiguous() and b.dtype == self.out.dtype for b in self.b):
            raise ValueError(f"lora_expand: the weights must be contiguous and {self.out.dtype}, as out is")
        if self.out.stride(1) != 1:
            raise ValueError(f"lora_expand: out must have contiguous rows, got strides {self.out.stride()}")
        if len(self.b) > 1 and self.table is None:
            columns = () if self.same_width else (self.widths, self.columns, [b.stride(0) for b in self.b])
            object.__setattr__(self, "table", address_table(self.b, *columns))

    @property
    def weights(self) -> torch.Tensor:
        """What a launch finds the weights by: the only one, or the table."""
        return self.b[0] if self.table is None else self.table

    @cached_property
    def widths(self) -> list[int]:
        return [b.shape[-2] for b in self.b]

    @cached_property
    def columns(self) -> list[int]:
        """Column of `out` where each slice starts."""
        return [self.offset + sum(self.widths[:s]) for s in range(len(self.b))]

    @cached_property
    def same_width(self) -> bool:
        return len(set(self.widths)) == 1


def expand_launches(inputs: LoraExpandArguments, config: Config) -> list[Launch]:
    """Returns the launch that writes every adapter's product into its slice's columns."""
    slices, m, k = inputs.x.shape
    if m == 0:
        return []
    c, meta, n = integers(config), inputs.metadata, max(inputs.widths)
    across = sum(cdiv(width, c["block_n"]) for width in inputs.widths)
    rows = row_grid(m, meta.groups, inputs.b[0].shape[0], c["block_m"], across)
    args = (
        inputs.x,
        inputs.weights,
        inputs.out,
        *meta.launched_with,
        n,
        *inputs.x.stride(),
        inputs.out.stride(0),
        inputs.offset,
    )
    options = {
        "K": k,
        "GROUPS": meta.lora_ids.numel(),
        "GROUP_BLOCK": next_pow2(meta.lora_ids.numel()),
        "COUNTED": rows.counted,
        "BLOCK_M": c["block_m"],
        "BLOCK_K": c["block_k"],
        "NUM_SLICES": slices,
        **output_options(inputs, c),
        **dependent_launch(),
        "num_warps": c["num_warps"],
        "num_stages": c["num_stages"],
        "num_ctas": c["num_ctas"],
    }
    return [Launch(lora_expand_kernel, (rows.tiles, across, rows.groups), args, options)]


def output_options(inputs: LoraExpandArguments, c: Mapping[str, int]) -> dict[str, int | bool]:
    """Returns the options of a launch that say which columns its blocks write, and how."""
    return {
        "BLOCK_N": c["block_n"],
        "SAME_WIDTH": inputs.same_width,
        "ALIGNED": all(column % _ALIGNED_COLUMNS == 0 for column in [*inputs.widths, *inputs.columns]),
        "ADD_INPUTS": inputs.add_inputs,
        "PREFETCH": c["block_m"] * c["block_n"] <= _PREFETCHED_PER_WARP * c["num_warps"],
    }


def _stages(x: torch.Tensor) -> int | None:
    """Returns the only ``num_stages`` allowed where x lies."""
    return forced_stages(torch.cuda.get_device_capability(), x.dtype == torch.float32) if x.is_cuda else None


def lora_expand(inputs: LoraExpandArguments, config: Config | None = None) -> torch.Tensor:
    """Computes ``out[t, slice s] (+)= x[s, t] @ b[s][adapter of t].T``; rows of tokens without an adapter stay.

    Semantics of vLLM's dense op (contracts A4): x is cast to the weights' type, sums are fp32.

    Args:
        inputs: The arguments; make them before a CUDA-graph capture.
        config: Tile sizes as vLLM spells them; None takes what vLLM would use now (tuned file, else default).
    """
    slices, m, k = inputs.x.shape
    if m == 0 or inputs.metadata.no_lora:
        return inputs.out
    if config is None:
        groups, n = inputs.metadata.lora_ids.numel(), max(inputs.widths)
        config = launching.dense_config(
            "expand", max_loras=groups, num_slices=slices, m=m, k=k, n=n, add_inputs=inputs.add_inputs
        )
    if stages := _stages(inputs.x):
        config = {**config, "num_stages": stages}
    for launch in expand_launches(inputs, config):
        launch.run()
    return inputs.out
