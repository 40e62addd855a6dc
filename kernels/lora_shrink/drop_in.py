"""Our shrink in the place of vLLM's ``lora_shrink``."""

from __future__ import annotations

import torch

from autotune.contract import Call, Config, Launch
from autotune.kernels.common import drop_in
from autotune.kernels.common.addresses import address_table
from autotune.kernels.lora_shrink import defaults
from autotune.kernels.lora_shrink.launcher import LoraShrinkArguments, shrink_launches
from autotune.servers.vllm import facts
from autotune.servers.vllm.plugin.drop_in import DenseCall, DenseDropIn


class ShrinkDropIn(DenseDropIn[LoraShrinkArguments]):
    """x of the weights' type, an fp32 output, slices of equal size (contracts A4)."""

    name = "lora_shrink"
    op = "shrink"
    required = facts.DENSE_REQUIRED[op]
    extra_defaults = (1.0,)

    def outside(self, call: DenseCall) -> str:
        x, out, shape = call.x, call.out, call.weights[0].shape
        if x.dtype != call.weights[0].dtype or out.dtype != torch.float32:
            return f"x is {x.dtype}, the output {out.dtype}"
        if out.shape != (len(call.weights), x.shape[0], shape[-2]):
            return "the output does not fit"
        return drop_in.outside(call)

    def outside_of_weights(self, call: DenseCall) -> str:
        shape = call.weights[0].shape
        if any(each.shape != shape for each in call.weights):
            return "slices differ in size"
        return drop_in.outside_of_weights(call.weights, rank=shape[-2])

    def table(self, call: DenseCall) -> torch.Tensor | None:
        return address_table(call.weights) if len(call.weights) > 1 else None

    def arguments(self, call: DenseCall, table: torch.Tensor | None) -> LoraShrinkArguments:
        (scaling,) = call.extra
        return LoraShrinkArguments(call.x, call.weights, call.out, drop_in.metadata(call), scaling, table)

    def lookup(self, arguments: LoraShrinkArguments) -> Call:
        (m, k), (slices, _, n) = arguments.x.shape, arguments.out.shape
        groups = arguments.metadata.lora_ids.numel()
        return Call(facts.NAME, self.op, {"max_loras": groups, "num_slices": slices, "m": m, "k": k, "n": n})

    def default_config(self, arguments: LoraShrinkArguments) -> Config:
        d = self.lookup(arguments).dims
        return defaults.default_config(d["m"], d["k"], d["n"], d["num_slices"], groups=d["max_loras"])

    def launches(self, arguments: LoraShrinkArguments, config: Config) -> list[Launch]:
        return shrink_launches(arguments, config)


DROP_IN = ShrinkDropIn()
