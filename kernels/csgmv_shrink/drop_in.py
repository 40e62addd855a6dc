"""Our shrink in the place of SGLang's ``chunked_sgmv_lora_shrink_forward``."""

from __future__ import annotations

import torch

from autotune.contract import Call, Config, Launch
from autotune.kernels.common.chunks import ChunkedBatch
from autotune.kernels.common.machine import shared_bytes
from autotune.kernels.common.segmentation import Segmentation
from autotune.kernels.csgmv_shrink import defaults
from autotune.kernels.csgmv_shrink.launcher import CsgmvShrinkArguments, shrink_launches
from autotune.kernels.csgmv_shrink.split_kernel import Workspace
from autotune.servers.plugin import capture
from autotune.servers.sglang import facts
from autotune.servers.sglang.plugin.drop_in import CsgmvCall, CsgmvDropIn


class CsgmvShrinkDropIn(CsgmvDropIn[CsgmvShrinkArguments]):
    """Any pool of half-precision adapters (contracts B3)."""

    name = "csgmv_shrink"

    def __init__(self) -> None:
        self._workspaces: dict[tuple[torch.device, int], Workspace] = {}
        """By device and stream: calls of one follow each other, those of two may run at the same time. They stay, for
        graphs that are replayed use them."""

    def outside(self, call: CsgmvCall) -> str:
        (_, k), (_, rows, depth) = call.x.shape, call.weights.shape
        if k != depth or rows % call.num_slices:
            return "weights and x do not fit"
        return call.outside

    def output(self, call: CsgmvCall) -> torch.Tensor:
        return torch.empty(call.x.shape[0], call.weights.shape[1], dtype=call.x.dtype, device=call.x.device)

    def arguments(self, call: CsgmvCall, out: torch.Tensor) -> CsgmvShrinkArguments:
        batch = ChunkedBatch(**vars(call.batch))
        workspace = self._workspace(call)
        return CsgmvShrinkArguments(call.x, call.weights, out, batch, call.num_slices, call.check_ranks, workspace)

    def kept_tensors(self, call: CsgmvCall) -> tuple[torch.Tensor, ...]:
        workspace = self._workspace(call)
        return () if workspace is None else (workspace.partials, workspace.arrivals)

    def _workspace(self, call: CsgmvCall) -> Workspace | None:
        """Returns what blocks of a decode batch share K in; a graph that is captured before its stream has had such a
        call does without."""
        device = call.x.device
        if not call.is_decode:
            return None
        if device.type == "meta":
            return Workspace.make(device)
        stream = torch.cuda.current_stream(device).cuda_stream if call.x.is_cuda else 0
        found = self._workspaces.get((device, stream))
        if found is None and not capture.is_on(call.x):
            found = self._workspaces.setdefault((device, stream), Workspace.make(device))
        return found

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
