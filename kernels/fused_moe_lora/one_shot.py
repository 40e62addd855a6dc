"""The one-shot kernel: shrink and expand in one launch, the rank intermediate in registers. Shapes: README.md."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl

from autotune.contract import Config, Launch
from autotune.contract.gpu import H200
from autotune.kernels.common.addresses import address_table
from autotune.kernels.common.tiles import cdiv, integers, next_pow2
from autotune.kernels.fused_moe_lora.blocks import Batch, check_activations, check_weights, owner_of, pairs_of

# What vLLM's kernel launches with (contracts A6).
BLOCK_N = 128

_NAIVE_BLOCK_M = 16
_WAVES = 1.5
"""Blocks of rows for each SM, from which on none is shared out among several thread blocks."""

_MOST_COLUMN_BLOCKS = 16
_DEEP, _DEEP_BLOCK_K, _SHALLOW_BLOCK_K = 256, 128, 64
"""Columns of x from which on a K step is long, and the lengths of a long and of a short step."""

_BUSY_EXPERT = 16
"""Pairs of an expert from which on a K step is long, also where x has few columns."""

_SMALL_SHARED_BYTES = 68 * 1024
"""Shared memory below which the loop has two stages and not three."""


@triton.jit(do_not_specialize=["pairs", "width", "column_blocks"])
def moe_one_shot_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    a_ptr,
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
    a_stride_l,
    a_stride_e,
    b_stride_l,
    b_stride_e,
    column_blocks,
    RANK: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_R: tl.constexpr,
    TOP_K: tl.constexpr,
    PAIRS_PER_ROW: tl.constexpr,
    NAIVE: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    EVEN_K: tl.constexpr,
    ROUTED: tl.constexpr,
    ADD_INPUTS: tl.constexpr,
):
    block = tl.program_id(0) // column_blocks
    part = tl.program_id(0) % column_blocks
    slot, expert, live = owner_of(block, expert_ids_ptr, ends_ptr, loras_ptr, enabled_ptr, width, BLOCK_M, TOP_K, NAIVE)
    slice_id = tl.program_id(1)
    if NUM_SLICES > 1:
        dtype = tl.pointer_type(x_ptr.dtype.element_ty)
        a_ptr = tl.multiple_of(tl.load(a_ptr + slice_id).to(dtype), 16)
        b_ptr = tl.multiple_of(tl.load(b_ptr + slice_id).to(dtype), 16)
    if not live:
        return

    pair = pairs_of(block, slot, sorted_ids_ptr, pairs, width, BLOCK_M, NAIVE)
    in_m = (pair < pairs)[:, None]
    pair = pair.to(tl.int64)
    offs_r = tl.arange(0, BLOCK_R)
    offs_k = tl.arange(0, BLOCK_K)
    x_ptrs = x_ptr + (pair // PAIRS_PER_ROW)[:, None] * K + offs_k[None, :]  # [BM, BK]
    a_ptr += slot * a_stride_l + expert * a_stride_e
    a_ptrs = a_ptr + offs_r[None, :] * K + offs_k[:, None]  # [BK, BR]
    # Ranks beyond the end must be zeros, not copies: NaN times the zeros of B would not vanish.
    in_r = offs_r < RANK

    acc = tl.zeros([BLOCK_M, BLOCK_R], dtype=tl.float32)
    for k in range(0, K, BLOCK_K):
        in_k = k + offs_k < K
        if EVEN_K and RANK == BLOCK_R:
            a = tl.load(a_ptrs)
        else:
            a = tl.load(a_ptrs, mask=in_r[None, :] if EVEN_K else in_r[None, :] & in_k[:, None], other=0.0)
        x = tl.load(x_ptrs, mask=in_m if EVEN_K else in_m & in_k[None, :], other=0.0)
        acc = tl.dot(x, a, acc)
        x_ptrs += BLOCK_K
        a_ptrs += BLOCK_K
    h = acc.to(x_ptr.dtype.element_ty)  # [BM, BR]

    b_ptr += slot * b_stride_l + expert * b_stride_e
    out_ptr += (tl.where(pair < pairs, pair, 0) * NUM_SLICES + slice_id)[:, None] * N  # [BM, 1]
    if ROUTED:
        weight = tl.load(topk_weights_ptr + pair, mask=pair < pairs, other=0.0)[:, None]
    for n in range(part * BLOCK_N, N, column_blocks * BLOCK_N):
        offs_n = n + tl.arange(0, BLOCK_N)
        in_n = (offs_n < N)[None, :]
        b_ptrs = b_ptr + offs_n[None, :] * RANK + offs_r[:, None]  # [BR, BN]
        b = tl.load(b_ptrs, mask=in_r[:, None] & in_n, other=0.0)
        out_ptrs = out_ptr + offs_n[None, :]  # [BM, BN]
        if ADD_INPUTS:
            base = tl.load(out_ptrs, mask=in_m & in_n, other=0.0)
        out = tl.dot(h, b)
        if ROUTED:
            out *= weight
        if ADD_INPUTS:
            out += base
        tl.store(out_ptrs, out.to(out_ptr.dtype.element_ty), mask=in_m & in_n)


@dataclass(frozen=True)
class MoeOneShotArguments:
    """Arguments of one call.

    Attributes:
        x: ``[M, K]`` (gate_up) or ``[M * T, K]`` (down) fp16 or bf16, contiguous.
        a: S weights ``[L, E, R, K]``, type of x, equal strides; E of stride 0 shares a matrix among experts.
        b: S weights ``[L, E, N, R]``, likewise.
        out: ``[M, T, S * N]``, type of x, contiguous.
        batch: Which token uses which adapter and experts.
        add_inputs: Add to `out`, or overwrite it.
        routed: Multiply by the routing weights (down only).
        tables: Addresses of `a` and `b` on the device, for more than one slice; uploaded here, ahead of graph captures,
            unless given.
    """

    x: torch.Tensor
    a: list[torch.Tensor]
    b: list[torch.Tensor]
    out: torch.Tensor
    batch: Batch
    add_inputs: bool = True
    routed: bool = False
    tables: tuple[torch.Tensor, torch.Tensor] | None = None

    def __post_init__(self) -> None:
        check_weights(self.a, self.x.dtype, "fused_moe_lora one-shot")
        check_weights(self.b, self.x.dtype, "fused_moe_lora one-shot")
        check_activations(self.x, self.out, "fused_moe_lora one-shot")
        if len(self.a) > 1 and self.tables is None:
            object.__setattr__(self, "tables", (address_table(self.a), address_table(self.b)))


def one_shot_launches(inputs: MoeOneShotArguments, config: Config) -> list[Launch]:
    """Returns the launch that does it all; block_m is the only part of a config that counts, and not where blocks are
    naive."""
    routing = inputs.batch.routing
    if routing.pairs == 0:
        return []
    a, b = inputs.a[0], inputs.b[0]
    (_, _, rank, k), n, slices = a.shape, b.shape[2], len(inputs.a)
    blocks = inputs.batch.blocks(_NAIVE_BLOCK_M if inputs.batch.naive else integers(config)["block_m"])
    sms, shared_bytes = _machine(inputs.x)
    columns = _column_blocks(blocks.m_tiles * slices * blocks.groups, n, k, sms)
    deep = k >= _DEEP or routing.pairs >= _BUSY_EXPERT * routing.num_experts
    block_k = _DEEP_BLOCK_K if deep else _SHALLOW_BLOCK_K
    args = (
        inputs.x,
        *((a, b) if inputs.tables is None else inputs.tables),
        inputs.out,
        routing.topk_weights,
        *blocks.args,
        n,
        k,
        a.stride(0),
        a.stride(1),
        b.stride(0),
        b.stride(1),
        columns,
    )
    options = {
        **blocks.options,
        "RANK": rank,
        "BLOCK_N": BLOCK_N,
        "BLOCK_K": block_k,
        "BLOCK_R": max(16, next_pow2(rank)),
        "PAIRS_PER_ROW": routing.pairs // inputs.x.shape[0],
        "NUM_SLICES": slices,
        "EVEN_K": k % block_k == 0,
        "ROUTED": inputs.routed,
        "ADD_INPUTS": inputs.add_inputs,
        "num_warps": 8 if columns > 1 else 4,
        "num_stages": 2 if shared_bytes < _SMALL_SHARED_BYTES else 3,
    }
    return [Launch(moe_one_shot_kernel, (blocks.m_tiles * columns, slices, blocks.groups), args, options)]


def moe_one_shot(inputs: MoeOneShotArguments, config: Config) -> torch.Tensor:
    """Computes ``out[t, j, slice s] (+)= weight * cast(x[row] @ a[s][..].T) @ b[s][adapter of t, expert j of t].T``.

    Semantics of vLLM's one-shot path (contracts A6): sums and the routing weight are fp32, the rank
    intermediate is cast to the type of the weights; rows of tokens without an adapter stay.
    """
    for launch in one_shot_launches(inputs, config):
        launch.run()
    return inputs.out


def _column_blocks(base: int, n: int, k: int, sms: int) -> int:
    """Counts the thread blocks that share a block of rows, each with columns of its own but the whole shrink (contracts
    A6)."""
    if base >= _WAVES * sms:
        return 1
    worthwhile = int(1.5 * (k + n) / k) + 1
    return max(1, min(_MOST_COLUMN_BLOCKS, cdiv(2 * sms, base), worthwhile, cdiv(n, BLOCK_N)))


def _machine(tensor: torch.Tensor) -> tuple[int, int]:
    """Returns the SMs, and the shared memory of a block, of the tensor's GPU. Compiling ahead (``meta``) takes an
    H200's: the launch options hardly depend on them, and where they do, the first real launch compiles."""
    if tensor.device.type != "cuda":
        return H200.sms, H200.shared_bytes
    return _cuda_machine(tensor.device)


@functools.cache
def _cuda_machine(device: torch.device) -> tuple[int, int]:
    properties: Any = torch.cuda.get_device_properties(device)
    return properties.multi_processor_count, properties.shared_memory_per_block_optin
