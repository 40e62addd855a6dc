"""Reads the modules that vLLM's decoders are made of: the table `decoders.toml`, typed."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

LAYER_LISTS = ("layer_types", "layers_block_type", "hybrid_override_pattern")
"""Fields of configs that name a kind for each layer."""

_FILE = Path(__file__).parent / "decoders.toml"

ModuleKind = Literal[
    "qkv", "merged", "column", "row", "replicated", "embedding", "head", "classifier", "experts", "other"
]


@dataclass(frozen=True)
class Module:
    """One linear layer of the server's model classes; sizes are expressions, see `expressions`.

    Attributes:
        name: The server's name of it, without the path.
        kind: How it is sharded: ``qkv`` and ``merged`` are ``column`` layers of several parts; no LoRA layer replaces
            one of an ``other`` kind.
        inputs: Columns of its input.
        outputs: Columns of each part of its output; of ``qkv`` heads, key-value heads and the size of a head; of
            ``experts`` the width of one.
        when: It is there if this is not 0.
        called: It runs through its LoRA wrapper. What is wrapped and not called is never looked up.
        held: The experts' runner has it, and calls it through its wrapper only where the experts are not wrapped.
        whole: Each GPU has all of it.
        named: It is wrapped only where it is named, whatever its class lists.
    """

    name: str
    kind: ModuleKind
    inputs: str = "hidden_size"
    outputs: tuple[str, ...] = ()
    when: str = "1"
    called: bool = True
    held: bool = False
    whole: bool = False
    named: bool = False


@dataclass(frozen=True)
class Part:
    """Modules that stand in the layers of one kind.

    Attributes:
        on: The kind; ``model`` for what the model has once.
        name: What tells its modules from others of the same name.
        when: They are there if this is not 0, which a decoder says.
        through: What calls them by paths of its own, which a decoder says: another path wraps what is never called.
        refused: Conditions under which layers with them are refused, each with what the server says.
    """

    on: str
    modules: tuple[Module, ...]
    name: str = ""
    when: str = "1"
    through: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Decoder:
    """A decoder's layers.

    Attributes:
        parts: What its layers are made of.
        mixers: How its config places attention and what stands in its place: empty where each layer has attention.
        attention_interval: Each so many layers have attention, or full attention, where nothing in the config places
            it; 0 for none.
        last_layer_type: What the last layer is, whatever the config says; empty where the config decides.
        sizes: Expressions for names that its config spells otherwise or leaves out, before those of all decoders.
        by_layer_type: The same, by entry of the config's ``layer_types``.
        packed: What its classes merge once they are made, beside what they list.
        packed_when: The condition for some of these.
        packed_with_lora: What its classes merge otherwise than they list, once the server has LoRA on.
        embedding_modules: Embeddings that take LoRA by a class of it that the server does not register.
        most_gpus: An expression for how many GPUs may share a layer; empty where its class sets no limit.
        refused: Conditions under which its class refuses a config or flags, each with what the server says.
        environment: Variables that the server must be started with, or it refuses LoRA.
        ignored: Fields that its class does not read, whatever configs say.
        defaults: Fields that its configuration class works out where they are left out.
        unknown: What of it the table cannot tell; one line each.
    """

    parts: tuple[Part, ...]
    mixers: str = ""
    attention_interval: int = 0
    last_layer_type: str = ""
    sizes: Mapping[str, str] = field(default_factory=dict)
    by_layer_type: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    packed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    packed_when: Mapping[str, str] = field(default_factory=dict)
    packed_with_lora: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    embedding_modules: tuple[str, ...] = ()
    most_gpus: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    defaults: Mapping[str, int] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """All of `decoders.toml`.

    Attributes:
        decoders: By their name in the table.
        architectures: The decoder of each architecture.
        language_models: For multimodal architectures the architecture of the language model, or a decoder; empty where
            the config tells it.
        by_version: The same by the config's ``version``.
        text_configs: Where configs keep the language model's fields, as paths, the first that is there.
        mixers: By the config's name for a kind of layer, our name.
        sizes: Expressions for names that no config has.
        drafts: Architectures that draft tokens for another model.
        needs_experts: Classes that stop where no layer has experts.
        needs_an_expert_a_gpu: Classes that stop where there are fewer experts than GPUs.
        no_targets: Architectures that stop with ``--lora-target-modules``.
        needed_fields: By a config's field, the architectures that stop without it.
    """

    decoders: Mapping[str, Decoder]
    architectures: Mapping[str, str]
    language_models: Mapping[str, str]
    by_version: Mapping[str, Mapping[str, str]]
    text_configs: tuple[str, ...]
    mixers: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, str]
    drafts: frozenset[str]
    needs_experts: frozenset[str]
    needs_an_expert_a_gpu: frozenset[str]
    no_targets: frozenset[str]
    needed_fields: Mapping[str, tuple[str, ...]]


@cache
def table() -> Table:
    """Returns the table."""
    data = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    parts = {name: _part(part) for name, part in data["parts"].items()}
    return Table(
        decoders={name: _decoder(row, parts) for name, row in data["decoders"].items()},
        architectures={each: name for name, row in data["decoders"].items() for each in row.get("architectures", ())},
        language_models={each: name for name, names in data["language_models"].items() for each in names},
        by_version=data["language_model_by_version"],
        text_configs=tuple(data["text_configs"]),
        mixers={name: tuple(kinds) for name, kinds in data["mixers"].items()},
        sizes=data["sizes"],
        drafts=frozenset(data["drafts"]),
        needs_experts=frozenset(data["needs_experts"]),
        needs_an_expert_a_gpu=frozenset(data["needs_an_expert_a_gpu"]),
        no_targets=frozenset(data["no_targets"]),
        needed_fields=_tuples(data["needed_fields"]),
    )


def _part(data: Mapping[str, Any]) -> Part:
    modules = [Module(**(row | {"outputs": tuple(row.get("outputs", ()))})) for row in data["modules"]]
    return Part(data["on"], tuple(modules), data.get("name", ""), refused=data.get("refused", {}))


def _decoder(data: Mapping[str, Any], parts: Mapping[str, Part]) -> Decoder:
    conditions, through = data.get("parts_when", {}), data.get("paths_through", {})
    return Decoder(
        parts=tuple(
            replace(parts[name], when=conditions.get(name, "1"), through=through.get(name, ""))
            for name in data["parts"]
        ),
        mixers=data.get("mixers", ""),
        attention_interval=data.get("attention_interval", 0),
        last_layer_type=data.get("last_layer_type", ""),
        sizes=data.get("sizes", {}),
        by_layer_type=data.get("by_layer_type", {}),
        packed=_tuples(data.get("packed", {})),
        packed_when=data.get("packed_when", {}),
        packed_with_lora=_tuples(data.get("packed_with_lora", {})),
        embedding_modules=tuple(data.get("embedding_modules", ())),
        most_gpus=data.get("most_gpus", ""),
        refused=data.get("refused", {}),
        environment=data.get("environment", {}),
        ignored=tuple(data.get("ignored", ())),
        defaults=data.get("defaults", {}),
        unknown=tuple(data.get("unknown", ())),
    )


def _tuples(lists: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(names) for name, names in lists.items()}
