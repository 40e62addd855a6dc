"""Our shrink in the place of SGLang's ``chunked_sgmv_lora_shrink_forward``."""

from __future__ import annotations

import torch

from autotune.contract import Call, Config, Launch
from autotune.kernels.common.chunks import ChunkedBatch
from autotune.kernels.common.machine import shared_bytes
from autotune.kernels.common.segmentation import Segmentation
from autotune.kernels.csgmv_shrink import defaults
from autotune.kernels.csgmv_shrink.launcher import CsgmvShrinkArguments, shrink_launches
from autotune.servers.sglang import facts
from autotune.servers.sglang.plugin.drop_in import CsgmvCall, CsgmvDropIn


class CsgmvShrinkDropIn(CsgmvDropIn[CsgmvShrinkArguments]):
    """Any pool of half-precision adapters (contracts B3)."""

    name = "csgmv_shrink"

    def outside(self, call: CsgmvCall) -> str:
        (_, k), (_, rows, depth) = call.x.shape, call.weights.shape
        if k != depth or rows % call.num_slices:
            return "weights and x do not fit"
        return call.outside

    def output(self, call: CsgmvCall) -> torch.Tensor:
        return torch.empty(call.x.shape[0], call.weights.shape[1], dtype=call.x.dtype, device=call.x.device)

    def arguments(self, call: CsgmvCall, out: torch.Tensor) -> CsgmvShrinkArguments:
        batch = ChunkedBatch(**vars(call.batch))
        return CsgmvShrinkArguments(call.x, call.weights, out, batch, call.num_slices, call.check_ranks)

    def lookup(self, call: CsgmvCall) -> Call:
        rank = call.weights.shape[1] // call.num_slices
        dims = {"K": call.x.shape[1], "R": rank, "S": call.num_slices, "chunk_size": call.batch.chunk_size}
        return Call(facts.NAME, "shrink", dims)

    def default_config(self, call: CsgmvCall) -> Config:
        tokens, k = call.x.shape
        batch = Segmentation(tokens, call.batch.segments, call.batch.chunk_size, call.weights.shape[0])
        return defaults.default_config(batch, call.weights.shape[1], k, call.is_decode, shared_bytes())

    def launches(self, arguments: CsgmvShrinkArguments, config: Config) -> list[Launch]:
        return shrink_launches(arguments, config)


DROP_IN = CsgmvShrinkDropIn()
