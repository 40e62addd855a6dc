"""Our shrink in the place of SGLang's ``chunked_sgmv_lora_shrink_forward``."""

from __future__ import annotations

from dataclasses import replace

import torch

from autotune.contract import Call, Config, Launch
from autotune.kernels.common.chunks import ChunkedBatch
from autotune.kernels.common.tiles import next_pow2
from autotune.kernels.csgmv_shrink.launcher import CsgmvShrinkArguments, csgmv_shrink, shrink_launches
from autotune.servers.sglang import facts
from autotune.servers.sglang.plugin.drop_in import CsgmvCall, CsgmvDropIn

_WARPS = {16: 2, 32: 2, 64: 4, 128: 8}
"""By chunk size, as studies on an H100 and an H200 chose (docs/results.md)."""

_TILE_ELEMENTS = {16: 8192, 32: 8192, 64: 4096, 128: 4096}
"""Weights of one K step, likewise."""

_WIDE = 128
"""Columns of one block, likewise: where they divide the output, x is read fewer times; a K step then has `_WIDE_STEP`
columns at every chunk size."""
_WIDE_STEP = 64


class CsgmvShrinkDropIn(CsgmvDropIn[CsgmvShrinkArguments]):
    """Any pool of half-precision adapters (contracts B3)."""

    name = "csgmv_shrink"

    def outside(self, call: CsgmvCall) -> str:
        (_, k), (_, rows, depth) = call.x.shape, call.weights.shape
        if k != depth or rows % call.num_slices:
            return "weights and x do not fit"
        return call.outside

    def arguments(self, call: CsgmvCall) -> CsgmvShrinkArguments:
        x, batch = call.x, ChunkedBatch(**vars(call.batch))
        if call.check_ranks:
            # It decides on the width of the stores alone, which are few: not worth a look.
            batch = replace(batch, rank_alignment=1)
        out = torch.empty(x.shape[0], call.weights.shape[1], dtype=x.dtype, device=x.device)
        return CsgmvShrinkArguments(x, call.weights, out, batch, call.num_slices)

    def lookup(self, call: CsgmvCall) -> Call:
        rank = call.weights.shape[1] // call.num_slices
        dims = {"K": call.x.shape[1], "R": rank, "S": call.num_slices, "chunk_size": call.batch.chunk_size}
        return Call(facts.NAME, "shrink", dims)

    def default_config(self, call: CsgmvCall) -> Config:
        chunk_size, columns, depth = call.batch.chunk_size, call.weights.shape[1], next_pow2(call.x.shape[1])
        if columns % _WIDE == 0:
            block_n, block_k = _WIDE, max(32, min(_WIDE_STEP, depth))
        else:
            block_n = max(16, min(64, next_pow2(columns)))
            block_k = max(32, min(512, _TILE_ELEMENTS[chunk_size] // block_n, depth))
        return {"BLOCK_N": block_n, "BLOCK_K": block_k, "num_warps": _WARPS[chunk_size], "num_stages": 3}

    def launches(self, arguments: CsgmvShrinkArguments, config: Config) -> list[Launch]:
        return shrink_launches(arguments, config)

    def run(self, arguments: CsgmvShrinkArguments, config: Config) -> torch.Tensor:
        return csgmv_shrink(arguments, config)


DROP_IN = CsgmvShrinkDropIn()
