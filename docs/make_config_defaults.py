"""Writes what configuration classes have and refuse: `python docs/make_config_defaults.py`, where Transformers and vLLM
are installed.

Configs leave out what is as their class has it; the server then goes by the class, its own where it has one. Kept are
the fields that the table of decoders reads, what classes refuse of these, the architecture that a language model has
whose config names none, and the names of all classes of models.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from autotune.model.fields import NAMES
from autotune.servers.vllm.architectures.decoders import table

FOLDER = Path(__file__).parents[1] / "autotune" / "servers" / "vllm" / "architectures"
TARGET = FOLDER / "config_defaults.json"
UNEVEN_HEADS = {"hidden_size": 1028, "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 64}
UNCOUNTED_LAYERS = {"num_hidden_layers": 4, "layer_types": ["full_attention"] * 3}
_KEY_VALUE_HEADS = "num_key_value_heads"
_FIELD = "error for field"
_WIDTH = 1664
_NUMBER = 4
"""Of a field that is on or off."""
_LISTS: tuple[list[Any], ...] = ([8, 8], ["full_attention"], [{}])
OTHERS = (
    "pad_token_id",
    "layer_types",
    "mlp_layer_types",
    "full_attention_interval",
    "attn_layer_period",
    "attn_layer_offset",
)


def main() -> None:
    """Writes the table."""
    models = import_module("transformers.models.auto.modeling_auto")
    own = import_module("vllm.transformers_utils.config")._CONFIG_REGISTRY
    rows = {}
    for model_type, config in sorted(config_classes(own).items()):
        row = {
            "architecture": architecture(models.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, model_type),
            "defaults": defaults(config),
            "text_model_type": text_model_type(config),
            **text_fields(config),
            **refusals(config),
            **rotary_share(config),
        }
        if row["architecture"] or row["text_model_type"] or model_type.endswith("text") or model_type in own:
            rows[model_type] = row
    provenance = {
        "package": f"transformers {metadata.version('transformers')}, vllm {metadata.version('vllm')}",
        "read": "off its configuration classes",
    }
    names = (mapping for name, mapping in vars(models).items() if name.endswith("_MAPPING_NAMES"))
    others = {name for mapping in names for name in model_classes(mapping)}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(rows[name], sort_keys=True)}" for name in rows)
    classes = json.dumps(sorted(others))
    head = f'{{"provenance": {json.dumps(provenance)},\n "model_types": {{\n{lines}\n }},\n'
    TARGET.write_text(f'{head} "classes": {classes}}}\n')
    print(f"{TARGET}: {len(rows)} model types")


def model_classes(mapping: Mapping[str, str | Sequence[str]]) -> Iterator[str]:
    """Yields the names of a mapping from model types to classes of models."""
    for names in mapping.values():
        yield from [names] if isinstance(names, str) else names


def config_classes(own: Mapping[str, type]) -> dict[str, type]:
    """Returns the configuration classes by model type: the server's own come before those of Transformers."""
    configs = import_module("transformers.models.auto.configuration_auto")
    found = {model_type: configs.CONFIG_MAPPING[model_type] for model_type in configs.CONFIG_MAPPING_NAMES}
    return found | {model_type: own[model_type] for model_type in own}


def defaults(config: type) -> dict[str, Any]:
    """Returns the integers (and lists) that a configuration class has for fields that are left out."""
    wanted = read_fields()
    found = {name: value for name, value in declared(config) if name in wanted}
    return {name: value for name, value in found.items() if isinstance(value, int | float | list | tuple)}


def refusals(config: type) -> dict[str, Any]:
    """Returns the fields of which a class refuses null, a list or all but a boolean, and whether it counts layers and
    divides heads."""
    wanted = read_fields()
    names = sorted({name for name, _ in declared(config)} & wanted)
    found = {
        "not_null": [name for name in sorted({*own_fields(config), _KEY_VALUE_HEADS}) if refuses_null(config, name)],
        "not_lists": [name for name in names if all(refuses(config, {name: each}, _FIELD) for each in _LISTS)],
        "booleans": [name for name in switches(config) if refuses(config, {name: _NUMBER}, _FIELD)],
        "needed": [_KEY_VALUE_HEADS] if leaves_null(config, _KEY_VALUE_HEADS, {}) else [],
        "counts_layers": refuses(config, UNCOUNTED_LAYERS, "must be equal to the number of"),
        "even_heads": refuses(config, UNEVEN_HEADS, "multiple of the number of attention"),
    }
    return {name: value for name, value in found.items() if value}


