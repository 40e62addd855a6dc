"""Plans GLM-5-Next's layers with linear attention, which have one merged qkv_proj each (contracts B4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from autotune.errors import InputError
from autotune.model.fields import language_model
from autotune.model.layers import Layer
from autotune.model.shape import ModelShape
from autotune.servers.sglang import facts

_CLASSES: Final = ("Glm5NextForConditionalGeneration",)
_QKV: Final = "qkv_proj"
_PARTS: Final = 3
_PERIOD: Final = 4
"""The last of so many layers has full attention, where the config does not tell."""

_DEFAULTS: Final[Mapping[str, int]] = {"linear_num_heads": 64, "linear_head_dim": 128}


def check(model: ModelShape, named: Sequence[str]) -> None:
    """Makes sure that the server's pool has as many columns for q, k and v as these layers have.

    Raises:
        InputError: If it does not, so that no adapter of them can be loaded.
    """
    everything = not _pool(model) and set(named) & set(facts.ALL_LINEAR)
    if model.architecture not in _CLASSES or _fits(model) or not (everything or _QKV in named):
        return
    raise InputError(
        f"--target-modules: q_proj, k_proj, v_proj: those of {model.architecture} are of its linear attention, of "
        f"{_PARTS * _width(model)} columns together, and SGLang's pool has {_pool(model)}: no adapter of them is "
        "loaded (LoRA buffer shape does not match weight shape); leave them out"
    )


def layers(model: ModelShape, tp: int) -> Iterator[Layer]:
    """Yields the merged projections, where the pool has a place for them."""
    if model.architecture in _CLASSES and _fits(model) and (count := _count(model)):
        yield Layer(_QKV, "column", model.hidden, (_width(model) // tp,) * _PARTS, count)


def notes(model: ModelShape) -> Iterator[str]:
    """Tells where naming q, k and v would stop the server."""
    if model.architecture in _CLASSES and not _fits(model):
        yield f"{_QKV}: not planned: the pool has no place of its size, so that no adapter of q, k or v is loaded"


def _fits(model: ModelShape) -> bool:
    return _pool(model) == _PARTS * _width(model)


def _pool(model: ModelShape) -> int:
    """Returns the columns that the pool has by the sizes of full attention; none where the config leaves one out."""
    config = language_model(model.config)
    head_dim, kv_heads = (_size(config, name, 0) for name in ("head_dim", "num_key_value_heads"))
    return head_dim * (model.heads + 2 * kv_heads) if kv_heads else 0


def _width(model: ModelShape) -> int:
    """Returns the columns of each of q, k and v."""
    config = language_model(model.config)
    own = config.get("linear_attn_config")
    if isinstance(own, Mapping):
        return _size(own, "num_heads", 0) * _size(own, "head_dim", 0)
    heads, head_dim = (_size(config, name, usual) for name, usual in _DEFAULTS.items())
    return heads * head_dim


def _count(model: ModelShape) -> int:
    config = language_model(model.config)
    own, kinds = config.get("linear_attn_config"), config.get("layer_types")
    if isinstance(own, Mapping) and isinstance(own.get("kda_layers"), list):
        return len(own["kda_layers"])
    if isinstance(kinds, list):
        return kinds.count("linear_attention")
    return model.layers - model.layers // _PERIOD


def _size(config: Mapping[str, Any], name: str, usual: int) -> int:
    value = config.get(name)
    return value if type(value) is int and value > 0 else usual
