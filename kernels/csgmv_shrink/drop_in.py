"""Our shrink in the place of SGLang's ``chunked_sgmv_lora_shrink_forward``."""

from __future__ import annotations

from dataclasses import replace

import torch

from autotune.contract import Call, Config, Launch
from autotune.kernels.common.chunks import ChunkedBatch
from autotune.kernels.csgmv_shrink import defaults
from autotune.kernels.csgmv_shrink.launcher import CsgmvShrinkArguments, csgmv_shrink, shrink_launches
from autotune.servers.sglang import facts
from autotune.servers.sglang.plugin.drop_in import CsgmvCall, CsgmvDropIn

_FEW_TOKENS = 64
_FEW_COLUMNS = 16
"""With more columns than that, SGLang's own kernel is 1.2x to 2x as fast for batches of so few tokens as our default,
which is chosen for prompts; with so many ours is 1.2x as fast (an H200, ranks 16 and 64, 1 to 64 tokens)."""


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
        return defaults.default_config(call.batch.chunk_size, call.weights.shape[1], call.x.shape[1])

    def slower_untuned(self, call: CsgmvCall) -> str:
        is_decode = call.check_ranks or call.x.shape[0] <= _FEW_TOKENS
        is_slower = is_decode and call.weights.shape[1] > _FEW_COLUMNS
        return f"decode batches, more than {_FEW_COLUMNS} columns" if is_slower else ""

    def launches(self, arguments: CsgmvShrinkArguments, config: Config) -> list[Launch]:
        return shrink_launches(arguments, config)

    def run(self, arguments: CsgmvShrinkArguments, config: Config) -> torch.Tensor:
        return csgmv_shrink(arguments, config)


DROP_IN = CsgmvShrinkDropIn()
