"""Finds the language model that vLLM builds of a config: its architecture, class, decoder and fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autotune.errors import InputError, one_of
from autotune.model.fields import NAMES
from autotune.servers.vllm.architectures.classes import ModelClass, classes, removed
from autotune.servers.vllm.architectures.config_classes import (
    all_classes,
    check_class,
    check_numbers,
    defaults_of,
    own_architectures,
    with_defaults,
)
from autotune.servers.vllm.architectures.decoders import Decoder, table

# Endings of architectures that are not registered, and of those that are served without a head for tokens; a model
# whose head is `score` gets a linear layer of that name in its place (contracts A9).
_SCORED = ("ForSequenceClassification", "ForTokenClassification", "ClassificationModel", "ForAudioClassification")
_HEADLESS = (*_SCORED, "EmbeddingModel", "ForTextEncoding", "ForRewardModeling", "RewardModel", "Model")
_GENERATING = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "ChatModel")


@dataclass(frozen=True)
class LanguageModel:
    """What vLLM builds of a config, as far as LoRA goes.

    Attributes:
        architecture: Of the whole model, as the config names it.
        model: The class that serves it.
        inner: The class of the language model inside, of a multimodal one; else the same.
        decoder: Its layers; None where the table has none.
        fields: Of the language model, with the defaults of its configuration class.
        multimodal: There are towers and connectors besides.
        has_head: It has a head for tokens, as its class has.
        scored: A layer ``score`` stands in place of that head.
        labels: How many classes a classifier tells apart.
        assumed: What the table does not tell for certain; one line each.
    """

    architecture: str
    model: ModelClass
    inner: ModelClass
    decoder: Decoder | None
    fields: Mapping[str, Any]
    multimodal: bool
    has_head: bool
    scored: bool
    labels: int
    assumed: tuple[str, ...] = ()

    @property
    def draft(self) -> bool:
        """It drafts tokens for another model."""
        return self.architecture in table().drafts

    @property
    def embedding_modules(self) -> set[str]:
        """The embeddings and heads that take LoRA: those that any class of it lists."""
        unregistered = self.decoder.embedding_modules if self.decoder else ()
        return {*self.model.embedding_modules, *self.inner.embedding_modules, *unregistered}

    def packed(self, holds: Callable[[str], bool]) -> dict[str, tuple[str, ...]]:
        """Returns what is merged into each module: the outer class decides, unless it lists nothing.

        Args:
            holds: Tells whether a condition of the table holds.
        """
        listed = dict(self.model.packed or self.inner.packed)
        if self.decoder is None:
            return listed
        always = self.decoder.packed_when
        made = {name: parts for name, parts in self.decoder.packed.items() if holds(always.get(name, "1"))}
        return {**made, **listed, **self.decoder.packed_with_lora}


def read(config: Mapping[str, Any], origin: str) -> LanguageModel:
    """Returns the language model that a config describes.

    Raises:
        InputError: If the server has such a class no more, or one without LoRA.
    """
    architecture = _architecture(config)
    registered = _registered(architecture)
    _check_classes(config, origin)
    if registered is None:
        if (last := removed().get(architecture)) is not None:
            raise InputError(
                f"{origin}: {architecture}: vLLM serves it no more, {last} was the last release that did; serve it "
                "with that one, and create studies of single shapes (study create --op-type ...) from what it logs"
            )
        if config.get("architectures") and not config.get("auto_map") and architecture not in all_classes():
            raise InputError(
                f"{origin}: {architecture}: neither vLLM nor Transformers has such a class, and the config names no "
                f"code of its own in auto_map (vLLM: Model architectures [{architecture!r}] are not supported "
                "for now); correct its architectures"
            )
        return _unregistered(architecture, config)
    model = classes()[registered]
    if not model.lora:
        raise InputError(
            f"{origin}: {architecture}: vLLM's class {model.name} does not implement SupportsLoRA, so the "
            "server refuses --enable-lora; there is nothing to tune for it"
        )
    text, nested = _text_config(config)
    known = table()
    inner_name = _inner(registered, config, text, origin)
    inner = classes().get(inner_name, model)
    name = inner_name if inner_name in known.decoders else known.architectures.get(inner_name)
    return LanguageModel(
        architecture=architecture,
        model=model,
        inner=inner,
        decoder=known.decoders[name] if name else None,
        fields=with_defaults(text),
        multimodal=nested or inner_name != registered,
        has_head=registered == architecture or not architecture.endswith(_HEADLESS),
        scored=registered != architecture and architecture.endswith(_SCORED),
        labels=_labels(config),
    )


def _architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    if isinstance(names, list) and names:
        return str(names[0])
    return defaults_of(config.get("model_type")).get("architecture") or "an unnamed architecture"


def _registered(architecture: str) -> str | None:
    """Returns the architecture of the registry that serves this one, None for none."""
    if architecture in classes():
        return architecture
    for ending in _HEADLESS:
        if architecture.endswith(ending):
            stem = architecture.removesuffix(ending)
            return next((stem + other for other in ("ForCausalLM", *_GENERATING) if stem + other in classes()), None)
    return None


def _unregistered(architecture: str, config: Mapping[str, Any]) -> LanguageModel:
    """Returns what vLLM's Transformers backend makes of an architecture that it does not have."""
    text, nested = _text_config(config)
    fields = with_defaults(text)
    experts = any((fields.get(name) or 0) > 1 for name in NAMES["num_experts"] if type(fields.get(name)) is int)
    backend = "TransformersMoEForCausalLM" if experts else "TransformersForCausalLM"
    model, known = classes()[backend], table()
    # Of one that Transformers itself has, the layers are as its own code has them.
    listed = architecture in known.architectures or architecture in own_architectures()
    name = known.architectures.get(architecture if listed else backend)
    return LanguageModel(
        architecture=architecture,
        model=model,
        inner=model,
        decoder=known.decoders[name] if name else None,
        fields=fields,
        multimodal=nested,
        has_head=not architecture.endswith(_HEADLESS),
        scored=architecture.endswith(_SCORED),
        labels=_labels(config),
        assumed=()
        if listed
        else (
            f"{architecture} is not known here: taken for a decoder with merged qkv and gate_up projections that "
            "vLLM's Transformers backend serves; compare with what the server logs",
        ),
    )