def rotary_share(config: type) -> dict[str, float]:
    """Returns the share of a head that is rotated where a config does not tell it; nothing where that is all."""
    try:
        rope = config(rope_parameters={"rope_type": "default", "rope_theta": 10000.0}).rope_parameters
        share = rope.get("partial_rotary_factor", 1.0)
    except Exception:  # it has no such parameters, or needs others beside
        return {}
    return {"rotary_share": share} if isinstance(share, float) and share != 1.0 else {}


def refuses_null(config: type, name: str) -> bool:
    """Tells whether a class refuses null for a field, or leaves null what the server then refuses."""
    of_the_server = name == _KEY_VALUE_HEADS and leaves_null(config, name, {name: None})
    return of_the_server or refuses(config, {name: None}, _FIELD)


def leaves_null(config: type, name: str, fields: Mapping[str, Any]) -> bool:
    """Tells whether a field is null in an object that a class makes of fields."""
    try:
        return getattr(config(**fields), name, 0) is None
    except Exception:  # it has something else to say of the fields that are left out
        return False


def refuses(config: type, fields: Mapping[str, Any], why: str) -> bool:
    """Tells whether a configuration class refuses fields and says so."""
    try:
        config(**fields)
    except Exception as error:  # whatever else such a class stumbles over is not its word on these fields
        return type(error).__name__.startswith("StrictDataclass") and why in str(error)
    return False


def declared(config: type) -> Iterator[tuple[str, Any]]:
    """Yields the fields of a configuration class, or the arguments with which its objects are made, with defaults."""
    if dataclasses.is_dataclass(config):
        yield from ((each.name, each.default) for each in dataclasses.fields(config))
    if "__init__" in vars(config):
        parameters = inspect.signature(config).parameters.values()
        yield from ((each.name, each.default) for each in parameters)


def own_fields(config: type) -> set[str]:
    """Returns the fields of a class but those that all such classes have."""
    common = import_module("transformers").PretrainedConfig
    return {name for name, _ in declared(config)} - {name for name, _ in declared(common)}


def switches(config: type) -> list[str]:
    """Returns the fields of a class that are on or off, as far as its defaults tell."""
    return sorted({name for name, default in declared(config) if isinstance(default, bool)})


def architecture(models: Mapping[str, Any], model_type: str) -> str | None:
    """Returns the class of a language model of this type, by Transformers' own table."""
    found = models.get(model_type)
    return found[0] if isinstance(found, tuple | list) else found


def text_model_type(config: type) -> str | None:
    """Returns the type of the language model inside, where its class fixes it."""
    kinds = (getattr(config, name, {}).get("text_config") for name in ("sub_configs_defaults", "sub_configs"))
    return next((name for kind in kinds if (name := getattr(kind, "model_type", None))), None)


def text_fields(config: type) -> dict[str, bool]:
    """Returns how a class with a language model inside takes its fields: always as its own class's, or at the top."""
    if (own := text_model_type(config)) is None:
        return {}
    other = "llama" if own != "llama" else "qwen3"
    found = {
        "fixes_text": text_size(config, {"text_config": {"model_type": other, "hidden_size": _WIDTH}}, own),
        "text_at_the_top": text_size(config, {"hidden_size": _WIDTH}, own),
    }
    return {name: value for name, value in found.items() if value}


def text_size(config: type, fields: Mapping[str, Any], model_type: str) -> bool:
    """Tells whether an object that a class makes of fields has a language model of a type and of a width."""
    try:
        text = config(**fields).text_config
        return getattr(type(text), "model_type", None) == model_type and text.hidden_size == _WIDTH
    except Exception:  # it keeps its language model elsewhere, or needs other fields beside
        return False


def read_fields() -> set[str]:
    """Returns every name that may be a config's field in the table of decoders."""
    texts = [json.dumps(dataclasses.asdict(decoder)) for decoder in table().decoders.values()]
    words = set(re.findall(r"[A-Za-z_]\w*", " ".join([*texts, *table().sizes.values()])))
    return words | {name for names in NAMES.values() for name in names} | set(OTHERS)


if __name__ == "__main__":
    main()
