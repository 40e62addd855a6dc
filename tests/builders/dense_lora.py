"""Token by token references and configs, for the tests of the dense LoRA kernels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from autotune.contract import Config, Launch
from autotune.servers.vllm import launching
from tests.builders.tables import nested

SHRINK = {"block_m": 16, "block_n": 16, "block_k": 32, "split_k": 1, "group_size_m": 8}
EXPAND = {"block_m": 16, "block_n": 32, "block_k": 16}
LAUNCH = {"num_warps": 4, "num_stages": 1, "num_ctas": 1}


def half_dtypes(device: str) -> tuple[torch.dtype, ...]:
    """Returns the types to test: the interpreter, on a CPU, multiplies bfloat16 as integers."""
    return (torch.float16,) if device == "cpu" else (torch.float16, torch.bfloat16)


def products(x: torch.Tensor, weights: Sequence[torch.Tensor], mapping: Sequence[int]) -> torch.Tensor:
    """Returns ``x[s, t] @ weights[s][mapping[t]].T`` in float64, slices side by side: ``[M, sum of N_s]``; 0 without
    one."""
    columns = []
    for slice_x, weight in zip(x, weights, strict=True):
        rows = [
            slice_x[t].double() @ weight[lora].double().T
            if lora >= 0
            else torch.zeros(weight.shape[1], dtype=torch.float64, device=x.device)
            for t, lora in enumerate(mapping)
        ]
        columns.append(torch.stack(rows))
    return torch.cat(columns, dim=1)


def configs_launched(launcher: ModuleType, op: str, patch: pytest.MonkeyPatch) -> Iterator[list[Config]]:
    """Makes the launcher launch nothing, as long as a fixture yields from here; yields the configs it would take."""
    configs: list[Config] = []

    def launch_nothing(inputs: object, config: Config) -> list[Launch]:
        configs.append(config)
        return []

    patch.setattr(launcher, f"{op}_launches", launch_nothing)
    launching.cache_clear()
    yield configs
    patch.undo()
    launching.cache_clear()


def serve_config(
    folder: Path, file: str, path: Sequence[int], config: dict[str, Any], patch: pytest.MonkeyPatch
) -> None:
    """Makes this process a server on a GPU called "Some GPU" whose config folder has one entry."""
    entry = {"split_k": 1, "group_size_m": 8, "max_nreg": None, **config}
    (folder / file).write_text(json.dumps(nested(*map(str, path), entry)))
    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "get_device_name", lambda *_: "Some GPU")
    patch.setenv("VLLM_TUNED_CONFIG_FOLDER", str(folder))
    launching.cache_clear()
