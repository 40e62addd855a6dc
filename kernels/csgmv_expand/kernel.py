"""csgmv expand as the tuner sees it: its space and what it costs at least."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from autotune.contract import Config, Floor, Gpu, Parameter, Value
from autotune.errors import InputError
from autotune.kernels.common.csgmv import (
    fields_from_flags,
    fields_from_recording,
    infeasible_tile,
    with_triton_defaults,
)
from autotune.kernels.common.csgmv_kernel import CsgmvKernel
from autotune.kernels.common.execution import Execution
from autotune.kernels.common.problem import integers_flag, required
from autotune.kernels.common.tiles import integers, next_pow2, powers_of_two
from autotune.kernels.csgmv_expand.cost import estimate_us
from autotune.kernels.csgmv_expand.defaults import Ranks, default_config
from autotune.kernels.csgmv_expand.problem import CsgmvExpandProblem
from autotune.kernels.csgmv_expand.walking import step_rows
from autotune.servers.sglang.batch import rank_alignment
from autotune.servers.sglang.facts import TRITON_DEFAULTS

_ONE_STAGE = 1
_MOST_REGISTERS = 255
_OTHER_REGISTERS = 24
"""What the compiler needs besides the accumulator to work at all."""


class CsgmvExpand(CsgmvKernel[CsgmvExpandProblem]):
    """SGLang's chunked expand (contracts B3), with its configuration keys."""

    name = "csgmv_expand"
    aliases = ("expand", "lora_expand")
    problem_type = CsgmvExpandProblem
    op = "expand"
    unset = ("num_warps", "num_stages", "maxnreg")

    @property
    def execution(self) -> Execution[CsgmvExpandProblem, Any]:
        from autotune.kernels.csgmv_expand.execution import CsgmvExpandExecution  # needs torch

        return CsgmvExpandExecution()

    def problem_from_flags(self, flags: Mapping[str, Any]) -> CsgmvExpandProblem:
        fields = fields_from_flags(flags)
        return CsgmvExpandProblem(slice_widths=_widths(flags, fields["num_slices"]), **fields)

    def parameters(self, problem: CsgmvExpandProblem, space: str) -> tuple[Parameter, ...]:
        values: dict[str, tuple[Value, ...]] = {
            "BLOCK_N": powers_of_two(32, min(256, next_pow2(max(problem.slice_widths)))),
            "BLOCK_K": powers_of_two(16, next_pow2(problem.rank)),
            "num_warps": (1, 2, 4, 8),
            "num_stages": (1, 2, 3),
            "maxnreg": (None, 64, 96, 128),
        }
        if space == "sglang-grid":
            values = {
                "BLOCK_N": (32, 64),
                "BLOCK_K": (16, 32),
                "num_warps": (4, 8),
                "num_stages": (1, 2, 3),
                "maxnreg": (None, 96, 112, 128, 160),
            }
        return tuple(Parameter(name, values) for name, values in values.items())

    def own_default(self, problem: CsgmvExpandProblem, gpu: Gpu) -> Config:
        p = problem
        ranks = Ranks(p.rank, rank_alignment(p.pool_ranks), are_checked=p.workload == "decode")
        own = default_config(p.segmentation, ranks, p.slice_widths, p.is_decode)
        return self.canonical(p, {"maxnreg": None, **own}, gpu)

    def canonical(self, problem: CsgmvExpandProblem, config: Config, gpu: Gpu) -> Config:
        """Stages of a single K step are all the same; what Triton does by itself is the default config."""
        default = self.default_config(problem, gpu)
        c = integers(config)
        if config == default or config == {**default, **TRITON_DEFAULTS}:
            return default
        return {**config, "num_stages": _ONE_STAGE} if c["BLOCK_K"] >= problem.rank else config

    def infeasible(self, problem: CsgmvExpandProblem, config: Config, gpu: Gpu) -> str | None:
        if config == self.default_config(problem, gpu):
            return None
        c = {**TRITON_DEFAULTS, **integers(config)}
        rows = step_rows(config, problem.rank, problem.chunk_size)
        accumulators = rows * c["BLOCK_N"] // (32 * c["num_warps"])
        if accumulators + _OTHER_REGISTERS > c.get("maxnreg", _MOST_REGISTERS):
            return f"the accumulator needs {accumulators} registers a thread, and {_OTHER_REGISTERS} go to all else"
        return infeasible_tile(rows, max(problem.slice_widths), problem.rank, config, gpu)

    def floor(self, problem: CsgmvExpandProblem) -> Floor:
        p = problem
        used = [(rank, n) for rank, n in zip(p.pool_ranks, p.tokens_by_slot, strict=True) if rank and n]
        x, b = p.num_slices * sum(rank * n for rank, n in used), p.columns * sum(rank for rank, _ in used)
        out = 2 * p.columns * sum(n for _, n in used)
        return Floor(2 * (x + b + out), 2 * p.columns * sum(rank * n for rank, n in used))

    def estimate_us(self, problem: CsgmvExpandProblem, config: Config, gpu: Gpu) -> float:
        return estimate_us(problem, problem.slice_widths, with_triton_defaults(config), gpu)

    def problem_of_recording(self, name: str) -> CsgmvExpandProblem | None:
        """The name has the sum of the slices' widths; about equal ones stand for them."""
        if (found := fields_from_recording(name, "expand")) is None:
            return None
        fields, columns = found
        return CsgmvExpandProblem(slice_widths=_parts(columns, fields["num_slices"]), **fields)


def _widths(flags: Mapping[str, Any], slices: int) -> tuple[int, ...]:
    """Returns the slices' widths, given as such or as their sum, if they are equal."""
    if widths := integers_flag(flags, "slice_widths"):
        if (total := flags.get("output_dim")) not in (None, sum(widths)):
            raise InputError(f"--output-dim: got {total}, but --slice-widths add up to {sum(widths)}; leave one out")
        return widths
    width, rest = divmod(required(flags, "output_dim", "or --slice-widths"), slices)
    if rest:
        raise InputError(
            f"--output-dim: got {flags['output_dim']}, allowed: a multiple of --num-slices {slices}; "
            "pass --slice-widths"
        )
    return (width,) * slices


def _parts(total: int, count: int) -> tuple[int, ...]:
    """Splits a sum as evenly as it goes."""
    ends = [total * i // count for i in range(count + 1)]
    return tuple(end - start for start, end in itertools.pairwise(ends))


KERNELS = [CsgmvExpand()]
