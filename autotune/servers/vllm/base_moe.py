"""Finds the tiles of vLLM's fused MoE LoRA without a config folder: those of the base model's experts (contracts
A2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from autotune.contract import Value
from autotune.contract.gpu import Gpu
from autotune.servers.files import read_json
from autotune.servers.vllm import facts
from autotune.servers.vllm.served_modules import MOE

_CONFIGS: Final = ("model_executor", "layers", "fused_moe", "configs")
"""Where the package has tuned tiles for experts of some sizes on some GPUs (contracts A2)."""

_READ_AS: Final[Mapping[str, tuple[str, ...]]] = {
    name: (capitals, capitals.lower()) for name, capitals in facts.MOE_READ_AS.items()
}


@dataclass(frozen=True)
class BaseExperts:
    """The base model's experts as one GPU has them.

    Attributes:
        m: Tokens.
        intermediate: Of a tensor-parallel shard.
    """

    m: int
    experts: int
    intermediate: int


def no_folder_config(op: str, experts: BaseExperts, rank: int, gpu: Gpu) -> dict[str, Value]:
    """Returns what a server launches for an op of the experts' LoRA with no config folder set.

    Args:
        op: One of the four ops' names.
        rank: Rows of A, a shard of the rank where it is fully sharded.
    """
    tiles = _packaged(experts, gpu) or _heuristic(experts)
    found = {name: tiles.get(name, fallback) for name, fallback in facts.MOE_FALLBACK.items()}
    width = 1 << (rank - 1).bit_length()
    if op.endswith("_shrink"):
        return {**found, "block_n": min(_integer(found, "block_n"), width)}
    return {**found, "block_k": max(16, min(_integer(found, "block_k"), width)), "split_k": 1}


def _packaged(experts: BaseExperts, gpu: Gpu) -> dict[str, Value] | None:
    """Returns the tiles of the nearest m in the installed package's file; None without one."""
    name = gpu.name.replace(" ", "_")
    device = "NVIDIA_H200" if "H200" in name.split("_") else name
    file = MOE.file(*_CONFIGS, f"E={experts.experts},N={experts.intermediate},device_name={device}.json")
    return _nearest(file, experts.m) if file else None


def _nearest(file: Path, m: int) -> dict[str, Value]:
    by_m = {int(key): tiles for key, tiles in dict(read_json(file)).items() if key.isdigit()}
    tiles: Mapping[str, Any] = by_m[min(by_m, key=lambda size: abs(size - m))]
    return {name: tiles[key] for name, keys in _READ_AS.items() for key in keys if key in tiles}


def _heuristic(experts: BaseExperts) -> dict[str, Value]:
    """Returns what a server takes for experts that no file is packaged for."""
    m = experts.m
    return {
        "block_m": 16 if m <= 32 else 32 if m <= 96 else 64 if m <= 512 else 128,
        "block_n": 64 if m <= 64 else 128,
        "block_k": 128 if m <= 64 else 64,
        "group_size_m": 16 if m // experts.experts > 128 else 1,
        "num_warps": 4 if m <= 128 else 8,
        "num_stages": 4 if m <= 32 else 3,
    }


def _integer(config: Mapping[str, Value], name: str) -> int:
    return int(config[name] or 0)
