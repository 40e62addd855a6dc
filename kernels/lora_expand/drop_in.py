"""Our expand in the place of vLLM's ``lora_expand``."""

from __future__ import annotations

import functools

import torch

from autotune.contract import Call, Config, Launch
from autotune.contract.gpu import INTERPRETER
from autotune.kernels.common import drop_in
from autotune.kernels.lora_expand import defaults
from autotune.kernels.lora_expand.launcher import LoraExpandArguments, expand_launches
from autotune.kernels.lora_expand.stages import forced_stages
from autotune.servers.vllm import facts
from autotune.servers.vllm.plugin.drop_in import DenseCall, DenseDropIn


class ExpandDropIn(DenseDropIn[LoraExpandArguments]):
    """x in fp32 after a shrink or of the weights' type, an output of that type, slices of any width (contracts A4)."""

    name = "lora_expand"
    op = "expand"
    required = facts.DENSE_REQUIRED[op]
    extra_defaults = (0, False)

    def outside(self, call: DenseCall) -> str:
        x, out, dtype = call.x, call.out, call.weights[0].dtype
        if x.dtype not in (torch.float32, dtype) or out.dtype != dtype:
            return f"x is {x.dtype}, the output {out.dtype}"
        columns = call.extra[0] + sum(each.shape[-2] for each in call.weights)
        if x.shape[0] != len(call.weights) or out.shape[0] < x.shape[1] or out.shape[1] < columns:
            return "the output does not fit"
        return drop_in.outside(call)

    def outside_of_weights(self, call: DenseCall) -> str:
        return drop_in.outside_of_weights(call.weights, rank=call.weights[0].shape[-1])

    def table(self, call: DenseCall) -> torch.Tensor | None:
        return self.arguments(call, None).table

    def arguments(self, call: DenseCall, table: torch.Tensor | None) -> LoraExpandArguments:
        offset, add_inputs = call.extra
        metadata = drop_in.metadata(call)
        return LoraExpandArguments(call.x, call.weights, call.out, metadata, add_inputs, offset, table)

    def lookup(self, arguments: LoraExpandArguments) -> Call:
        slices, m, k = arguments.x.shape
        dims = {
            "max_loras": arguments.metadata.lora_ids.numel(),
            "num_slices": slices,
            "m": m,
            "k": k,
            "n": max(arguments.widths),
            "add_inputs": int(arguments.add_inputs),
        }
        return Call(facts.NAME, self.op, dims)

    def default_config(self, arguments: LoraExpandArguments) -> Config:
        d = self.lookup(arguments).dims
        return defaults.default_config(d["m"], d["k"], d["n"], d["num_slices"])

    def launches(self, arguments: LoraExpandArguments, config: Config) -> list[Launch]:
        stages = forced_stages(_capability(), arguments.x.dtype == torch.float32)
        return expand_launches(arguments, config if stages is None else {**config, "num_stages": stages})


@functools.cache
def _capability() -> tuple[int, int]:
    return torch.cuda.get_device_capability() if torch.cuda.is_available() else INTERPRETER.capability


DROP_IN = ExpandDropIn()
