"""LoRA expand as the tuner sees it: its space and what it costs at least."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autotune.contract import Call, Config, Floor, Gpu, Parameter
from autotune.kernels.common.dense_kernel import DenseKernel
from autotune.kernels.common.execution import Execution
from autotune.kernels.common.problem import fields_from_flags, fields_from_recording, required
from autotune.kernels.common.sliced_problem import slices_from_flags
from autotune.kernels.common.tiles import Tile, integers, next_pow2, powers_of_two
from autotune.kernels.lora_expand.cost import blocks_launched, launch_us
from autotune.kernels.lora_expand.defaults import default_config
from autotune.kernels.lora_expand.problem import LoraExpandProblem
from autotune.kernels.lora_expand.stages import forced_stages


class LoraExpand(DenseKernel[LoraExpandProblem]):
    """vLLM's dense ``lora_expand`` after a shrink (fp32 x; contracts A4), with its config keys."""

    name = "lora_expand"
    aliases = ("expand",)
    problem_type = LoraExpandProblem
    op = "expand"

    @property
    def execution(self) -> Execution[LoraExpandProblem, Any]:
        from autotune.kernels.lora_expand.execution import LoraExpandExecution  # needs torch

        return LoraExpandExecution()

    def problem_from_flags(self, flags: Mapping[str, Any]) -> LoraExpandProblem:
        return LoraExpandProblem(
            k=required(flags, "lora_rank"),
            n=required(flags, "hidden_size"),
            **slices_from_flags(flags),
            **fields_from_flags(flags),
        )

    def parameters(self, problem: LoraExpandProblem, space: str) -> tuple[Parameter, ...]:
        if space == "vllm-grid":
            values: dict[str, tuple[int, ...]] = {
                "block_m": powers_of_two(16, 256),
                "block_n": powers_of_two(32, 256),
                "block_k": powers_of_two(16, 256),
                "num_warps": (4, 8),
                "num_stages": (2, 3, 4, 5),
            }
        else:
            values = {
                "block_m": powers_of_two(16, min(256, next_pow2(problem.m))),
                "block_n": powers_of_two(16, min(512, next_pow2(problem.n))),
                "block_k": powers_of_two(16, next_pow2(problem.k)),
                "num_warps": (1, 2, 4, 8),
                "num_stages": (1, 2, 3, 4),
            }
        return tuple(Parameter(name, values) for name, values in {**values, "num_ctas": (1,)}.items())

    def own_default(self, problem: LoraExpandProblem, gpu: Gpu) -> Config:
        p = problem
        return self.canonical(p, default_config(p.m, p.k, p.n, p.num_slices), gpu)

    def canonical(self, problem: LoraExpandProblem, config: Config, gpu: Gpu) -> Config:
        stages = forced_stages(gpu.capability, float32=True)
        return {**config, "num_stages": config["num_stages"] if stages is None else stages}

    def infeasible(self, problem: LoraExpandProblem, config: Config, gpu: Gpu) -> str | None:
        return _tile(config).infeasible(problem.m, problem.n, problem.k, gpu)

    def cannot_run(self, call: Call, config: Config, shared_bytes: int) -> str | None:
        """The weights alone count: an embedding's x is smaller, and on some GPUs nothing is loaded ahead."""
        return _tile(config).cannot_run(shared_bytes)

    def floor(self, problem: LoraExpandProblem) -> Floor:
        p = problem
        tokens, columns = p.m - p.base_tokens, sum(p.slice_widths)
        weights, out = p.adapters_read * columns * p.k, tokens * columns * (2 if p.add_inputs else 1)
        return Floor(4 * tokens * p.num_slices * p.k + 2 * (weights + out), 2 * p.m * p.k * columns)

    def blocks_launched(self, problem: LoraExpandProblem, config: Config) -> int:
        return blocks_launched(problem, integers(config))

    def launch_us(self, problem: LoraExpandProblem, config: Config, gpu: Gpu, launched: int) -> float:
        return launch_us(problem, integers(config), gpu, launched)

    def call(self, problem: LoraExpandProblem) -> Call:
        call = super().call(problem)
        return replace(call, dims={**call.dims, "add_inputs": int(problem.add_inputs)})

    def problem_of_recording(self, name: str) -> LoraExpandProblem | None:
        fields = fields_from_recording(name, self.op)
        return LoraExpandProblem(**fields) if fields else None


def _tile(config: Config) -> Tile:
    c = integers(config)
    return Tile(c["block_m"], c["block_n"], c["block_k"], c["num_warps"], c["num_stages"], 4, 2)


KERNELS = [LoraExpand()]
