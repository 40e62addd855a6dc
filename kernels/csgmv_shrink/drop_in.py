"""Our shrink in the place of SGLang's ``chunked_sgmv_lora_shrink_forward``."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from autotune.contract import Call, Config, Launch
from autotune.kernels.common.chunks import ChunkedBatch, segmentation
from autotune.kernels.common.machine import shared_bytes
from autotune.kernels.csgmv_shrink import defaults
from autotune.kernels.csgmv_shrink.launcher import CsgmvShrinkArguments, shrink_launches
from autotune.kernels.csgmv_shrink.workspace import Arrivals, Workspace, most_partials, most_tiles
from autotune.servers.sglang import facts
from autotune.servers.sglang.plugin.drop_in import CsgmvCall, CsgmvDropIn


class CsgmvShrinkDropIn(CsgmvDropIn[CsgmvShrinkArguments]):
    """Any pool of half-precision adapters (contracts B3)."""

    name = "csgmv_shrink"

    def __init__(self) -> None:
        self._arrivals = Arrivals()

    def outside(self, call: CsgmvCall) -> str:
        (_, k), (_, rows, depth) = call.x.shape, call.weights.shape
        if k != depth or rows % call.num_slices:
            return "weights and x do not fit"
        return call.outside

    def output(self, call: CsgmvCall) -> torch.Tensor:
        return torch.empty(call.x.shape[0], call.weights.shape[1], dtype=call.x.dtype, device=call.x.device)

    def workspace(self, call: CsgmvCall) -> tuple[torch.Tensor, ...]:
        """Returns what blocks share K in, of decode batches; nothing where no config has them share it."""
        columns, k = call.weights.shape[1:]
        partials = most_partials(segmentation(call.x, call.weights, call.batch), k, columns) if call.is_decode else 0
        if partials == 0:
            return ()
        arrivals = self._arrivals.of(call.weights, most_tiles(call.batch.segments, columns))
        return () if arrivals is None else Workspace.of(partials, arrivals).tensors

    def arguments(
        self, call: CsgmvCall, out: torch.Tensor, workspace: Sequence[torch.Tensor] = ()
    ) -> CsgmvShrinkArguments:
        batch = ChunkedBatch(**vars(call.batch))
        taken = Workspace(*workspace) if workspace else None
        return CsgmvShrinkArguments(call.x, call.weights, out, batch, call.num_slices, call.check_ranks, taken)

    def lookup(self, call: CsgmvCall) -> Call:
        rank = call.weights.shape[1] // call.num_slices
        dims = {"K": call.x.shape[1], "R": rank, "S": call.num_slices, "chunk_size": call.batch.chunk_size}
        return Call(facts.NAME, "shrink", dims)

    def default_config(self, call: CsgmvCall) -> Config:
        columns, k = call.weights.shape[1:]
        return defaults.default_config(
            segmentation(call.x, call.weights, call.batch), columns, k, call.is_decode, shared_bytes()
        )

    def launches(self, arguments: CsgmvShrinkArguments, config: Config) -> list[Launch]:
        return shrink_launches(arguments, config)


DROP_IN = CsgmvShrinkDropIn()