def _inner(registered: str, config: Mapping[str, Any], text: Mapping[str, Any], origin: str) -> str:
    """Returns the architecture of the language model inside, or its decoder; of a text model the same."""
    known = table()
    if (versions := known.by_version.get(registered)) is not None:
        if (version := str(config.get("version"))) not in versions:
            raise InputError(f"{origin}: version: got {version}, known here of {registered}: {one_of(versions)}")
        return versions[version]
    if registered not in known.language_models:
        return registered
    return known.language_models[registered] or _text_architecture(text, origin)


def _labels(config: Mapping[str, Any]) -> int:
    labels = config.get("num_labels") or len(config.get("id2label") or ())
    return labels if type(labels) is int and labels else 2


def _text_config(config: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Returns the language model's fields, and whether they stand a level down; what that leaves out is of the top."""
    if (part := _text_part(config)) is None:
        return dict(config), False
    own = {name: value for name, value in config.items() if not isinstance(value, Mapping)}
    return {**_plain(own), **part}, True


def _text_part(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the part of a multimodal config that is of the language model, with its model type; None for none.

    Where it is null, or nothing of it is there, its class has all of it.
    """
    row = defaults_of(config.get("model_type"))
    outer = row.get("text_model_type")
    for path in table().text_configs:
        found: Any = config
        for step in path.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
        if isinstance(found, Mapping):
            own = None if row.get("fixes_text") else found.get("model_type")
            return {**found, "model_type": own or outer}
    if row.get("text_at_the_top"):
        return {**_plain(config), "model_type": outer}
    null = any(path in config and config[path] is None for path in table().text_configs)
    absent = not any(config.get(name) for name in NAMES["hidden_size"])
    return {"model_type": outer} if outer and (null or absent) else None


def _check_classes(config: Mapping[str, Any], origin: str) -> None:
    """Makes sure that the configuration classes take a config and its language model's part.

    Raises:
        InputError: If one refuses it.
    """
    text = _text_part(config)
    for part in (config, text or {}):
        check_class(part, part.get("model_type"), origin)
    check_numbers(config if text is None else text, origin)


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in ("architectures", "model_type")}


def _text_architecture(text: Mapping[str, Any], origin: str) -> str:
    names = text.get("architectures")
    found = str(names[0]) if isinstance(names, list) and names else None
    found = found or defaults_of(text.get("model_type") or "llama").get("architecture")
    if found is None:
        raise InputError(
            f"{origin}: text_config: got model_type {text.get('model_type')!r}, whose architecture is not known here; "
            'add "architectures" to the text_config of a copy'
        )
    return found
