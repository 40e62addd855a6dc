"""Batches in chunks and bounds of rounding errors, for the tests of the csgmv kernels."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from autotune.contract import Call, Config, Launch
from autotune.kernels.common.chunks import ChunkedBatch, Pool
from autotune.servers.sglang import facts, launching
from autotune.servers.sglang.server import SGLANG

# The base model, then adapters of the pool's rank, of a lower one, and of one that no wide access suits.
POOL = Pool(ranks=(0, 16, 8, 5), scalings=(1.0, -0.5, 2.0, 0.75))
MAX_RANK = 16
SLOTS = [1, 3, 0, 1, 1, 2, 2, 0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1]


def batch(
    device: str, slots: Sequence[int] = SLOTS, chunk_size: int = 16, segments: int = 0, pool: Pool = POOL
) -> ChunkedBatch:
    return ChunkedBatch.build(torch.tensor(slots, dtype=torch.long), pool, chunk_size, device, segments)


SEGMENT_SIZES = ((1,) * 40, (0, 3, 0, 0, 16, 1, 0), (5, 0, 0, 2))
"""More segments than an adapter needs, and empty ones before others: no server makes them, a batch may have them."""


def in_segments(made: ChunkedBatch, sizes: Sequence[int]) -> ChunkedBatch:
    """Splits the tokens of a batch of one adapter into segments of these sizes."""
    device, slot = made.seg_indptr.device, int(made.weight_indices[0])
    starts = torch.tensor([0, *itertools.accumulate(sizes)], dtype=torch.int32, device=device)
    slots = torch.full((len(sizes),), slot, dtype=torch.int32, device=device)
    return replace(made, seg_indptr=starts, weight_indices=slots)


def dot_bound(terms: int, magnitude: torch.Tensor) -> torch.Tensor:
    """Returns the error of `terms` truncating fp32 additions, one more for every eight of them, and two to spare."""
    return 1.001 * (terms + terms // 8 + 2) * 2.0**-23 * magnitude


def rounding(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Returns the error of rounding to nearest, and of an underflow."""
    return value.abs() * (1.001 * torch.finfo(dtype).eps / 2) + 2.0**-25


def configs_launched(launcher: ModuleType, op: str, patch: pytest.MonkeyPatch) -> Iterator[list[Config]]:
    """Makes this process a server on "Some GPU" that launches nothing, as long as a fixture yields from here; yields
    the configs it would take."""
    configs: list[Config] = []

    def launch_nothing(inputs: object, config: Config) -> list[Launch]:
        configs.append(config)
        return []

    patch.setattr(launcher, f"{op}_launches", launch_nothing)
    patch.setattr(launching, "device_name", lambda *_: "Some GPU")
    launching.cache_clear()
    yield configs
    patch.undo()
    launching.cache_clear()


def serve_config(folder: Path, call: Call, config: Config, patch: pytest.MonkeyPatch) -> None:
    """Makes this folder, with one entry, the config folder of a server on "Some GPU"."""
    path = folder / SGLANG.file_name("Some GPU", call)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({str(call.dims["chunk_size"]): config}))
    patch.setenv(facts.CONFIG_FOLDER, str(folder))
    launching.cache_clear()
