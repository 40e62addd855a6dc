"""Reads what vLLM's model classes say of LoRA, as `docs/make_vllm_classes.py` read it off an installed server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent / "classes.json"


@dataclass(frozen=True)
class ModelClass:
    """One architecture of the server's registry.

    Attributes:
        name: Of the class that serves it; several architectures may share one.
        lora: It implements ``SupportsLoRA``.
        embedding_modules: Embeddings and heads that take LoRA.
        packed: By module, the adapter's modules that are merged into it.
        experts_3d: Gate and up weights of an expert are one matrix.
        gated: Its experts have a gate.
    """

    name: str
    lora: bool
    embedding_modules: tuple[str, ...] = ()
    packed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    experts_3d: bool = False
    gated: bool = True


@cache
def classes() -> Mapping[str, ModelClass]:
    """Returns all of them by architecture."""
    rows = _table()["classes"]
    return {
        architecture: ModelClass(
            name=row["class"],
            lora=row["lora"],
            embedding_modules=tuple(row["embedding_modules"]),
            packed={module: tuple(parts) for module, parts in row["packed"].items()},
            experts_3d=row["experts_3d"],
            gated=row["gated"],
        )
        for architecture, row in rows.items()
    }


@cache
def removed() -> Mapping[str, str]:
    """Returns the last release of the server that had an architecture, for those that are served no more."""
    return dict(_table()["removed"])


@cache
def _table() -> dict[str, Any]:
    return dict(json.loads(_FILE.read_text(encoding="utf-8")))
