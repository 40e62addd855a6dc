"""Makes inputs of csgmv expand and runs it."""

from __future__ import annotations

import torch

from autotune.contract import Config, Expected, Launch
from autotune.kernels.common.csgmv_execution import CsgmvExecution, CsgmvInputs, is_captured, random_batch
from autotune.kernels.common.normal import Normal
from autotune.kernels.csgmv_expand.launcher import CsgmvExpandArguments, csgmv_expand, expand_launches
from autotune.kernels.csgmv_expand.problem import CsgmvExpandProblem
from autotune.kernels.csgmv_expand.reference import reference

ExpandInputs = CsgmvInputs[CsgmvExpandArguments]


class CsgmvExpandExecution(CsgmvExecution[CsgmvExpandProblem, CsgmvExpandArguments]):
    def make_inputs(self, problem: CsgmvExpandProblem, device: str, seed: int) -> ExpandInputs:
        """What an adapter's rank does not reach, in x and in the weights, is NaN: it must not be used."""
        p = problem
        normal = Normal(device, p.torch_dtype, seed)
        b = normal.weights(len(p.pool_ranks), p.columns, p.rank)
        for slot, rank in enumerate(p.pool_ranks):
            b[slot, :, rank:] = torch.nan
        x, batch = normal(p.tokens, p.num_slices * p.rank), random_batch(p, device, seed)
        start = normal(p.tokens, p.columns)
        arguments = CsgmvExpandArguments(x, b, start.clone(), batch, p.slice_widths, is_captured(p))
        if not p.one_rank and device != "meta":
            for tokens, _, rank in batch.by_adapter():
                x[tokens, p.num_slices * rank :] = torch.nan
        return ExpandInputs(arguments, start)

    def launches(self, inputs: ExpandInputs, config: Config) -> list[Launch]:
        return expand_launches(inputs.arguments, config)

    def run(self, inputs: ExpandInputs, config: Config) -> torch.Tensor:
        return csgmv_expand(inputs.arguments, config)

    def reference(self, inputs: ExpandInputs, dtype: torch.dtype) -> Expected:
        return reference(inputs.arguments, inputs.start, dtype)
