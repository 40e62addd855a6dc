"""Reads the fields of a model's config, under the names that different model families give them.

Nothing else reads these fields: a name that is missing here is added here, and every user of a model knows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autotune.errors import InputError, one_of
from autotune.untrusted.printing import shortened

NAMES: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "num_layers", "encoder_layers"),
    "num_attention_heads": ("num_attention_heads", "n_head"),
    "num_key_value_heads": ("num_key_value_heads",),
    "head_dim": ("head_dim",),
    "intermediate_size": ("intermediate_size_mlp", "intermediate_size", "ffn_hidden_size"),
    "vocab_size": ("vocab_size",),
    "q_lora_rank": ("q_lora_rank",),
    "kv_lora_rank": ("kv_lora_rank",),
    "qk_nope_head_dim": ("qk_nope_head_dim",),
    "qk_rope_head_dim": ("qk_rope_head_dim",),
    "v_head_dim": ("v_head_dim",),
    "num_experts": ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
    "num_experts_per_tok": (
        "num_experts_per_tok",
        "num_experts_per_token",
        "moe_top_k",
        "moe_topk",
        "moe_k",
        "top_k_experts",
        "top_k",
    ),
    "moe_intermediate_size": ("moe_intermediate_size", "intermediate_size", "ffn_hidden_size"),
    "shared_expert_intermediate_size": ("shared_expert_intermediate_size",),
    "n_shared_experts": (
        "n_shared_experts",
        "num_shared_experts",
        "moe_num_shared_experts",
        "num_shared_expert",
    ),
    "first_k_dense_replace": ("first_k_dense_replace", "num_dense_layers", "dense_mlp_idx"),
    "decoder_sparse_step": ("decoder_sparse_step",),
    "moe_layer_freq": ("moe_layer_freq",),
    "interleave_moe_layer_step": ("interleave_moe_layer_step",),
}
"""For each size its names, the one that counts first; the others are read where that is absent."""

MOST_SIZE = 1 << 24
"""Largest size that is believed; the largest vocabularies have 2**18 entries."""

_LAYERS = "num_hidden_layers"

_NESTED = (("text_config",), ("thinker_config", "text_config"), ("llm_config",), ("language_config",))
"""Where multimodal configs keep their language model's fields; the first that is there counts."""

POSITIVE = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "head_dim",
    "intermediate_size",
    "moe_intermediate_size",
    "vocab_size",
)
"""Sizes that no layer has as 0: a config that has one so says nothing of it."""

MOST: Mapping[str, int] = {"num_hidden_layers": 4096, "num_experts": 1 << 16}
"""Largest numbers that are believed of what a plan holds one object each for."""


def language_model(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of the language model, which multimodal configs keep a level or two down."""
    for path in _NESTED:
        nested: Any = config
        for name in path:
            nested = nested.get(name) if isinstance(nested, Mapping) else None
        if isinstance(nested, Mapping):
            return {**config, **nested}
    return dict(config)


def without_zeros(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config without the sizes that it has as 0 and no layer can have so: these are as good as absent."""
    positive = {spelled for name in POSITIVE for spelled in NAMES[name]}
    return {name: value for name, value in config.items() if name not in positive or type(value) is not int or value}


def changed(config: Mapping[str, Any], overrides: Mapping[str, int]) -> dict[str, Any]:
    """Returns a config with other values of its language model's fields; lists with an item a layer are cut to the
    layers that are left."""
    text = config.get("text_config")
    before = text if isinstance(text, dict) else config
    after = {**before, **overrides}
    for name, value in before.items():
        if isinstance(value, list) and len(value) == before.get(_LAYERS):
            after[name] = value[: after[_LAYERS]]
    return {**config, "text_config": after} if before is text else after


class LackingFieldsError(InputError):
    """A config lacks fields that sizes follow from.

    Attributes:
        names: Our names of these.
    """

    def __init__(self, origin: str, names: Sequence[str]) -> None:
        self.names = tuple(names)
        super().__init__(f"{origin}: lacks {one_of(names)}; give {remedy(names)}")


def remedy(names: Sequence[str]) -> str:
    """Returns what gives a plan the fields that a config lacks."""
    settable = [f"--set {name}=N" for name in names if name in NAMES]
    return " ".join(settable) if len(settable) == len(list(names)) else "the model's whole config.json"


class Fields:
    """Integer fields of a config, by our names for them.

    Attributes:
        origin: Where the config is from, for messages.
        config: All of them, by the config's names.
        flags: For fields that the user can give by a flag other than ``--set``, that flag.
    """

    def __init__(self, origin: str, config: Mapping[str, Any], flags: Mapping[str, str] | None = None) -> None:
        self.origin = origin
        self.config = config
        self.flags = flags or {}

    @property
    def expert_count(self) -> int:
        """How many experts tokens are routed to; 0 for a dense model, and a model of one expert is dense."""
        count = self.get("num_experts") or 0
        return count if count > 1 else 0

    def get(self, name: str) -> int | None:
        """Returns the value of a field, None where the config has it under no name.

        Raises:
            InputError: If it is no size.
        """
        for field in NAMES[name]:
            value = self.config.get(field)
            if value is None or isinstance(value, bool):
                continue
            if isinstance(value, list | tuple) and len(set(map(str, value))) == 1:
                value = value[0]
            most = MOST.get(name, MOST_SIZE)
            if not isinstance(value, int) or not 0 <= value <= most:
                flag = self.flags.get(name, f"--set {name}=N")
                raise InputError(
                    f"{self.origin}: {field}: got {shortened(value)}, allowed: one integer for all layers, at most "
                    f"{most}; give {flag}"
                )
            return value
        return None

    def __getitem__(self, name: str) -> int:
        if (value := self.get(name)) is None:
            raise KeyError(name)
        return value

    def integers(self, field: str) -> tuple[int, ...]:
        """Returns a list with a number for each of some, or all, layers; an empty one where there is none."""
        value = self.config.get(field)
        if value is None:
            return ()
        if not isinstance(value, list | tuple) or not all(type(each) is int for each in value):
            raise InputError(f"{self.origin}: {field}: got {value!r}, allowed: a list of integers; fix it")
        return tuple(value)

    def require(self, *names: str) -> None:
        """Makes sure that these fields are there and not 0.

        Raises:
            LackingFieldsError: If one is not; names all of them.
        """
        if missing := [name for name in names if not self.get(name)]:
            raise LackingFieldsError(self.origin, missing)
