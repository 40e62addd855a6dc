"""Tells which architectures SGLang has a class of its own for; Transformers' stand in for the others (contracts B4)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from autotune.model.families import underivable
from autotune.model.fields import language_model
from autotune.model.shape import UNNAMED, ModelShape

_ALIASES: Final = frozenset({"Gemma3TextModel", "Olmo3ForCausalLM"})
"""Architectures that it serves by a class of another name."""

NOT_MERGED: Final = ("qkv_proj", "gate_up_proj", "fused_qkv_a_proj_with_mqa")
"""The layers of ours that Transformers has in parts, which no target is normalised to."""


def by_transformers(model: ModelShape) -> bool:
    """Tells whether SGLang serves a model by Transformers' class, in its backend for these; one with attention of the
    usual kind, since that takes few others."""
    known = model.architecture in _classes() or model.architecture == UNNAMED
    return not known and underivable(language_model(model.config)) is None


def notes(model: ModelShape) -> Iterator[str]:
    """Tells what follows of it; one line each."""
    if by_transformers(model):
        yield (
            f"{model.architecture} is not known here: SGLang has no class of its own for it, and its backend for "
            "Transformers' classes has q, k, v, gate and up as modules of their own and wraps none of them; o_proj, "
            "down_proj and the embeddings are planned, as the class is taken to call its modules so; compare with plan "
            "--trace"
        )


@cache
def _classes() -> frozenset[str]:
    names = json.loads(Path(__file__).with_name("registry.json").read_text(encoding="utf-8"))["classes"]
    return frozenset(names) | _ALIASES
