"""Stand-ins for the kernels of fused MoE LoRA, by their names, whose times are a formula: for replays without a GPU.

On its own each op is fastest at another block_m; the sum is least at 32 (two-kernel), where no op is fastest alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from autotune.contract import Call, Config, Expected, Floor, Gpu, Kernel, Launch, Parameter, Problem, registry
from autotune.contract.gpu import H200
from autotune.contract.registry import Registry
from autotune.kernels.fused_moe_lora.kernel import KERNELS
from autotune.servers.vllm.server import VLLM
from tests.builders.recordings import write_recording

BLOCK_MS = (16, 32, 64, 128)
NAIVE_TOKENS = 4

# Microseconds of the best config at each block_m.
TIMES_US = {
    "fused_moe_lora_gate_up_shrink": (10.0, 11.0, 14.0, 20.0),
    "fused_moe_lora_gate_up_expand": (40.0, 21.0, 20.0, 22.0),
    "fused_moe_lora_down_shrink": (9.0, 10.0, 12.0, 30.0),
    "fused_moe_lora_down_expand": (30.0, 12.0, 14.0, 11.0),
    "fused_moe_lora_gate_up_one_shot": (30.0, 26.0, 25.0, 40.0),
    "fused_moe_lora_down_one_shot": (20.0, 15.0, 17.0, 30.0),
}


@dataclass(frozen=True)
class FakeProblem(Problem):
    m: int
    hidden: int
    rank: int
    intermediate: int
    num_slices: int
    max_loras: int
    fully_sharded: bool = False
    tp: int = 1
    expert_counts: tuple[int, ...] = ()

    @property
    def pairs(self) -> int:
        return self.m

    @property
    def naive(self) -> bool:
        """Few tokens are not sorted, as by the real kernels."""
        return self.m <= NAIVE_TOKENS and not self.fully_sharded

    @property
    def label(self) -> str:
        ids = "-ids" if self.expert_counts else ""
        ids = (f"-fs{self.tp}" if self.tp > 1 else "") + ids
        return f"m{self.m}-h{self.hidden}-i{self.intermediate}-r{self.rank}-s{self.num_slices}-l{self.max_loras}{ids}"


class FakeKernel(Kernel[FakeProblem, None]):
    problem_type = FakeProblem

    def __init__(self, name: str) -> None:
        self.name = name
        # What a server makes of a result is asked of the real kernel.
        self.real = next(kernel for kernel in KERNELS if kernel.name == name)

    @property
    def op(self) -> str:
        matrix = "w13" if "gate_up" in self.name else "w2"
        return f"fused_moe_lora_{matrix}_{'expand' if self.name.endswith('expand') else 'shrink'}"

    def problem_from_flags(self, flags: Mapping[str, Any]) -> FakeProblem:
        return FakeProblem(
            m=flags.get("m") or flags["batch_size"],
            hidden=flags["hidden_size"],
            rank=flags["lora_rank"],
            intermediate=flags["moe_intermediate_size"],
            num_slices=2 if "gate_up" in self.name else 1,
            max_loras=flags["num_loras"],
            fully_sharded=bool(flags.get("fully_sharded")),
            tp=flags.get("tp") or 1,
            expert_counts=flags.get("expert_counts") or (),
        )

    def call(self, problem: FakeProblem) -> Call:
        p = problem
        k = p.rank // p.tp if "gate_up" in self.name else p.rank
        dims = {"max_loras": p.max_loras, "num_slices": p.num_slices, "m": p.m, "k": k, "n": p.hidden}
        return Call("vllm", self.op, {**dims, "i": p.intermediate})

    def answers(self, call: Call, config: Config) -> list[tuple[Call, Config]]:
        return self.real.answers(call, config)

    def shards(self, problem: FakeProblem) -> int:
        return self.real.shards(problem)  # type: ignore[arg-type]

    def is_read(self, problem: FakeProblem) -> bool:
        return self.real.is_read(problem)  # type: ignore[arg-type]

    def serving_note(self, problem: FakeProblem, grouped: bool) -> str | None:
        return self.real.serving_note(problem, grouped)  # type: ignore[arg-type]

    def parameters(self, problem: FakeProblem, space: str) -> tuple[Parameter, ...]:
        if self.name.endswith("one_shot"):
            return (Parameter("block_m", (64,) if problem.naive else BLOCK_MS),)
        values = {"block_n": (32, 64), "num_warps": (4, 8)}
        fixed = {"block_k": (64,)} | ({"split_k": (1,)} if self.name.endswith("shrink") else {})
        fixed |= {"num_stages": (3,), "group_size_m": (8,)}
        return tuple(Parameter(name, each) for name, each in {"block_m": BLOCK_MS, **values, **fixed}.items())

    def default_config(self, problem: FakeProblem, gpu: Gpu) -> Config:
        default = VLLM.default_config(self.call(problem))
        return {p.name: default[p.name] for p in self.parameters(problem, "wide")}

    def time_us(self, problem: FakeProblem, config: Config) -> float:
        """Returns a time that is least at block_n 32, block_k 64, 8 warps; a fifth slower for each halving or doubling
        of one."""
        base = TIMES_US[self.name][BLOCK_MS.index(int(config["block_m"] or 0))]
        best = {"block_n": 32, "block_k": 64, "num_warps": 8}
        off = sum(abs(math.log2((config[name] or 0) / best[name])) for name in config if name in best)
        return base * float(1.2**off)

    def floor(self, problem: FakeProblem) -> Floor:
        return Floor(1000, 1000)

    def recording(self, problem: FakeProblem) -> str:
        return f"fake_{self.name.replace('_', '')}_M{problem.m}_R{problem.rank}"

    def make_inputs(self, problem: FakeProblem, device: str, seed: int) -> None:
        raise NotImplementedError

    def launches(self, inputs: None, config: Config) -> list[Launch]:
        raise NotImplementedError

    def run(self, inputs: None, config: Config) -> Any:
        raise NotImplementedError

    def poison(self, inputs: None) -> None:
        raise NotImplementedError

    def reference(self, inputs: None, dtype: Any) -> Expected:
        raise NotImplementedError


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the stand-ins the only kernels that there are."""
    made = Registry()
    for name in TIMES_US:
        made.register(FakeKernel(name))
    monkeypatch.setattr(registry, "installed", lambda: made)


def record_all(folder: Path, flags: Mapping[str, Any]) -> None:
    """Writes the recordings of every kernel at the problem of these flags, on an H200."""
    for name in TIMES_US:
        kernel = FakeKernel(name)
        record(folder, kernel, kernel.problem_from_flags(flags), H200)


def record(folder: Path, kernel: FakeKernel, problem: FakeProblem, gpu: Gpu) -> None:
    """Writes the recording that a replay of this problem reads."""
    parameters = kernel.parameters(problem, "wide")
    names = [p.name for p in parameters]
    default = kernel.default_config(problem, gpu)
    product = [dict(zip(names, values, strict=True)) for values in itertools.product(*(p.values for p in parameters))]
    configs = [default, *(config for config in product if config != default)]
    times_us = [(config, kernel.time_us(problem, config)) for config in configs]
    write_recording(folder, kernel.recording(problem), times_us, spread=(0.99, 1.02))
