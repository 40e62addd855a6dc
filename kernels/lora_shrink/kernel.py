"""LoRA shrink as the tuner sees it: its space and what it costs at least."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.contract import Call, Config, Floor, Gpu, Parameter
from autotune.kernels.common.dense_kernel import DenseKernel
from autotune.kernels.common.execution import Execution
from autotune.kernels.common.problem import fields_from_flags, fields_from_recording, required
from autotune.kernels.common.tiles import Tile, cdiv, integers, next_pow2, powers_of_two
from autotune.kernels.lora_shrink.cost import blocks_launched, launch_us
from autotune.kernels.lora_shrink.defaults import default_config
from autotune.kernels.lora_shrink.problem import LoraShrinkProblem

_NEUTRAL_GROUP = 8
_FULL_WAVES = 3
_FEW_STEPS = 8


class LoraShrink(DenseKernel[LoraShrinkProblem]):
    """vLLM's dense ``lora_shrink`` (contracts A4), with its configuration keys."""

    name = "lora_shrink"
    aliases = ("shrink",)
    problem_type = LoraShrinkProblem
    op = "shrink"

    @property
    def execution(self) -> Execution[LoraShrinkProblem, Any]:
        from autotune.kernels.lora_shrink.execution import LoraShrinkExecution  # needs torch

        return LoraShrinkExecution()

    def problem_from_flags(self, flags: Mapping[str, Any]) -> LoraShrinkProblem:
        return LoraShrinkProblem(
            k=required(flags, "hidden_size"), n=required(flags, "lora_rank"), **fields_from_flags(flags)
        )

    def parameters(self, problem: LoraShrinkProblem, space: str) -> tuple[Parameter, ...]:
        if space == "vllm-grid":
            values: dict[str, tuple[int, ...]] = {
                "block_m": powers_of_two(16, 256),
                "block_n": powers_of_two(min(32, max(16, next_pow2(problem.n))), 256),
                "block_k": powers_of_two(32, 256),
                "split_k": powers_of_two(4, 64),
                "num_warps": (4, 8),
                "num_stages": (2, 3, 4, 5),
                "group_size_m": (_NEUTRAL_GROUP,),
            }
        else:
            values = {
                "block_m": powers_of_two(16, min(256, next_pow2(problem.m))),
                "block_n": powers_of_two(16, min(256, next_pow2(problem.n * problem.num_slices))),
                "block_k": powers_of_two(32, 512 if problem.m > 64 else 1024),
                "split_k": powers_of_two(1, 64),
                "num_warps": (1, 2, 4, 8),
                "num_stages": (1, 2, 3, 4),
                "group_size_m": (1, _NEUTRAL_GROUP),
            }
        return tuple(Parameter(name, values) for name, values in {**values, "num_ctas": (1,)}.items())

    def own_default(self, problem: LoraShrinkProblem, gpu: Gpu) -> Config:
        p = problem
        return self.canonical(p, default_config(p.m, p.k, p.n, p.num_slices, groups=p.max_loras + 1), gpu)

    def canonical(self, problem: LoraShrinkProblem, config: Config, gpu: Gpu) -> Config:
        """All tiles of some rows follow each other, so that x comes from memory once: the order of tiles is fixed."""
        return {**config, "group_size_m": _NEUTRAL_GROUP}

    def infeasible(self, problem: LoraShrinkProblem, config: Config, gpu: Gpu) -> str | None:
        c = integers(config)
        tile, split_k = _tile(c), c["split_k"]
        if reason := tile.infeasible(problem.m, problem.n * problem.num_slices, problem.k, gpu, split_k):
            return reason
        # One split is the only deterministic choice, so it is always allowed.
        return None if split_k == 1 else _useless_split(problem, tile, split_k, gpu)

    def cannot_run(self, call: Call, config: Config, shared_bytes: int) -> str | None:
        """vLLM's kernel loads nothing ahead that it masks along K, and of several slices, whose weights' addresses it
        reads from a table, x alone: as recorded."""
        c, d = integers(config), call.dims
        tile = _tile(c)
        if d["k"] % (c["block_k"] * c["split_k"]):
            return tile.cannot_run(shared_bytes)
        ahead = tile.x_tile_bytes + (tile.weight_tile_bytes if d["num_slices"] == 1 else 0)
        return tile.cannot_run(shared_bytes, ahead)

    def floor(self, problem: LoraShrinkProblem) -> Floor:
        p = problem
        half_precision = (p.m - p.base_tokens) * p.k + p.adapters_read * p.num_slices * p.n * p.k
        return Floor(2 * half_precision + 4 * p.num_slices * p.m * p.n, 2 * p.m * p.k * p.n * p.num_slices)

    def blocks_launched(self, problem: LoraShrinkProblem, config: Config) -> int:
        return blocks_launched(problem, integers(config))

    def launch_us(self, problem: LoraShrinkProblem, config: Config, gpu: Gpu, launched: int) -> float:
        return launch_us(problem, integers(config), gpu, launched)

    def problem_of_recording(self, name: str) -> LoraShrinkProblem | None:
        fields = fields_from_recording(name, self.op)
        return LoraShrinkProblem(**fields) if fields else None


def _useless_split(problem: LoraShrinkProblem, tile: Tile, split_k: int, gpu: Gpu) -> str | None:
    """Tells why this many splits cannot win; half or twice as many would."""
    half = split_k // 2
    if tile.k * half >= problem.k:
        return f"split_k {split_k}: {half} splits already leave one K step to each block"
    blocks = cdiv(problem.m, tile.m) * problem.column_tiles(tile.n)
    if blocks * half >= _FULL_WAVES * gpu.sms * tile.blocks_per_sm(gpu):
        return f"split_k {split_k}: {half} splits already fill {gpu.name} {_FULL_WAVES} times"
    steps, busy = cdiv(problem.k, tile.k * split_k), blocks * split_k
    if steps >= _FEW_STEPS and busy <= gpu.sms // 8:
        return f"split_k {split_k}: {busy} blocks of {steps} K steps leave most of {gpu.sms} SMs idle"
    return None


def _tile(c: Mapping[str, int]) -> Tile:
    return Tile(c["block_m"], c["block_n"], c["block_k"], c["num_warps"], c["num_stages"], 2, 2)


KERNELS = [LoraShrink()]
