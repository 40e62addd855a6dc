"""csgmv shrink as the tuner sees it: its space and what it costs at least."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from autotune.contract import Call, Config, Floor, Gpu, Parameter, Value
from autotune.kernels.common.csgmv import (
    csgmv_tile,
    fields_from_flags,
    fields_from_recording,
    infeasible_tile,
    with_triton_defaults,
)
from autotune.kernels.common.csgmv_kernel import CsgmvKernel
from autotune.kernels.common.execution import Execution
from autotune.kernels.common.problem import required
from autotune.kernels.common.segmentation import Segmentation
from autotune.kernels.common.tiles import cdiv, integers, next_pow2, powers_of_two
from autotune.kernels.csgmv_shrink.cost import estimate_us
from autotune.kernels.csgmv_shrink.defaults import default_config
from autotune.kernels.csgmv_shrink.joining import MOST_ROWS, joined, wanted
from autotune.kernels.csgmv_shrink.problem import CsgmvShrinkProblem
from autotune.servers.sglang.facts import TRITON_DEFAULTS
from autotune.servers.sglang.own_keys import SEGMENTS

_JOINED_ROWS = 64
"""Rows that a block of several segments has at least, to be tried: with fewer it still reads more weights than x."""


class CsgmvShrink(CsgmvKernel[CsgmvShrinkProblem]):
    """SGLang's chunked shrink (contracts B3), with its configuration keys and one of our own (`joining`)."""

    name = "csgmv_shrink"
    aliases = ("shrink", "lora_shrink")
    problem_type = CsgmvShrinkProblem
    op = "shrink"
    unset = ("num_warps", "num_stages")

    @property
    def execution(self) -> Execution[CsgmvShrinkProblem, Any]:
        from autotune.kernels.csgmv_shrink.execution import CsgmvShrinkExecution  # needs torch

        return CsgmvShrinkExecution()

    def problem_from_flags(self, flags: Mapping[str, Any]) -> CsgmvShrinkProblem:
        return CsgmvShrinkProblem(k=required(flags, "hidden_size"), **fields_from_flags(flags))

    def parameters(self, problem: CsgmvShrinkProblem, space: str) -> tuple[Parameter, ...]:
        values: dict[str, tuple[Value, ...]] = {
            "BLOCK_N": powers_of_two(16, min(256, next_pow2(problem.columns))),
            "BLOCK_K": powers_of_two(32, 512),
            "num_warps": (1, 2, 4, 8),
            "num_stages": (1, 2, 3, 4, 5),
            SEGMENTS: tuple(n for n in (1, 2, 4, 8) if n == 1 or _JOINED_ROWS <= n * problem.chunk_size <= MOST_ROWS),
        }
        if space == "sglang-grid":
            values = {
                "BLOCK_N": (16, 32, 64),
                "BLOCK_K": (64, 128, 256),
                "num_warps": (4, 8),
                "num_stages": (2, 3, 4),
                SEGMENTS: (1,),
            }
        return tuple(Parameter(name, values) for name, values in values.items())

    def default_config(self, problem: CsgmvShrinkProblem, gpu: Gpu) -> Config:
        return {**super().default_config(problem, gpu), SEGMENTS: 1}

    def own_default(self, problem: CsgmvShrinkProblem, gpu: Gpu) -> Config:
        p = problem
        own = default_config(p.segmentation, p.columns, p.k, p.is_decode, gpu.shared_bytes)
        return self.canonical(p, own, gpu)

    def canonical(self, problem: CsgmvShrinkProblem, config: Config, gpu: Gpu) -> Config:
        """What Triton does by itself is the default config, also where it is spelled out; of segments to join counts
        how many are joined in any of the batches."""
        default = self.default_config(problem, gpu)
        across = cdiv(problem.columns, integers(config)["BLOCK_N"])
        taken = max(joined(batch, wanted(config), across) for batch in _segmentations(problem))
        found = {**config, SEGMENTS: taken}
        return default if found == {**default, **TRITON_DEFAULTS} else found

    def infeasible(self, problem: CsgmvShrinkProblem, config: Config, gpu: Gpu) -> str | None:
        if {SEGMENTS: 1, **config} == self.default_config(problem, gpu):
            return None
        return infeasible_tile(problem.chunk_size * wanted(config), problem.columns, problem.k, config, gpu)

    def cannot_run(self, call: Call, config: Config, shared_bytes: int) -> str | None:
        """K is a constant: of a single step no loop is left, and whole steps are not masked."""
        chunk_size = call.dims["chunk_size"]
        rows = min(chunk_size * wanted(config), max(chunk_size, MOST_ROWS))
        depth, tile = call.dims["K"], csgmv_tile(rows, config)
        loop = depth % tile.k == 0 and depth > tile.k
        return tile.cannot_run(shared_bytes, tile.x_tile_bytes + tile.weight_tile_bytes if loop else 0)

    def floor(self, problem: CsgmvShrinkProblem) -> Floor:
        p = problem
        used = [(p.num_slices * rank, n) for rank, n in zip(p.pool_ranks, p.tokens_by_slot, strict=True) if rank and n]
        x, a = sum(n for _, n in used) * p.k, sum(columns for columns, _ in used) * p.k
        out = sum(columns * n for columns, n in used)
        return Floor(2 * (x + a + out), 2 * out * p.k)

    def estimate_us(self, problem: CsgmvShrinkProblem, config: Config, gpu: Gpu) -> float:
        return estimate_us(problem, problem.k, with_triton_defaults(config), gpu)

    def problem_of_recording(self, name: str) -> CsgmvShrinkProblem | None:
        if (found := fields_from_recording(name, "shrink")) is None:
            return None
        fields, k = found
        return CsgmvShrinkProblem(k=k, **fields)


@functools.lru_cache(maxsize=128)
def _segmentations(problem: CsgmvShrinkProblem) -> tuple[Segmentation, ...]:
    """Returns those of all batches that a problem stands for: a space asks for them with each config."""
    batches = [workload.problem for workload in problem.workloads()]
    return tuple(batch.segmentation for batch in batches if isinstance(batch, CsgmvShrinkProblem))


KERNELS = [CsgmvShrink()]
