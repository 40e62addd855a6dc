"""Problems of the fused MoE LoRA kernels, and how command-line flags become one."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autotune.errors import InputError, one_of
from autotune.kernels.common.problem import (
    MixedAdapterProblem,
    batch_from_flags,
    check_rank,
    required,
    switch,
)
from autotune.kernels.common.zipf import zipf_split
from autotune.servers.vllm.moe_paths import naive

BLOCK_MS = (16, 32, 64, 128)
"""Row blocks that the alignment can pad to; the four ops of a layer share one."""

ROUTINGS = ("uniform", "zipf")

_SIZES = ("m", "hidden", "intermediate", "num_slices", "num_experts", "top_k", "max_loras", "active_loras", "tp", "ep")
_MOST_SLICES = 2
_MOST_GPUS = 1024


@dataclass(frozen=True)
class MoeProblem(MixedAdapterProblem):
    """One LoRA product over tokens that chose `top_k` of `num_experts` experts each, with mixed adapters.

    Attributes:
        dtype: Type of activations and adapter weights, one of `DTYPES`.
        m: Tokens, base tokens included.
        hidden: Hidden size of the model.
        rank: The server's max_lora_rank, or with `tp` 1 a shard of it.
        intermediate: Intermediate size of one expert, per tensor-parallel shard.
        num_slices: Weights packed in gate_up: 2 for gate and up, 1 for experts without a gate. Down has always 1.
            There are no problems yet for gate and up fused into one weight of twice the width.
        num_experts: Experts on this GPU.
        top_k: Distinct experts of a token.
        max_loras: Adapters resident on the GPU; sizes the launch grid.
        active_loras: Adapters that the tokens really use; 0 stands for all of them.
        fully_sharded: Fully sharded LoRA: always sorted, always two kernels.
        tp: Tensor-parallel size that fully sharded LoRA splits gate_up's shrink (by rank) and down's expand (by hidden
            size) over; 1 unless `fully_sharded`.
        add_inputs: Expand adds to the output (the rule), or overwrites it.
        routing: Popularity of the experts: ``uniform``, or ``zipf`` (falls as 1/n).
        expert_counts: How often each expert, of all GPUs, was picked in a recording; overrides `routing`. Empty
            without one.
        ep: GPUs that the experts are spread over by expert parallelism: each has `num_experts` whole ones, and leaves
            the pairs of the others' alone. Always sorted if more than 1.
    """

    dtype: str
    m: int
    hidden: int
    rank: int
    intermediate: int
    num_slices: int
    num_experts: int
    top_k: int
    max_loras: int
    active_loras: int = 0
    fully_sharded: bool = False
    tp: int = 1
    add_inputs: bool = True
    routing: str = "uniform"
    expert_counts: tuple[int, ...] = ()
    ep: int = 1

    def __post_init__(self) -> None:
        self._check_batch(_SIZES)
        check_rank(self.rank)
        for name, size, limit in (
            ("num_slices", self.num_slices, _MOST_SLICES),
            ("active_loras", self.active_loras, self.max_loras),
            ("ep", self.ep, _MOST_GPUS),
            ("top_k", self.top_k, self.all_experts),
        ):
            if size > limit:
                raise InputError(f"{name}: got {size}, allowed: 1 to {limit}; {_REMEDIES[name]}")
        if self.routing not in ROUTINGS:
            raise InputError(f"routing: got {self.routing!r}, allowed: {one_of(ROUTINGS)}; pass --routing uniform")
        self._check_shards()
        self._check_counts()

    def _check_shards(self) -> None:
        if self.tp > 1 and not self.fully_sharded:
            raise InputError(
                f"tp: got {self.tp}, allowed: 1 unless fully sharded (--moe-intermediate-size is a shard's already); "
                "add --fully-sharded or --ep, or leave --tp out"
            )
        for name, flag, size in (("rank", "--lora-rank", self.rank), ("hidden", "--hidden-size", self.hidden)):
            if size % self.tp:
                raise InputError(
                    f"tp: got {self.tp}, allowed: divisors of the {name} {size}; pass the server's --tp, and a {flag} "
                    "that it divides"
                )

    def _check_counts(self) -> None:
        counts = self.expert_counts
        if not counts:
            return
        if len(counts) != self.all_experts or min(counts) < 0:
            raise InputError(
                f"expert_counts: got {len(counts)} counts, the least {min(counts)}, allowed: num_experts="
                f"{self.all_experts} counts of 0 or more; pass the --num-experts of the recording"
            )
        if (picked := sum(count > 0 for count in counts)) < self.top_k:
            raise InputError(
                f"expert_counts: got {picked} experts picked at all, allowed: top_k={self.top_k} or more; "
                "record more tokens, or lower --top-k-num"
            )

    @property
    def label(self) -> str:
        base = (
            f"m{self.m}-h{self.hidden}-i{self.intermediate}-r{self.rank}-s{self.num_slices}-e{self.num_experts}"
            f"-top{self.top_k}-l{self.max_loras}-{self.dtype}"
        )
        active = f"-a{self.active_loras}" if self.active_loras != self.max_loras else ""
        shards = str(self.tp) if self.tp > 1 else ""
        options = (f"-fs{shards}" if self.fully_sharded else "") + (f"-ep{self.ep}" if self.ep > 1 else "")
        options += "" if self.add_inputs else "-overwrite"
        routing = "" if self.routing == "uniform" else f"-{self.routing}"
        if self.expert_counts:
            routing = "-ids" + hashlib.sha256(repr(self.expert_counts).encode()).hexdigest()[:8]
        return base + active + options + routing

    def to_json(self) -> dict[str, Any]:
        """Leaves out an `ep` of 1, so that studies from before there was one are the same."""
        data = super().to_json()
        return data if self.ep > 1 else {name: value for name, value in data.items() if name != "ep"}

    @property
    def pairs(self) -> int:
        """Pairs of a token and one of its experts: the rows of the products, on all GPUs together."""
        return self.m * self.top_k

    @property
    def naive(self) -> bool:
        """Too few rows to be worth sorting: one block a row (contracts A6)."""
        few = naive(self.pairs, self.num_experts, self.max_loras)
        return few and not self.fully_sharded and self.ep == 1

    @property
    def all_experts(self) -> int:
        """Experts of all GPUs."""
        return self.num_experts * self.ep

    @property
    def local_pairs(self) -> int:
        """Pairs that fall to a GPU's experts, on the average."""
        return -(-self.pairs // self.ep)

    @property
    def first_expert(self) -> int:
        """The first of this GPU's experts: of a recording the GPU with most to do, for which the others wait."""
        counts, here = self.expert_counts, self.num_experts
        if not counts:
            return 0
        return max(range(0, self.all_experts, here), key=lambda first: sum(counts[first : first + here]))

    @property
    def popularity(self) -> tuple[float, ...]:
        """Shares of all GPUs' experts, the most popular first unless they were recorded."""
        if self.expert_counts:
            shares = [float(count) for count in self.expert_counts]
        else:
            shares = [1 / n if self.routing == "zipf" else 1.0 for n in range(1, self.all_experts + 1)]
        total = math.fsum(shares)
        return tuple(share / total for share in shares)

    @property
    def most_popular(self) -> float:
        """The share of the most popular expert, without the others'."""
        if self.expert_counts:
            return max(self.expert_counts) / sum(self.expert_counts)
        if self.routing == "uniform":
            return 1 / self.all_experts
        return 1 / float(np.sum(1 / np.arange(1, self.all_experts + 1)))

    @functools.cached_property
    def most_rows(self) -> int:
        """Rows that one expert of one adapter may get: mean and three deviations for the most popular of both."""
        tokens = zipf_split(self.m - self.base_tokens, self.adapters_read)[0]
        mean = tokens * min(1.0, self.top_k * self.most_popular)
        return min(tokens, math.ceil(mean + 3 * math.sqrt(mean)))

    @property
    def most_groups(self) -> int:
        """Bound on the (adapter, expert) groups with rows."""
        return min(self.pairs, self.adapters_read * self.num_experts)


@dataclass(frozen=True)
class MoeSide:
    """One of the two LoRA products of an MoE layer, each a shrink and an expand.

    Attributes:
        weight: vLLM's name of the base weight.
        slices: Weights packed in the product.
        depth: Columns of the shrink's x.
        shrunk: Rank of the shrink's output; the expand has the whole rank, gathered from all GPUs.
        width: Columns that the expand writes, per slice.
        row: Columns of a row of the expand's output.
        offset: First of them that the expand writes: those of a GPU in the middle.
        row_per_token: The shrink's x has a row a token; else a row a (token, expert) pair.
        routed: The expand multiplies by the routing weights.
    """

    name: str
    weight: str
    slices: Callable[[MoeProblem], int]
    depth: Callable[[MoeProblem], int]
    shrunk: Callable[[MoeProblem], int]
    width: Callable[[MoeProblem], int]
    row: Callable[[MoeProblem], int]
    offset: Callable[[MoeProblem], int]
    row_per_token: bool
    routed: bool


GATE_UP = MoeSide(
    name="gate_up",
    weight="w13",
    slices=lambda p: p.num_slices,
    depth=lambda p: p.hidden,
    shrunk=lambda p: p.rank // p.tp,
    width=lambda p: p.intermediate,
    row=lambda p: p.num_slices * p.intermediate,
    offset=lambda p: 0,
    row_per_token=True,
    routed=False,
)
DOWN = MoeSide(
    name="down",
    weight="w2",
    slices=lambda p: 1,
    depth=lambda p: p.intermediate,
    shrunk=lambda p: p.rank,
    width=lambda p: p.hidden // p.tp,
    row=lambda p: p.hidden,
    offset=lambda p: p.tp // 2 * (p.hidden // p.tp),
    row_per_token=False,
    routed=True,
)

_REMEDIES = {
    "num_slices": (
        "pass --num-slices 2 for gate and up, 1 for experts without a gate; gate and up fused into one weight (3D "
        "experts) are not tuned yet"
    ),
    "active_loras": "raise --num-loras or lower --num-active-loras",
    "ep": "pass the --tp over which the server spreads its experts",
    "top_k": "raise --num-experts (one GPU's, with --ep), or lower --top-k-num",
}


def problem_from_flags(flags: Mapping[str, Any], side: MoeSide) -> MoeProblem:
    """Builds the problem of one side; one set of flags makes the problems of both.

    Raises:
        InputError: Naming the flag that is missing or cannot be read.
    """
    tp, spread = _integer(flags, "tp", 1), switch(flags, "ep", default=False)
    if spread and tp == 1:
        raise InputError("--ep: got no --tp of 2 or more, over which experts are spread; add it, or leave --ep out")
    sharded = switch(flags, "fully_sharded", default=False)
    problem = MoeProblem(
        hidden=required(flags, "hidden_size"),
        rank=required(flags, "lora_rank"),
        intermediate=required(flags, "moe_intermediate_size"),
        num_slices=_integer(flags, "num_slices", 2),
        num_experts=_integer(flags, "num_experts", 8),
        top_k=_integer(flags, "top_k_num", 2),
        fully_sharded=sharded,
        tp=tp if sharded or not spread else 1,
        ep=tp if spread else 1,
        add_inputs=switch(flags, "expand_add_inputs", default=True),
        routing=str(flags.get("routing") or "uniform"),
        expert_counts=tuple(int(count) for count in flags.get("expert_counts") or ()),
        **batch_from_flags(flags),
    )
    return replace(problem, num_slices=1) if side is DOWN else problem


def _integer(flags: Mapping[str, Any], name: str, default: int) -> int:
    return default if (value := flags.get(name)) is None else int(value)
