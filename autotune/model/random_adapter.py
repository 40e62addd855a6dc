"""Adapters of random weights for a model, as PEFT stores them: for timing a server that has none to load."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from autotune.errors import InputError
from autotune.model.shape import ModelShape

_SCALE = 0.012
"""Of the weights: products stay small beside the base model's, so that answers do not turn to noise."""

_VALUES = 4_194_301
"""How many are drawn: adapters of gigabytes are made of these. A prime, so that no two rows begin alike."""

Module = tuple[str, int, int]
"""Name within the model, columns of its input and of its output."""


class RandomValues:
    """Normal values, drawn once: a matrix is a stretch of them, from anywhere, as often over as it takes."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        drawn = self._random.standard_normal(_VALUES, dtype=np.float32) * np.float32(_SCALE)
        self._drawn = drawn.astype(np.float16)

    def matrix(self, rows: int, columns: int) -> np.ndarray[tuple[int, int], np.dtype[np.float16]]:
        start = int(self._random.integers(max(1, _VALUES - rows * columns)))
        return np.resize(self._drawn[start : start + rows * columns], (rows, columns))


def write(folder: Path, model: ModelShape, with_experts: Collection[int], rank: int, seed: int) -> Path:
    """Writes an adapter of this rank over all projections of attention and MLP; returns its folder.

    Args:
        with_experts: The layers whose MLP is a mixture of experts, counted from 0.

    Raises:
        InputError: If it is not known how the model names what takes LoRA.
    """
    modules = list(_modules(model, with_experts))
    weights, values = {}, RandomValues(seed)
    for name, inputs, outputs in modules:
        stem = f"base_model.model.{name}"
        weights[f"{stem}.lora_A.weight"] = values.matrix(rank, inputs)
        weights[f"{stem}.lora_B.weight"] = values.matrix(outputs, rank)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "base_model_name_or_path": model.name,
        "target_modules": sorted({name.rpartition(".")[2] for name, _, _ in modules}),
    }
    save_file(weights, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2))
    return folder


def _modules(model: ModelShape, with_experts: Collection[int]) -> Iterator[Module]:
    if model.packed or (model.experts is not None and model.experts.fused):
        what = "fused experts" if model.experts is not None and model.experts.fused else "one matrix for all of qkv"
        raise InputError(
            f"{model.origin}: {model.architecture} has {what}, for which no random adapter can be made; give real ones "
            "(--lora-path)"
        )
    hidden, q, kv = model.hidden, model.heads * model.head_dim, model.kv_heads * model.head_dim
    for layer in range(model.layers):
        stem = f"model.layers.{layer}"
        for name, inputs, outputs in (("q", hidden, q), ("k", hidden, kv), ("v", hidden, kv), ("o", q, hidden)):
            yield f"{stem}.self_attn.{name}_proj", inputs, outputs
        if model.experts is None or layer not in with_experts:
            yield from _mlp(f"{stem}.mlp", hidden, model.intermediate)
        else:
            for expert in range(model.experts.count):
                yield from _mlp(f"{stem}.mlp.experts.{expert}", hidden, model.experts.intermediate)


def _mlp(stem: str, hidden: int, intermediate: int) -> Iterator[Module]:
    yield f"{stem}.gate_proj", hidden, intermediate
    yield f"{stem}.up_proj", hidden, intermediate
    yield f"{stem}.down_proj", intermediate, hidden
