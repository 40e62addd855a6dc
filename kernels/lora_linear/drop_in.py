"""Our pair in the place of what vLLM's ``add_lora_linear`` does."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from autotune.contract import Call, Config, Launch
from autotune.kernels.common import drop_in
from autotune.kernels.lora_expand.launcher import LoraExpandArguments
from autotune.kernels.lora_linear import defaults
from autotune.kernels.lora_linear.launcher import LoraLinearArguments, PairWorkspace, most_groups, pair_launches
from autotune.kernels.lora_linear.space import MOST_PART_BYTES
from autotune.kernels.lora_shrink.drop_in import DROP_IN as SHRINK
from autotune.kernels.lora_shrink.launcher import LoraShrinkArguments
from autotune.servers.vllm import facts
from autotune.servers.vllm.plugin.drop_in import DenseCall

Tables = tuple[torch.Tensor | None, torch.Tensor | None]


@dataclass(frozen=True)
class LinearCall:
    """One call of ``add_lora_linear``, as the two calls that it makes (contracts A15).

    Attributes:
        shrink: Its output is the buffer between the two, without memory.
        expand: Of which x is that buffer.
    """

    shrink: DenseCall
    expand: DenseCall

    @classmethod
    def of(
        cls,
        y: torch.Tensor,
        x: torch.Tensor,
        a: Sequence[torch.Tensor],
        b: Sequence[torch.Tensor],
        metadata: Sequence[torch.Tensor],
        extra: tuple[float, bool],
    ) -> LinearCall:
        """Takes the op's arguments; the last are the scale, and whether to add to y."""
        scale, add_inputs = extra
        buffer = torch.empty(len(a), x.shape[0], a[0].shape[-2], dtype=torch.float32, device="meta")
        return cls(DenseCall(x, a, buffer, metadata, (scale,)), DenseCall(buffer, b, y, metadata, (0, add_inputs)))

    @property
    def weights_key(self) -> Hashable:
        return (self.shrink.weights_key, self.expand.weights_key)

    @property
    def shape_key(self) -> Hashable:
        return (self.shrink.shape_key, self.expand.shape_key)

    def on_meta(self, m: int) -> LinearCall:
        """Returns the same call for m tokens, without memory: to compile it."""
        return LinearCall(self.shrink.on_meta(m), self.expand.on_meta(m))


def outside(call: LinearCall) -> str:
    """Tells what of a call is outside the limits that the pair is proven in; empty if nothing is."""
    shrink, expand = call.shrink, call.expand
    rank, columns = shrink.out.shape[-1], sum(each.shape[-2] for each in expand.weights)
    if len(shrink.weights) != len(expand.weights) or expand.out.dtype != shrink.x.dtype:
        return f"A has {len(shrink.weights)} slices, B {len(expand.weights)}; x is {shrink.x.dtype}"
    if expand.out.shape[0] != shrink.x.shape[0] or expand.out.shape[1] < columns:
        return "the output does not fit"
    if expand.weights[0].shape[-1] != rank:
        return f"the rank of A is {rank}, of B {expand.weights[0].shape[-1]}"
    if not expand.out.is_contiguous():
        return "the output is not contiguous"
    weights = SHRINK.outside_of_weights(shrink) or drop_in.outside_of_weights(expand.weights, rank)
    return weights or SHRINK.outside(shrink)


def tables(call: LinearCall) -> Tables:
    """Uploads the tables of addresses that the call's weights need."""
    made = arguments(call, (None, None), PairWorkspace.make(0, 0, "meta"))
    return made.shrink.table, made.expand.table


def arguments(call: LinearCall, found: Tables, workspace: PairWorkspace) -> LoraLinearArguments:
    """Returns the arguments of the launcher."""
    (scale,), (offset, add_inputs) = call.shrink.extra, call.expand.extra
    shrink, expand, metadata = call.shrink, call.expand, drop_in.metadata(call.shrink)
    return LoraLinearArguments(
        LoraShrinkArguments(shrink.x, shrink.weights, shrink.out, metadata, scale, found[0]),
        LoraExpandArguments(expand.x, expand.weights, expand.out, metadata, add_inputs, offset, found[1]),
        workspace,
    )


def lookup(call: LinearCall) -> Call:
    """Returns what is looked up for a call (contracts A15)."""
    (m, k), (slices, _, rank) = call.shrink.x.shape, call.shrink.out.shape
    widest = max(each.shape[-2] for each in call.expand.weights)
    sizes = {"m": m, "k": k, "rank": rank, "n": widest}
    ids = call.shrink.metadata[4]
    return Call(facts.NAME, facts.LINEAR, {"max_loras": ids.numel(), "num_slices": slices, **sizes})


def default_config(call: Call) -> Config | None:
    """Returns what the pair launches with where a call is looked up in vain; None where shrink and expand run apart."""
    d = call.dims
    return defaults.default_config(d["m"], d["k"], d["rank"], d["n"], d["num_slices"])


def workspace(call: LinearCall, m: int, device: Any) -> PairWorkspace:
    """Makes a workspace for the call's shape at up to m tokens, whatever config is looked up."""
    groups = most_groups(m, call.shrink.weights[0].shape[0], len(call.shrink.weights))
    return PairWorkspace.make(groups * MOST_PART_BYTES // 4, groups, device)


def launches(found: LoraLinearArguments, config: Config) -> list[Launch]:
    """Returns the launches of a call."""
    return pair_launches(found, config)
