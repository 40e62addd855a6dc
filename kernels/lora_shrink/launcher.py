"""The shrink kernel and the operation a server calls. Shapes: README.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from autotune.contract import Config, Launch
from autotune.kernels.common.addresses import address_table
from autotune.kernels.common.metadata import LoraMetadata
from autotune.kernels.common.tiles import cdiv, integers
from autotune.servers.vllm import launching


@triton.jit(do_not_specialize=["M"])
def lora_shrink_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    a_ptr,
    out_ptr,
    sorted_tokens_ptr,
    lora_tokens_ptr,
    lora_start_ptr,
    lora_ids_ptr,
    scaling,
    M,
    N,
    K,
    x_stride_m,
    a_stride_l,
    out_stride_s,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SPLIT_K: tl.constexpr,
    GROUP_M: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    EVEN_N: tl.constexpr,
    EVEN_K: tl.constexpr,
):
    pid = tl.program_id(0)
    split = pid % SPLIT_K
    if split * BLOCK_K >= K:
        return

    # One exit for all reasons: the loads it waits for travel together, and the divisions hide in their latency.
    group = tl.program_id(2)
    lora_id = tl.load(lora_ids_ptr + group)
    start = tl.load(lora_start_ptr + group)
    end = start + tl.load(lora_tokens_ptr + group)
    slice_id = tl.program_id(1)
    if NUM_SLICES > 1:
        a_ptr = tl.load(a_ptr + slice_id).to(tl.pointer_type(x_ptr.dtype.element_ty))
        a_ptr = tl.multiple_of(a_ptr, 16)

    tile = pid // SPLIT_K
    m_tiles = tl.cdiv(M, BLOCK_M)
    band = GROUP_M * tl.cdiv(N, BLOCK_N)
    first_m = tile // band * GROUP_M
    band_m = min(m_tiles - first_m, GROUP_M)
    pid_m = first_m + tile % band % band_m
    pid_n = tile % band // band_m
    first = start + pid_m * BLOCK_M
    if (lora_id == -1) | (first >= end):
        return

    offs_m = first + tl.arange(0, BLOCK_M)
    offs_n = pid_n * BLOCK_N + tl.arange(0, BLOCK_N)
    offs_k = split * BLOCK_K + tl.arange(0, BLOCK_K)
    in_m = (offs_m < end)[:, None]
    in_n = (offs_n < N)[None, :]
    token = tl.load(sorted_tokens_ptr + offs_m, mask=offs_m < end, other=0).to(tl.int64)
    x_ptrs = x_ptr + token[:, None] * x_stride_m + offs_k[None, :]  # [BM, BK]
    a_ptrs = a_ptr + lora_id.to(tl.int64) * a_stride_l + offs_n[None, :] * K + offs_k[:, None]  # [BK, BN]

    acc = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
    for k in range(split * BLOCK_K, K, BLOCK_K * SPLIT_K):
        in_k = k + tl.arange(0, BLOCK_K) < K
        # The weights first: x waits for the token list.
        if EVEN_K and EVEN_N:
            a = tl.load(a_ptrs)
        else:
            a = tl.load(a_ptrs, mask=in_n if EVEN_K else in_n & in_k[:, None], other=0.0)
        x = tl.load(x_ptrs, mask=in_m if EVEN_K else in_m & in_k[None, :], other=0.0)
        acc = tl.dot(x, a, acc)
        x_ptrs += BLOCK_K * SPLIT_K
        a_ptrs += BLOCK_K * SPLIT_K
    acc *= scaling

    out_ptrs = out_ptr + slice_id.to(tl.int64) * out_stride_s + token[:, None] * N + offs_n[None, :]
    if SPLIT_K == 1:
        tl.store(out_ptrs, acc, mask=in_m & in_n)
    else:
        tl.atomic_add(out_ptrs, acc, mask=in_m & in_n, sem="relaxed")


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
        if len(self.a) > 1 and self.table is None:
            object.__setattr__(self, "table", address_table(self.a))


def shrink_launches(inputs: LoraShrinkArguments, config: Config) -> list[Launch]:
    """Returns the launch that adds every adapter's product into the zeroed output."""
    (m, k), (slices, _, n) = inputs.x.shape, inputs.out.shape
    if m == 0:
        return []
    c, meta = integers(config), inputs.metadata
    x = inputs.x if inputs.x.stride(1) == 1 else inputs.x.contiguous()
    tiles = cdiv(m, c["block_m"]) * cdiv(n, c["block_n"])
    args = (
        x,
        inputs.a[0] if inputs.table is None else inputs.table,
        inputs.out,
        meta.token_indices_sorted_by_lora_ids,
        meta.num_tokens_per_lora,
        meta.lora_token_start_loc,
        meta.lora_ids,
        inputs.scaling,
        m,
        n,
        k,
        x.stride(0),
        n * k,
        inputs.out.stride(0),
    )
    options = {
        "BLOCK_M": c["block_m"],
        "BLOCK_N": c["block_n"],
        "BLOCK_K": c["block_k"],
        "SPLIT_K": c["split_k"],
        "GROUP_M": c.get("group_size_m", 8),
        "NUM_SLICES": slices,
        "EVEN_N": n % c["block_n"] == 0,
        "EVEN_K": k % c["block_k"] == 0,
        "num_warps": c["num_warps"],
        "num_stages": c["num_stages"],
        "num_ctas": c["num_ctas"],
    }
    return [Launch(lora_shrink_kernel, (c["split_k"] * tiles, slices, meta.groups), args, options)]


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
    inputs.out.zero_()
    for launch in shrink_launches(inputs, config):
        launch.run()
    return inputs.out
