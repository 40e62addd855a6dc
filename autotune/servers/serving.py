"""How a model is served: the server's flags that its LoRA lookups depend on, checked against the model."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.errors import InputError, one_of
from autotune.model.shape import ModelShape
from autotune.servers.vllm.facts import RANKS as VLLM_RANKS

# Names under which adapters and servers know a module, by our name for the layer.
_MODULES = {
    "qkv_proj": ("qkv_proj", "q_proj", "k_proj", "v_proj"),
    "o_proj": ("o_proj",),
    "gate_up_proj": ("gate_up_proj", "gate_proj", "up_proj"),
    "down_proj": ("down_proj",),
    "gate": ("gate", "router"),
    "experts": ("experts",),
    "embed_tokens": ("embed_tokens",),
    "lm_head": ("lm_head",),
}
MODULE_NAMES = tuple(name for names in _MODULES.values() for name in names)


@dataclass(frozen=True)
class Serving:
    """The flags of a server.

    Attributes:
        tp: Tensor-parallel size.
        rank: ``max_lora_rank``: the pool's, not an adapter's.
        max_loras: Adapters of a batch.
        fully_sharded: vLLM's ``--fully-sharded-loras``.
        expert_parallel: vLLM's ``--enable-expert-parallel``.
        dual_stream: vLLM's ``VLLM_LORA_ENABLE_DUAL_STREAM=1``.
        target_modules: ``--lora-target-modules``: modules that alone are wrapped; None where it is not given.
    """

    server: str
    tp: int
    rank: int
    max_loras: int
    fully_sharded: bool = False
    expert_parallel: bool = False
    dual_stream: bool = False
    target_modules: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("tp", "rank", "max_loras"):
            if (value := getattr(self, name)) < 1:
                raise InputError(f"{name}: got {value}, allowed: 1 or more")
        if unknown := sorted(set(self.target_modules or ()) - set(MODULE_NAMES)):
            raise InputError(f"--target-modules: got {one_of(unknown)}, allowed: {one_of(MODULE_NAMES)}")
        if self.server == "vllm":
            self._check_vllm()
        else:
            self._check_sglang()

    @property
    def experts_spread(self) -> bool:
        """Whole experts are on different GPUs, and every GPU leaves the tokens of the others' alone."""
        return self.expert_parallel and self.tp > 1

    def _check_vllm(self) -> None:
        if self.rank not in VLLM_RANKS:
            raise InputError(
                f"--lora-rank: got {self.rank}, allowed: {one_of(VLLM_RANKS)}; pass the server's --max-lora-rank, "
                "adapters of a lower rank are padded to it"
            )
        if self.fully_sharded and self.dual_stream:
            raise InputError(
                "--dual-stream: a server with --fully-sharded-loras switches dual stream off; leave one of them out"
            )
        if self.fully_sharded and self.rank % self.tp:
            raise InputError(
                f"--fully-sharded: --lora-rank {self.rank} is no multiple of --tp {self.tp}; raise the rank, or leave "
                "--fully-sharded out"
            )

    def _check_sglang(self) -> None:
        for flag, given in (
            ("--fully-sharded", self.fully_sharded),
            ("--ep", self.expert_parallel),
            ("--dual-stream", self.dual_stream),
        ):
            if given:
                raise InputError(f"{flag}: SGLang's csgmv backend has no such mode; leave it out")

    def wraps(self, layer: str) -> bool:
        """Whether the server wraps a layer, by our name for it; experts by any of their projections too."""
        if self.target_modules is None:
            return True
        names = _MODULES[layer]
        if layer == "experts":
            names = (*names, *_MODULES["gate_up_proj"], *_MODULES["down_proj"])
        return bool(set(names) & set(self.target_modules))


def check(model: ModelShape, serving: Serving) -> None:
    """Whether the model can be sharded so at all.

    Raises:
        InputError: If a size does not divide; names it.
    """
    tp = serving.tp
    sizes = {"num_attention_heads": model.heads, "intermediate_size": model.intermediate}
    if model.kv_heads >= tp:
        sizes["num_key_value_heads"] = model.kv_heads
    if model.experts and model.experts.shared:
        sizes["shared experts' intermediate size"] = model.experts.shared
    if model.experts and not serving.expert_parallel:
        sizes["moe_intermediate_size"] = model.experts.intermediate
    if model.experts and serving.expert_parallel:
        sizes["num_experts"] = model.experts.count
    if serving.fully_sharded:
        sizes["hidden_size"] = model.hidden
    for name, size in sizes.items():
        if size % tp:
            raise InputError(f"--tp: got {tp}, which does not divide {model.name}'s {name} {size}; give another one")
    if tp > model.kv_heads and tp % model.kv_heads:
        raise InputError(
            f"--tp: got {tp}, which is no multiple of {model.name}'s num_key_value_heads {model.kv_heads}, "
            "so they cannot be replicated evenly; give another one"
        )
    if serving.expert_parallel and model.experts is None:
        raise InputError(f"--ep: {model.name} has no experts; leave it out")
