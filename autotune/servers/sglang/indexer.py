"""What finds the keys that an attention of few keys attends to: which of its projections are wrapped (contracts B4)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Final

from autotune.errors import InputError, one_of
from autotune.model.fields import Fields, language_model
from autotune.model.layers import Layer
from autotune.model.shape import ModelShape
from autotune.servers.sglang import facts
from autotune.servers.sglang.architectures import INDEXED, INTERLEAVED

_SIZES: Final = ("index_n_heads", "index_head_dim")
NAMES: Final = ("indexer.wq_b", "indexer.wk", "indexer.weights_proj")


def applies(model: ModelShape) -> bool:
    """Tells whether a model's attention has an indexer."""
    return model.architecture in INDEXED and _config(model).get("index_topk") is not None


def check(model: ModelShape, targets: Sequence[str]) -> None:
    """Makes sure that the server wraps an indexer that is named; the environment is taken for the server's.

    Raises:
        InputError: If the server stops at start, since it merges the indexer's projections.
    """
    named = [name for name in NAMES if name in _wrapped(targets)]
    interleaved = model.architecture in INTERLEAVED or _config(model).get("indexer_rope_interleave")
    merged = interleaved and not _is_on(os.environ.get(facts.NO_INDEXER_FUSION))
    if named and applies(model) and merged:
        raise InputError(
            f"--target-modules: {one_of(named)}: LoRA on the DSA indexer is incompatible with its Q/K fusion, and "
            f"SGLang stops; set {facts.NO_INDEXER_FUSION}=1 for the server and here, or name others alone"
        )


def lacking(model: ModelShape) -> tuple[str, ...]:
    """Returns the fields that the sizes of its layers follow from and that the config lacks."""
    if not applies(model):
        return ()
    config, latent_q = _config(model), () if _latent_q(model) else ("q_lora_rank",)
    return (*latent_q, *(name for name in _SIZES if config.get(name) is None))


def layers(model: ModelShape, targets: Sequence[str]) -> list[Layer]:
    """Returns those of its layers that are named; of a size that is not known it has any number."""
    if not applies(model):
        return []
    heads, width = (_size(model, name) for name in _SIZES)
    found = (
        Layer("indexer.wq_b", "replicated", _latent_q(model) or 1, (heads * width,), model.layers),
        Layer("indexer.wk", "replicated", model.hidden, (width,), model.layers),
        Layer("indexer.weights_proj", "replicated", model.hidden, (heads,), model.layers),
    )
    return [layer for layer in found if layer.name in _wrapped(targets)]


def notes(model: ModelShape) -> Iterator[str]:
    """Tells what to mind of it; one line each."""
    yield (
        f"{one_of(NAMES)}: they are wrapped where they are named (--target-modules wq_b,wk,weights_proj), in the "
        "layers that have an indexer"
    )


def _wrapped(targets: Sequence[str]) -> set[str]:
    named = set(targets)
    return set(NAMES) if named & set(facts.ALL_LINEAR) else named


def _latent_q(model: ModelShape) -> int | None:
    return Fields(model.origin, {**_config(model), **model.overrides}).get("q_lora_rank")


def _size(model: ModelShape, name: str) -> int:
    """Returns a size, any number where the config lacks it."""
    value = _config(model).get(name)
    if value is None:
        return 1
    if type(value) is not int or value < 1:
        raise InputError(f"{model.origin}: {name}: got {value!r}, allowed: a positive integer; fix it")
    return value


def _is_on(value: str | None) -> bool:
    return (value or "").lower() in ("1", "true", "yes", "y")


def _config(model: ModelShape) -> dict[str, Any]:
    return language_model(model.config)
