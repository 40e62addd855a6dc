"""Sizes read off a base model's config and an adapter's folder, so that nobody has to look them up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from autotune.errors import InputError, one_of

# For each flag, the names under which configs of different model families keep it.
_MODEL_FIELDS: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "num_experts": ("num_experts", "moe_num_experts", "num_local_experts", "n_routed_experts"),
    "moe_intermediate_size": ("moe_intermediate_size", "ffn_hidden_size", "intermediate_size"),
    "top_k_num": ("num_experts_per_tok", "num_experts_per_token", "moe_top_k", "top_k"),
}
_RANK_FIELDS = ("r", "lora_r", "lora_rank")
_ADAPTER_CONFIGS = ("adapter_config.json", "config.json")


def infer_sizes(model_path: Path | None, lora_path: Path | None) -> dict[str, int]:
    """Flag values that a model's and an adapter's folder imply; explicit flags go over them.

    Raises:
        InputError: If a folder was given and does not hold what it is given for.
    """
    sizes: dict[str, int] = {}
    if model_path is not None:
        sizes |= _model_sizes(model_path)
    if lora_path is not None:
        sizes["lora_rank"] = _rank(lora_path)
    return sizes


def _model_config(path: Path, flag: str) -> tuple[Path, dict[str, Any]]:
    file = path / "config.json" if path.is_dir() else path
    config = _read(file, flag)
    # Multimodal configs keep the language model's sizes one level down.
    text = config.get("text_config")
    return file, config | (text if isinstance(text, dict) else {})


def _model_sizes(path: Path) -> dict[str, int]:
    file, config = _model_config(path, "--model-path")
    sizes = {flag: _first(config, names) for flag, names in _MODEL_FIELDS.items()}
    if sizes["hidden_size"] is None:
        names = one_of(_MODEL_FIELDS["hidden_size"])
        raise InputError(f"--model-path: {file} has no hidden size ({names}); give --hidden-size")
    if sizes["num_experts"] is None:
        sizes = {"hidden_size": sizes["hidden_size"]}
    return {flag: size for flag, size in sizes.items() if size is not None}


def _rank(path: Path) -> int:
    if not path.exists():
        raise InputError(f"--lora-path: got {path}, no such folder; give the folder of a local adapter")
    for name in _ADAPTER_CONFIGS:
        if (path / name).is_file() and (rank := _rank_of_config(path / name)):
            return rank
    for file in sorted(path.glob("*.safetensors")) if path.is_dir() else [path]:
        if rank := _rank_of_weights(file):
            return rank
    raise InputError(
        f"--lora-path: {path} has no rank, neither in {one_of(_ADAPTER_CONFIGS)} ({one_of(_RANK_FIELDS)}) nor in "
        "lora_ weights of a .safetensors file; give --lora-rank"
    )


def _rank_of_config(file: Path) -> int | None:
    """The largest of an adapter's ranks: modules may have one of their own."""
    config = _read(file, "--lora-path")
    stated = next(({name: config[name]} for name in _RANK_FIELDS if config.get(name) is not None), None)
    if stated is None:
        return None
    pattern = config.get("rank_pattern") or {}
    if not isinstance(pattern, dict):
        raise InputError(
            f"--lora-path: {file}: rank_pattern: got {pattern!r}, allowed: an object of modules and ranks; mend it"
        )
    ranks: dict[str, Any] = stated | {f"rank_pattern {module}": rank for module, rank in pattern.items()}
    for key, rank in ranks.items():
        if type(rank) is not int or rank < 1:
            raise InputError(f"--lora-path: {file}: {key}: got {rank!r}, allowed: a positive integer; mend it")
    return int(max(ranks.values()))


def _rank_of_weights(file: Path) -> int | None:
    """The shorter side of an A or B matrix is the rank; the least over all guards against tiny outputs."""
    try:
        with safe_open(file, framework="np") as weights:
            shapes = [weights.get_slice(key).get_shape() for key in weights.keys() if "lora_" in key]  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"--lora-path: {file} is not a readable safetensors file ({error})") from error
    return min((min(shape) for shape in shapes if len(shape) == 2), default=None)


def _read(file: Path, flag: str) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{flag}: cannot read {file} ({error}); give the folder of a local checkpoint") from error
    if not isinstance(data, dict):
        raise InputError(f"{flag}: {file} holds no JSON object; give the folder of a local checkpoint")
    return data


def _first(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next((config[name] for name in names if isinstance(config.get(name), int)), None)
