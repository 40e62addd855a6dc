"""Makes inputs of the fused MoE LoRA kernels and runs them."""

from __future__ import annotations

from typing import Generic, TypeVar

import torch

from autotune.contract import Config, Expected, Launch
from autotune.kernels.common.execution import Execution
from autotune.kernels.fused_moe_lora.expand import MoeExpandArguments, expand_launches, moe_expand
from autotune.kernels.fused_moe_lora.inputs import MoeTensors, WithStart
from autotune.kernels.fused_moe_lora.one_shot import MoeOneShotArguments, moe_one_shot, one_shot_launches
from autotune.kernels.fused_moe_lora.problem import MoeProblem, MoeSide
from autotune.kernels.fused_moe_lora.reference import expand_reference, one_shot_reference, shrink_reference
from autotune.kernels.fused_moe_lora.shrink import MoeShrinkArguments, moe_shrink, shrink_launches
from autotune.kernels.fused_moe_lora.sizes import MoeSizes

Inputs = TypeVar("Inputs")


class _MoeExecution(Execution[MoeProblem, Inputs], Generic[Inputs]):
    """Runs a kernel of one side of a layer."""

    def __init__(self, side: MoeSide) -> None:
        self._side = side


class MoeShrinkExecution(_MoeExecution[MoeShrinkArguments]):
    def make_inputs(self, problem: MoeProblem, device: str, seed: int) -> MoeShrinkArguments:
        p, s = problem, MoeSizes(problem, self._side)
        tensors = MoeTensors(p, device, seed)
        return MoeShrinkArguments(
            x=tensors.normal(s.rows, s.depth),
            a=tensors.weights(s.slices, s.shrunk, s.depth),
            out=torch.zeros(s.slices, p.m, p.top_k, s.shrunk, dtype=p.torch_dtype, device=device),
            batch=tensors.batch,
        )

    def launches(self, inputs: MoeShrinkArguments, config: Config) -> list[Launch]:
        return shrink_launches(inputs, config)

    def run(self, inputs: MoeShrinkArguments, config: Config) -> torch.Tensor:
        return moe_shrink(inputs, config)

    def poison(self, inputs: MoeShrinkArguments) -> None:
        inputs.out.fill_(torch.nan)

    def reference(self, inputs: MoeShrinkArguments, dtype: torch.dtype) -> Expected:
        return shrink_reference(inputs, dtype)


class MoeExpandExecution(_MoeExecution[WithStart[MoeExpandArguments]]):
    def make_inputs(self, problem: MoeProblem, device: str, seed: int) -> WithStart[MoeExpandArguments]:
        p, s = problem, MoeSizes(problem, self._side)
        tensors = MoeTensors(p, device, seed)
        start = tensors.normal(p.m, p.top_k, s.row)
        arguments = MoeExpandArguments(
            x=tensors.normal(s.slices, p.m, p.top_k, p.rank),
            b=tensors.weights(s.slices, s.width, p.rank),
            out=start.clone(),
            batch=tensors.batch,
            add_inputs=p.add_inputs,
            routed=self._side.routed,
            offset=s.offset,
        )
        return WithStart(arguments, start, arguments.written)

    def launches(self, inputs: WithStart[MoeExpandArguments], config: Config) -> list[Launch]:
        return expand_launches(inputs.arguments, config)

    def run(self, inputs: WithStart[MoeExpandArguments], config: Config) -> torch.Tensor:
        return moe_expand(inputs.arguments, config)

    def poison(self, inputs: WithStart[MoeExpandArguments]) -> None:
        inputs.restore()

    def reference(self, inputs: WithStart[MoeExpandArguments], dtype: torch.dtype) -> Expected:
        return expand_reference(inputs.arguments, inputs.start, dtype)


class MoeOneShotExecution(_MoeExecution[WithStart[MoeOneShotArguments]]):
    def make_inputs(self, problem: MoeProblem, device: str, seed: int) -> WithStart[MoeOneShotArguments]:
        p, s = problem, MoeSizes(problem, self._side)
        tensors = MoeTensors(p, device, seed)
        start = tensors.normal(p.m, p.top_k, s.row)
        arguments = MoeOneShotArguments(
            x=tensors.normal(s.rows, s.depth),
            a=tensors.weights(s.slices, p.rank, s.depth),
            b=tensors.weights(s.slices, s.width, p.rank),
            out=start.clone(),
            batch=tensors.batch,
            add_inputs=p.add_inputs,
            routed=self._side.routed,
        )
        return WithStart(arguments, start, arguments.out)

    def launches(self, inputs: WithStart[MoeOneShotArguments], config: Config) -> list[Launch]:
        return one_shot_launches(inputs.arguments, config)

    def run(self, inputs: WithStart[MoeOneShotArguments], config: Config) -> torch.Tensor:
        return moe_one_shot(inputs.arguments, config)

    def poison(self, inputs: WithStart[MoeOneShotArguments]) -> None:
        inputs.restore()

    def reference(self, inputs: WithStart[MoeOneShotArguments], dtype: torch.dtype) -> Expected:
        return one_shot_reference(inputs.arguments, inputs.start, dtype)
