"""Our expand in the place of SGLang's ``chunked_sgmv_lora_expand_forward``."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from autotune.contract import Call, Config, Launch
from autotune.kernels.common.chunks import ChunkedBatch, segmentation
from autotune.kernels.csgmv_expand import defaults
from autotune.kernels.csgmv_expand.launcher import CsgmvExpandArguments, expand_launches
from autotune.servers.sglang import facts
from autotune.servers.sglang.plugin.drop_in import CsgmvCall, CsgmvDropIn


class CsgmvExpandDropIn(CsgmvDropIn[CsgmvExpandArguments]):
    """Any pool of half-precision adapters, slices of any widths, an output with rows of any stride (contracts B3)."""

    name = "csgmv_expand"

    def outside(self, call: CsgmvCall) -> str:
        (tokens, columns), (_, n, rank) = call.x.shape, call.weights.shape
        if len(call.widths) != call.num_slices or sum(call.widths) != n or columns != call.num_slices * rank:
            return "weights, x and slices do not fit"
        base = call.base
        if base is not None and (base.dtype != call.x.dtype or base.stride(1) != 1 or base.shape[0] < tokens):
            return f"the output is {base.dtype} with strides {tuple(base.stride())}"
        return call.outside

    def output(self, call: CsgmvCall) -> torch.Tensor:
        x, n = call.x, call.weights.shape[1]
        return torch.zeros(x.shape[0], n, dtype=x.dtype, device=x.device) if call.base is None else call.base

    def arguments(
        self, call: CsgmvCall, out: torch.Tensor, workspace: Sequence[torch.Tensor] = ()
    ) -> CsgmvExpandArguments:
        batch = ChunkedBatch(**vars(call.batch))
        return CsgmvExpandArguments(call.x, call.weights, out, batch, call.widths, call.check_ranks)

    def lookup(self, call: CsgmvCall) -> Call:
        _, n, rank = call.weights.shape
        return Call(
            facts.NAME, "expand", {"K": n, "R": rank, "S": call.num_slices, "chunk_size": call.batch.chunk_size}
        )

    def default_config(self, call: CsgmvCall) -> Config:
        ranks = defaults.Ranks(call.weights.shape[2], call.batch.rank_alignment, call.check_ranks)
        batch = segmentation(call.x, call.weights, call.batch)
        return defaults.default_config(batch, ranks, call.widths, call.is_decode)

    def launches(self, arguments: CsgmvExpandArguments, config: Config) -> list[Launch]:
        return expand_launches(arguments, config)


DROP_IN = CsgmvExpandDropIn()
