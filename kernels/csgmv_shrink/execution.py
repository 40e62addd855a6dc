"""Makes inputs of csgmv shrink and runs it."""

from __future__ import annotations

import torch

from autotune.contract import Config, Expected, Launch
from autotune.kernels.common.csgmv_execution import CsgmvExecution, CsgmvInputs, is_captured, random_batch
from autotune.kernels.common.normal import Normal
from autotune.kernels.csgmv_shrink.launcher import CsgmvShrinkArguments, csgmv_shrink, shrink_launches
from autotune.kernels.csgmv_shrink.problem import CsgmvShrinkProblem
from autotune.kernels.csgmv_shrink.reference import reference
from autotune.kernels.csgmv_shrink.workspace import Workspace, most_partials, most_tiles, no_arrivals

ShrinkInputs = CsgmvInputs[CsgmvShrinkArguments]


class CsgmvShrinkExecution(CsgmvExecution[CsgmvShrinkProblem, CsgmvShrinkArguments]):
    def make_inputs(self, problem: CsgmvShrinkProblem, device: str, seed: int) -> ShrinkInputs:
        """Weights of ranks that an adapter does not have are NaN; they must not be used."""
        p = problem
        normal = Normal(device, p.torch_dtype, seed)
        a = normal.weights(len(p.pool_ranks), p.columns, p.k)
        for slot, rank in enumerate(p.pool_ranks):
            a[slot, p.num_slices * rank :] = torch.nan
        out = torch.zeros(p.tokens, p.columns, dtype=p.torch_dtype, device=device)
        batch = random_batch(p, device, seed)
        x, workspace = normal(p.tokens, p.k), _workspace(p, device)
        arguments = CsgmvShrinkArguments(x, a, out, batch, p.num_slices, is_captured(p), workspace)
        return ShrinkInputs(arguments, start=self._start(arguments))

    def _start(self, arguments: CsgmvShrinkArguments) -> torch.Tensor:
        start = arguments.out.clone()
        if start.device.type == "meta":
            return start
        for tokens, _, rank in arguments.batch.by_adapter():
            start[tokens, : arguments.num_slices * rank] = torch.nan
        return start

    def launches(self, inputs: ShrinkInputs, config: Config) -> list[Launch]:
        return shrink_launches(inputs.arguments, config)

    def run(self, inputs: ShrinkInputs, config: Config) -> torch.Tensor:
        return csgmv_shrink(inputs.arguments, config)

    def reference(self, inputs: ShrinkInputs, dtype: torch.dtype) -> Expected:
        return reference(inputs.arguments, inputs.start, dtype)


def _workspace(p: CsgmvShrinkProblem, device: str) -> Workspace | None:
    """Makes what the plug-in has for such a call."""
    partials = most_partials(p.segmentation, p.k, p.columns) if p.is_decode else 0
    if partials == 0:
        return None
    return Workspace.of(partials, no_arrivals(most_tiles(p.segmentation.segments, p.columns), device))
