"""The expand kernel of the two-kernel path. Shapes: README.md."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import triton
import triton.language as tl

from autotune.contract import Config, Launch
from autotune.kernels.common.addresses import address_table
from autotune.kernels.common.tiles import cdiv, integers
from autotune.kernels.fused_moe_lora.blocks import Batch, check_activations, check_weights, owner_of, pairs_of, tile_of

_PREFETCHED_PER_WARP = 1024
"""Output elements a warp may load ahead of the product; more would cost too many registers."""


@triton.jit(do_not_specialize=["pairs", "width"])
def moe_expand_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    b_ptr,
    out_ptr,
    topk_weights_ptr,
    sorted_ids_ptr,
    expert_ids_ptr,
    ends_ptr,
    loras_ptr,
    enabled_ptr,
    pairs,
    width,
    N,
    K,
    b_stride_l,
    b_stride_e,
    out_stride,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
    TOP_K: tl.constexpr,
    NAIVE: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    EVEN_K: tl.constexpr,
    ROUTED: tl.constexpr,
    ADD_INPUTS: tl.constexpr,
    PREFETCH: tl.constexpr,
    STEPS: tl.constexpr,
):
    block, pid_n = tile_of(tl.program_id(0), tl.cdiv(width, BLOCK_M), tl.cdiv(N, BLOCK_N), GROUP_M)
    slot, expert, live = owner_of(block, expert_ids_ptr, ends_ptr, loras_ptr, enabled_ptr, width, BLOCK_M, TOP_K, NAIVE)
    slice_id = tl.program_id(1)
    if NUM_SLICES > 1:
        b_ptr = tl.load(b_ptr + slice_id).to(tl.pointer_type(x_ptr.dtype.element_ty))
        b_ptr = tl.multiple_of(b_ptr, 16)
    if not live:
        return

    # Rows and columns beyond the end repeat the first one: cheaper than masks in the loop, and never stored.
    pair = pairs_of(block, slot, sorted_ids_ptr, pairs, width, BLOCK_M, NAIVE)
    in_m = pair < pairs
    row = tl.where(in_m, pair, 0).to(tl.int64)
    offs_n = pid_n * BLOCK_N + tl.arange(0, BLOCK_N)
    offs_k = tl.arange(0, BLOCK_K)
    b_row = tl.where(offs_n < N, offs_n, 0)
    x_ptrs = x_ptr + (slice_id.to(tl.int64) * pairs + row)[:, None] * K + offs_k[None, :]  # [BM, BK]
    b_ptr += slot * b_stride_l + expert * b_stride_e
    b_ptrs = b_ptr + b_row[None, :] * K + offs_k[:, None]  # [BK, BN]
    out_ptrs = out_ptr + (row * out_stride + slice_id * N)[:, None] + offs_n[None, :]  # [BM, BN]
    in_out = in_m[:, None] & (offs_n < N)[None, :]
    if ADD_INPUTS and PREFETCH:
        base = tl.load(out_ptrs, mask=in_out, other=0.0)

    acc = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
    for step in range(STEPS):
        in_k = step * BLOCK_K + offs_k < K
        if EVEN_K:
            b = tl.load(b_ptrs)
            x = tl.load(x_ptrs)
        else:
            b = tl.load(b_ptrs, mask=in_k[:, None], other=0.0)
            x = tl.load(x_ptrs, mask=in_k[None, :], other=0.0)
        acc = tl.dot(x, b, acc)
        x_ptrs += BLOCK_K
        b_ptrs += BLOCK_K

    if ROUTED:
        acc *= tl.load(topk_weights_ptr + row)[:, None]
    if ADD_INPUTS:
        if not PREFETCH:
            base = tl.load(out_ptrs, mask=in_out, other=0.0)
        acc += base
    tl.store(out_ptrs, acc.to(out_ptr.dtype.element_ty), mask=in_out)


@dataclass(frozen=True)
class MoeExpandArguments:
    """Arguments of one call.

    Attributes:
        x: ``[S, M, T, R]`` fp16 or bf16, contiguous: a shrink's output.
        b: S weights ``[L, E, N, R]``, type of x, equal strides; E of stride 0 shares a matrix among experts.
        out: ``[M, T, W]``, type of x, contiguous; W is ``S * N``, or more where other GPUs have the other columns.
        batch: Which token uses which adapter and experts.
        add_inputs: Add to `out`, or overwrite it.
        routed: Multiply by the routing weights (down only).
        offset: First of the ``S * N`` columns of `out` that are written.
        table: Addresses of `b` on the device, for more than one slice; uploaded here, ahead of graph captures.
    """

    x: torch.Tensor
    b: list[torch.Tensor]
    out: torch.Tensor
    batch: Batch
    add_inputs: bool = True
    routed: bool = False
    offset: int = 0
    table: torch.Tensor | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        check_weights(self.b, self.x.dtype, "fused_moe_lora expand")
        check_activations(self.x, self.out, "fused_moe_lora expand")
        if self.offset + len(self.b) * self.b[0].shape[2] > self.out.shape[2]:
            raise ValueError(f"fused_moe_lora expand: out has no room for the columns from {self.offset} on")
        if len(self.b) > 1:
            object.__setattr__(self, "table", address_table(self.b))

    @property
    def written(self) -> torch.Tensor:
        """The columns of `out` that are written: ``[M, T, S * N]``, in rows of W."""
        return self.out[..., self.offset : self.offset + len(self.b) * self.b[0].shape[2]]


def expand_launches(inputs: MoeExpandArguments, config: Config) -> list[Launch]:
    """Returns the launch that writes every group's product into its slice's columns."""
    if inputs.batch.routing.pairs == 0:
        return []
    c, b = integers(config), inputs.b[0]
    _, _, n, k = b.shape
    blocks = inputs.batch.blocks(c["block_m"])
    args = (
        inputs.x,
        b if inputs.table is None else inputs.table,
        inputs.written,
        inputs.batch.routing.topk_weights,
        *blocks.args,
        n,
        k,
        b.stride(0),
        b.stride(1),
        inputs.out.shape[2],
    )
    options = {
        **blocks.options,
        "BLOCK_N": c["block_n"],
        "BLOCK_K": c["block_k"],
        "GROUP_M": c["group_size_m"],
        "NUM_SLICES": len(inputs.b),
        "EVEN_K": k % c["block_k"] == 0,
        "ROUTED": inputs.routed,
        "ADD_INPUTS": inputs.add_inputs,
        "PREFETCH": c["block_m"] * c["block_n"] <= _PREFETCHED_PER_WARP * c["num_warps"],
        "STEPS": cdiv(k, c["block_k"]),
        "num_warps": c["num_warps"],
        "num_stages": c["num_stages"],
    }
    tiles = blocks.m_tiles * cdiv(n, c["block_n"])
    return [Launch(moe_expand_kernel, (tiles, len(inputs.b), blocks.groups), args, options)]


def moe_expand(inputs: MoeExpandArguments, config: Config) -> torch.Tensor:
    """Computes ``out[t, j, slice s] (+)= weight * x[s, t, j] @ b[s][adapter of t, expert j of t].T``.

    Semantics of the second kernel of vLLM's two-kernel path (contracts A6): sums and the routing weight are
    fp32, the weight is 1 unless `routed`; rows of tokens without an adapter stay.
    """
    for launch in expand_launches(inputs, config):
        launch.run()
    return inputs.out
