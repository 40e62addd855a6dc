"""Reads off a model's config the sizes that its LoRA shapes follow from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from autotune.errors import InputError
from autotune.model.expert_layers import expert_layers
from autotune.model.families import FAMILIES, Family, underivable
from autotune.model.fields import Fields, LackingFieldsError, language_model
from autotune.model.sources import Source, find

UNNAMED: Final = "an unnamed architecture"
"""What a config without one has."""

_LAYERS = "num_hidden_layers"
_STAND_IN, _ENOUGH_LAYERS = 1 << 12, 64
"""What stands in place of a size that is not known, and of a number of layers."""

_ALWAYS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")

_FIELD_OF: Final[Mapping[str, str]] = {
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "intermediate": "intermediate_size",
    "vocab": "vocab_size",
    "layers": _LAYERS,
    "dense_layers": _LAYERS,
}
"""For each size of a model the field that it follows from."""

_FIELD_OF_EXPERTS: Final[Mapping[str, str]] = {
    "top_k": "num_experts_per_tok",
    "intermediate": "moe_intermediate_size",
    "shared": "shared_expert_intermediate_size",
    "layers": _LAYERS,
}
"""The same of its experts."""


@dataclass(frozen=True)
class Experts:
    """The mixture of experts of a model.

    Attributes:
        count: Routed experts.
        top_k: Experts a token is sent to.
        intermediate: Width of one expert.
        shared: Width of the shared experts together; 0 without.
        layers: Layers that have experts.
        fused: Gate and up are one matrix.
    """

    count: int
    top_k: int
    intermediate: int
    shared: int
    layers: int
    fused: bool


_UNTOLD = ("config", "digest", "unknown", "stand_ins")


@dataclass(frozen=True)
class ModelShape:
    """A decoder's sizes, before any sharding.

    Attributes:
        name: What to call it.
        origin: Where the sizes are from.
        dense_layers: Layers with a dense MLP of width `intermediate`.
        packed: An adapter has one matrix for all of qkv, and one for gate and up, not one for each part.
        tied: lm_head shares the weights of embed_tokens.
        embedding_modules: The embeddings that take LoRA, where its source says so; None to go by the server's classes.
        config: All fields, as found.
        digest: Tells the model from another one of the same name (`sources.Source`).
        overrides: Fields that were given in place of the config's.
        assumptions: What was taken for granted; one line each.
        unknown: Why its sizes cannot be worked out without a server's own tables; then those above are 0.
        lacking: The fields for want of which they cannot; then those above that do not follow from these are known.
        stand_ins: The fields that have a number of ours in their place: those that it lacks and some that follow.
    """

    name: str
    origin: str
    architecture: str
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    layers: int
    dense_layers: int
    packed: bool
    tied: bool
    experts: Experts | None
    embedding_modules: tuple[str, ...] | None
    overrides: Mapping[str, int]
    assumptions: tuple[str, ...]
    config: Mapping[str, Any] = field(repr=False)
    digest: str = field(default="", repr=False)
    unknown: str | None = None
    lacking: tuple[str, ...] = ()
    stand_ins: tuple[str, ...] = ()

    @property
    def dtype(self) -> str | None:
        """What its config says that the weights are in; None where it says nothing."""
        for config in (self.config, language_model(self.config)):
            for name in ("dtype", "torch_dtype"):
                if isinstance(said := config.get(name), str):
                    return said
        return None

    def to_json(self) -> dict[str, Any]:
        """Returns what is known of it: a size in whose place a number stands is null."""
        told = {name: value for name, value in asdict(self).items() if name not in _UNTOLD}
        told |= {name: None for name, field in _FIELD_OF.items() if field in self.stand_ins}
        if self.experts is not None:
            told["experts"] |= {name: None for name, field in _FIELD_OF_EXPERTS.items() if field in self.stand_ins}
        return told

    def require_sizes(self) -> None:
        """Makes sure that its sizes are known.

        Raises:
            InputError: If they do not follow from its config.
        """
        if self.unknown is not None:
            raise InputError(self.unknown)


def load(model: str, overrides: Mapping[str, int] | None = None) -> ModelShape:
    """Returns the shape of the model that `model` names: a path, a preset, or a hub id.

    Args:
        overrides: Config fields that go over those found.

    Raises:
        InputError: If there is no such model, a field is missing, or its LoRA shapes do not follow from its sizes.
    """
    found = look_up(model, overrides)
    found.require_sizes()
    return found


def look_up(model: str, overrides: Mapping[str, int] | None = None) -> ModelShape:
    """Returns the shape of a model even if its sizes do not follow from its config alone; a server may know more.

    Raises:
        InputError: If there is no such model.
    """
    return read(find(model), overrides or {})


def read(source: Source, overrides: Mapping[str, int]) -> ModelShape:
    """Returns the shape that a config describes; what keeps its sizes from being known is its `unknown`."""
    try:
        return _read(source, overrides)
    except LackingFieldsError as error:
        if (partly := _read_partly(source, overrides, error)) is not None:
            return partly
        why: InputError = error
    except InputError as error:
        why = error
    return _unknown(source, overrides, why)


def _read_partly(source: Source, overrides: Mapping[str, int], error: LackingFieldsError) -> ModelShape | None:
    """Returns the shape with sizes in place of those that its config lacks; None where nothing else is known."""
    lacking = error.names
    while "hidden_size" not in lacking:
        try:
            placed = _placed(source, overrides, lacking)
            found = _read(source, {**placed, **overrides})
        except LackingFieldsError as further:
            if set(further.names) <= set(lacking):  # a flag gives it, as 0
                return None
            lacking += further.names
        except InputError:
            return None
        else:
            names = tuple(placed)
            return replace(found, overrides=dict(overrides), unknown=str(error), lacking=lacking, stand_ins=names)
    return None


def _placed(source: Source, overrides: Mapping[str, int], lacking: Sequence[str]) -> dict[str, int]:
    """Returns numbers for the fields that a config lacks, and for those that would follow from them."""
    sizes = _fields(source, overrides)
    follow = list[str]()
    if "num_attention_heads" in lacking:
        follow += ["num_key_value_heads", "head_dim"]
    if "moe_intermediate_size" in lacking and sizes.get("n_shared_experts"):
        follow += ["shared_expert_intermediate_size"]
    names = [*lacking, *(name for name in follow if not sizes.get(name))]
    return stand_ins(names)


def stand_ins(names: Sequence[str]) -> dict[str, int]:
    """Returns a number for each of these fields, to stand in place of what is not known."""
    return {name: _ENOUGH_LAYERS if name == _LAYERS else _STAND_IN for name in names}


def _fields(source: Source, overrides: Mapping[str, int]) -> Fields:
    family = FAMILIES.get(_architecture(source.config), Family())
    return Fields(source.origin, {**family.defaults, **language_model(source.config), **overrides})


def _unknown(source: Source, overrides: Mapping[str, int], error: InputError) -> ModelShape:
    """Returns the shape of a model of which no size is known."""
    return ModelShape(
        name=source.name,
        origin=source.origin,
        architecture=_architecture(source.config),
        hidden=0,
        heads=0,
        kv_heads=0,
        head_dim=0,
        intermediate=0,
        vocab=0,
        layers=0,
        dense_layers=0,
        packed=False,
        tied=False,
        experts=None,
        embedding_modules=source.embedding_modules,
        overrides=dict(overrides),
        assumptions=(),
        config=source.config,
        digest=source.digest,
        unknown=str(error),
    )


def _read(source: Source, overrides: Mapping[str, int]) -> ModelShape:
    config = language_model(source.config)
    architecture = _architecture(source.config)
    if what := underivable(config):
        raise InputError(
            f"{source.origin}: {architecture} has {what}, whose LoRA shapes cannot be worked out from its config; "
            "create studies of single shapes (study create --op-type ...) from what the server logs"
        )
    family = FAMILIES.get(architecture, Family())
    sizes = _fields(source, overrides)
    sizes.require(*_ALWAYS)
    experts = _experts(sizes, family)
    dense_layers = sizes["num_hidden_layers"] - (experts.layers if experts else 0)
    if dense_layers:
        sizes.require("intermediate_size")
    heads = sizes["num_attention_heads"]
    return ModelShape(
        name=source.name,
        origin=source.origin,
        architecture=architecture,
        hidden=sizes["hidden_size"],
        heads=heads,
        kv_heads=sizes.get("num_key_value_heads") or heads,
        head_dim=sizes.get("head_dim") or _head_dim(sizes),
        intermediate=sizes["intermediate_size"] if dense_layers else 0,
        vocab=sizes["vocab_size"],
        layers=sizes["num_hidden_layers"],
        dense_layers=dense_layers,
        packed=family.packed,
        tied=bool(source.config.get("tie_word_embeddings", config.get("tie_word_embeddings"))),
        experts=experts,
        embedding_modules=source.embedding_modules,
        overrides=dict(overrides),
        assumptions=tuple(_assumptions(source, architecture, family, experts, dense_layers)),
        config=source.config,
        digest=source.digest,
    )


def _architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else UNNAMED


def _head_dim(sizes: Fields) -> int:
    width, rest = divmod(sizes["hidden_size"], sizes["num_attention_heads"])
    if rest:
        raise InputError(
            f"{sizes.origin}: hidden_size {sizes['hidden_size']} is no multiple of num_attention_heads "
            f"{sizes['num_attention_heads']}, and head_dim is not given; give --set head_dim=N"
        )
    return width


def _experts(sizes: Fields, family: Family) -> Experts | None:
    if not sizes.expert_count:
        return None
    sizes.require("num_experts_per_tok", "moe_intermediate_size")
    intermediate = sizes["moe_intermediate_size"]
    shared = sizes.get("shared_expert_intermediate_size") or (sizes.get("n_shared_experts") or 0) * intermediate
    if not (layers := len(expert_layers(sizes))):
        return None
    return Experts(
        count=sizes.expert_count,
        top_k=sizes["num_experts_per_tok"],
        intermediate=intermediate,
        shared=shared,
        layers=layers,
        fused=family.fused_experts,
    )


def _assumptions(
    source: Source, architecture: str, family: Family, experts: Experts | None, dense_layers: int
) -> list[str]:
    lines = []
    if architecture not in FAMILIES:
        lines.append(
            f"{architecture} is not known here: taken for a decoder with merged qkv and gate_up projections; "
            "compare with what the server logs"
        )
    elif not family.checked:
        lines.append(
            f"{architecture}: the lookups follow from its sizes; they were not compared with a running server's"
        )
    if "vision_config" in source.config or "audio_config" in source.config:
        lines.append("the language model alone is planned, not its towers and connectors")
    if experts:
        shared = "shared experts, taken for a merged gate_up and a down projection in each MoE layer"
        has_shared = shared if experts.shared else "no shared experts"
        lines.append(f"{experts.layers} MoE layers, {dense_layers} dense, {has_shared}")
    return lines
