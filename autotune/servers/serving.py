"""Describes how a model is served: the flags that its LoRA lookups depend on, checked against the model."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.errors import InputError
from autotune.model.shape import ModelShape


@dataclass(frozen=True)
class Serving:
    """The flags of a server. A server may refuse some of them, see `autotune.servers.planning.Planner.check`.

    Attributes:
        tp: Tensor-parallel size.
        rank: ``max_lora_rank``: the pool's, not an adapter's.
        max_loras: Adapters of a batch.
        fully_sharded: LoRA weights are sharded as far as they can be.
        expert_parallel: Experts are shared out whole.
        dual_stream: LoRA runs beside the base layers.
        target_modules: Modules that alone are wrapped; None where they are not given.
        data_parallel: Data-parallel size: the experts are shared out over the GPUs of all replicas.
        mixed_moe_format: Experts take adapters of both layouts, gate and up apart or as one matrix.
        moe_shared_loras: Adapters of experts share their outer matrices.
        shared_experts_apart: Shared experts are never run within the kernel of the routed ones.
        tower_connector: LoRA is on the towers and connectors of multimodal models, too.
    """

    server: str
    tp: int
    rank: int
    max_loras: int
    fully_sharded: bool = False
    expert_parallel: bool = False
    dual_stream: bool = False
    target_modules: tuple[str, ...] | None = None
    data_parallel: int = 1
    mixed_moe_format: bool = False
    moe_shared_loras: bool = False
    shared_experts_apart: bool = False
    tower_connector: bool = False

    def __post_init__(self) -> None:
        for name in ("tp", "rank", "max_loras", "data_parallel"):
            if (value := getattr(self, name)) < 1:
                raise InputError(f"{name}: got {value}, allowed: 1 or more")

    @property
    def expert_gpus(self) -> int:
        """Over how many GPUs the experts of a layer are shared out."""
        return self.tp * self.data_parallel

    @property
    def experts_spread(self) -> bool:
        """Whether whole experts are on different GPUs, each of which leaves the tokens of the others alone."""
        return self.expert_parallel and self.expert_gpus > 1


def check(model: ModelShape, serving: Serving) -> None:
    """Makes sure that the model can be sharded so at all.

    Raises:
        InputError: If a size does not divide; names it.
    """
    tp = serving.tp
    sizes = {"num_attention_heads": model.heads, "intermediate_size": model.intermediate}
    if model.kv_heads >= tp:
        sizes["num_key_value_heads"] = model.kv_heads
    if model.experts and "shared_expert_intermediate_size" not in model.stand_ins:
        sizes["shared experts' intermediate size"] = model.experts.shared
    if model.experts and not serving.expert_parallel:
        sizes["moe_intermediate_size"] = model.experts.intermediate
    if model.experts and serving.expert_parallel:
        sizes["num_experts"] = model.experts.count
    if serving.fully_sharded:
        sizes["hidden_size"] = model.hidden
    for name, size in sizes.items():
        if size % tp and name not in model.stand_ins:
            raise InputError(f"--tp: got {tp}, which does not divide {model.name}'s {name} {size}; give another one")
    if tp > model.kv_heads and tp % model.kv_heads and "num_key_value_heads" not in model.stand_ins:
        raise InputError(
            f"--tp: got {tp}, which is no multiple of {model.name}'s num_key_value_heads {model.kv_heads}, "
            "so they cannot be replicated evenly; give another one"
        )
    if serving.expert_parallel and model.experts is None:
        raise InputError(f"--ep: {model.name} has no experts; leave it out")
