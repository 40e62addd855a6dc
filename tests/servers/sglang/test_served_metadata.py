"""The batches that the csgmv kernels are timed on are those that SGLang's backend builds (``--served DIR``)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from autotune.contract import registry
from autotune.kernels.common.chunks import ChunkedBatch
from autotune.kernels.common.csgmv_execution import random_batch
from autotune.testing.problems import problems_of
from tests.builders import served_sglang


class Unpinned:
    """Stands where a module has torch; it pins no memory, which takes a GPU."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(torch, name)
        if name not in ("empty", "tensor", "zeros", "arange"):
            return found
        return lambda *args, pin_memory=False, **options: found(*args, **options)


@pytest.fixture(params=served_sglang.FOLDERS)
def backend(request: pytest.FixtureRequest, served_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports the backend's module of a release."""
    package = served_folder / f"sglang-{request.param}"
    if not package.is_dir():
        pytest.skip(f"no {package.name} in {served_folder}")
    monkeypatch.syspath_prepend(package)
    module = importlib.import_module("sglang.srt.lora.backend.chunked_backend")
    with patch.object(module, "torch", Unpinned()):
        yield module
    for name in [name for name in sys.modules if name.partition(".")[0] == "sglang"]:
        del sys.modules[name]


def slots_of(batch: ChunkedBatch) -> torch.Tensor:
    """Returns the slot of each token, in the tokens' own order."""
    ordered = batch.weight_indices.repeat_interleave(batch.seg_indptr.diff())
    slots = torch.empty_like(ordered)
    slots[batch.permutation.long()] = ordered
    return slots


def test_segments_and_their_order_are_the_servers(backend: Any) -> None:
    kernel = registry.load("csgmv_expand")
    problems: Any = problems_of(kernel)
    for problem in problems:
        batch = random_batch(problem, "cpu", 0)
        slots = slots_of(batch)
        one_token_each = torch.ones(len(slots), dtype=torch.int32)
        with patch.object(backend, "generate_sequence_lengths", return_value=one_token_each):
            permutation, ordered = backend.ChunkedSgmvLoRABackend._get_permutation(slots.tolist(), None)
        weight_indices, seg_indptr = backend.ChunkedSgmvLoRABackend._get_segments_info(None, ordered, batch.chunk_size)
        filled = len(weight_indices)
        assert permutation.tolist() == batch.permutation.tolist()
        assert weight_indices.tolist() == batch.weight_indices[:filled].tolist()
        assert seg_indptr.tolist() == batch.seg_indptr[: filled + 1].tolist()
        # The tail of a graph's buffer is empty, as the backend leaves it.
        assert set(batch.seg_indptr[filled:].tolist()) == {len(slots)}
        assert not batch.weight_indices[filled:].any()
