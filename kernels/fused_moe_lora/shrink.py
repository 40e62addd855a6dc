"""The shrink kernel of the two-kernel path. Shapes: README.md."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import triton
import triton.language as tl

from autotune.contract import Config, Launch
from autotune.kernels.common.addresses import address_table
from autotune.kernels.common.tiles import cdiv, integers
from autotune.kernels.fused_moe_lora.blocks import Batch, check_activations, check_weights, owner_of, pairs_of, tile_of


@triton.jit(do_not_specialize=["pairs", "width"])
def moe_shrink_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    a_ptr,
    out_ptr,
    sorted_ids_ptr,
    expert_ids_ptr,
    ends_ptr,
    loras_ptr,
    enabled_ptr,
    pairs,
    width,
    N,
    K,
    a_stride_l,
    a_stride_e,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SPLIT_K: tl.constexpr,
    GROUP_M: tl.constexpr,
    TOP_K: tl.constexpr,
    PAIRS_PER_ROW: tl.constexpr,
    NAIVE: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    EVEN_N: tl.constexpr,
    EVEN_K: tl.constexpr,
):
    pid = tl.program_id(0)
    split = pid % SPLIT_K
    if split * BLOCK_K >= K:
        return
    block, pid_n = tile_of(pid // SPLIT_K, tl.cdiv(width, BLOCK_M), tl.cdiv(N, BLOCK_N), GROUP_M)
    slot, expert, live = owner_of(block, expert_ids_ptr, ends_ptr, loras_ptr, enabled_ptr, width, BLOCK_M, TOP_K, NAIVE)
    slice_id = tl.program_id(1)
    if NUM_SLICES > 1:
        a_ptr = tl.load(a_ptr + slice_id).to(tl.pointer_type(x_ptr.dtype.element_ty))
        a_ptr = tl.multiple_of(a_ptr, 16)
    if not live:
        return

    pair = pairs_of(block, slot, sorted_ids_ptr, pairs, width, BLOCK_M, NAIVE)
    in_m = (pair < pairs)[:, None]
    offs_n = pid_n * BLOCK_N + tl.arange(0, BLOCK_N)
    offs_k = split * BLOCK_K + tl.arange(0, BLOCK_K)
    in_n = (offs_n < N)[None, :]
    row = (pair // PAIRS_PER_ROW).to(tl.int64)
    x_ptrs = x_ptr + row[:, None] * K + offs_k[None, :]  # [BM, BK]
    a_ptr += slot * a_stride_l + expert * a_stride_e
    a_ptrs = a_ptr + offs_n[None, :] * K + offs_k[:, None]  # [BK, BN]

    acc = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
    for k in range(split * BLOCK_K, K, BLOCK_K * SPLIT_K):
        in_k = k + tl.arange(0, BLOCK_K) < K
        # The weights first: x waits for the list of pairs.
        if EVEN_K and EVEN_N:
            a = tl.load(a_ptrs)
        else:
            a = tl.load(a_ptrs, mask=in_n if EVEN_K else in_n & in_k[:, None], other=0.0)
        x = tl.load(x_ptrs, mask=in_m if EVEN_K else in_m & in_k[None, :], other=0.0)
        acc = tl.dot(x, a, acc)
        x_ptrs += BLOCK_K * SPLIT_K
        a_ptrs += BLOCK_K * SPLIT_K

    out_row = slice_id.to(tl.int64) * pairs + pair
    out_ptrs = out_ptr + out_row[:, None] * N + offs_n[None, :]  # [BM, BN]
    part = acc.to(out_ptr.dtype.element_ty)
    if SPLIT_K == 1:
        tl.store(out_ptrs, part, mask=in_m & in_n)
    else:
        tl.atomic_add(out_ptrs, part, mask=in_m & in_n, sem="relaxed")


@dataclass(frozen=True)
class MoeShrinkArguments:
    """Arguments of one call.

    Attributes:
        x: ``[M, K]`` (gate_up) or ``[M * T, K]`` (down) fp16 or bf16, contiguous.
        a: S weights ``[L, E, R, K]``, type of x, equal strides; E of stride 0 shares a matrix among experts.
        out: ``[S, M, T, R]``, type of x, contiguous.
        batch: Which token uses which adapter and experts.
        table: Addresses of `a` on the device, for more than one slice; uploaded here, ahead of graph captures.
    """

    x: torch.Tensor
    a: list[torch.Tensor]
    out: torch.Tensor
    batch: Batch
    table: torch.Tensor | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        check_weights(self.a, self.x.dtype, "fused_moe_lora shrink")
        check_activations(self.x, self.out, "fused_moe_lora shrink")
        if len(self.a) > 1:
            object.__setattr__(self, "table", address_table(self.a))

    @property
    def pairs_per_row(self) -> int:
        """Pairs that read a row of x: T (gate_up) or 1 (down)."""
        return self.batch.routing.pairs // max(1, self.x.shape[0])


def shrink_launches(inputs: MoeShrinkArguments, config: Config) -> list[Launch]:
    """Returns the launch that adds every group's product into the zeroed output."""
    if inputs.batch.routing.pairs == 0:
        return []
    c, a = integers(config), inputs.a[0]
    _, _, n, k = a.shape
    blocks = inputs.batch.blocks(c["block_m"])
    args = (
        inputs.x,
        a if inputs.table is None else inputs.table,
        inputs.out,
        *blocks.args,
        n,
        k,
        a.stride(0),
        a.stride(1),
    )
    options = {
        **blocks.options,
        "BLOCK_N": c["block_n"],
        "BLOCK_K": c["block_k"],
        "SPLIT_K": c["split_k"],
        "GROUP_M": c["group_size_m"],
        "PAIRS_PER_ROW": inputs.pairs_per_row,
        "NUM_SLICES": len(inputs.a),
        "EVEN_N": n % c["block_n"] == 0,
        "EVEN_K": k % c["block_k"] == 0,
        "num_warps": c["num_warps"],
        "num_stages": c["num_stages"],
    }
    tiles = c["split_k"] * blocks.m_tiles * cdiv(n, c["block_n"])
    return [Launch(moe_shrink_kernel, (tiles, len(inputs.a), blocks.groups), args, options)]


def moe_shrink(inputs: MoeShrinkArguments, config: Config) -> torch.Tensor:
    """Computes ``out[s, t, j] = x[row] @ a[s][adapter of t, expert j of t].T``; zero without an adapter.

    Semantics of the first kernel of vLLM's two-kernel path (contracts A6): the output has the type of x. With
    ``split_k`` > 1 partial sums are rounded to that type, and results vary from run to run.
    """
    inputs.out.zero_()
    for launch in shrink_launches(inputs, config):
        launch.run()
    return inputs.out
