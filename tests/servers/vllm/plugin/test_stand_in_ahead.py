"""What is compiled when weights are seen first is all that requests launch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from autotune.contract import Call, Config, Launch
from autotune.kernels.common import zeroing
from autotune.kernels.lora_shrink.drop_in import DROP_IN
from autotune.servers import stand_back
from autotune.servers.vllm.plugin.drop_in import DenseCall
from autotune.servers.vllm.plugin.lookups import FolderLookup
from autotune.servers.vllm.plugin.stand_in import OursOrTheirs
from autotune.servers.vllm.server import VLLM

GPU = "NVIDIA H200"
ADAPTERS, SLICES, RANK, HIDDEN = 4, 3, 16, 64
ENTRY = {"block_m": 16, "block_n": 16, "block_k": 32, "split_k": 1, "num_warps": 4, "num_stages": 2, "num_ctas": 1}


class Folder:
    """A folder's configs, of whichever kernel they are."""

    def __init__(self, folder: Path) -> None:
        self.lookup = FolderLookup(folder, GPU)

    def find(self, call: Call | None) -> Config | None:
        return None if call is None else self.lookup(call).config


def call_of(m: int) -> DenseCall:
    sizes = (m, m, ADAPTERS + 1, ADAPTERS + 2, ADAPTERS + 1)
    tokens = [torch.empty(size, dtype=torch.int32, device="meta") for size in sizes]
    tokens += [torch.tensor([False]), torch.tensor([ADAPTERS + 1], dtype=torch.int32)]
    weights = [torch.empty(ADAPTERS, 1, RANK, HIDDEN, dtype=torch.float16, device="meta")] * SLICES
    x, out = torch.empty(m, HIDDEN, dtype=torch.float16, device="meta"), torch.empty(SLICES, m, RANK, device="meta")
    return DenseCall(x, weights, out, tokens, (1.0,))


def compiled_as(launches: Any) -> set[Any]:
    return {(launch.fn, *sorted(launch.options.items())) for launch in launches}


def test_the_end_of_an_entrys_reach_is_compiled_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 10923 tokens on the zeroing is an ordinary launch. The entry of 8192 is launched with up to 12287, and at
    the next power of two nothing of ours is."""
    monkeypatch.setattr(zeroing, "dependent_launch", lambda: {"DEPENDENT": True, "launch_pdl": True})
    zeros = stand_back.entry(ENTRY)
    table = {str(m): {str(HIDDEN): {str(RANK): entry}} for m, entry in ((8192, ENTRY), (16384, zeros), (65536, zeros))}
    path = tmp_path / VLLM.file_name(GPU, DROP_IN.lookup(DROP_IN.arguments(call_of(16), None)))
    path.write_text(json.dumps({str(ADAPTERS + 1): {str(SLICES): table}}))
    ahead: list[Launch] = []
    monkeypatch.setattr(
        "autotune.servers.plugin.warm_up.compile_ahead",
        lambda launches_at, counts: ahead.extend(each for m in counts for each in launches_at(m)),
    )
    configs: Any = Folder(tmp_path)
    stand_in = OursOrTheirs(DROP_IN, lambda *_: None, configs)
    stand_in._compile_ahead(call_of(16))
    for m in (1, 8192, 10922, 10923, 12287):
        assert compiled_as(stand_in._launches(call_of(16), m)) <= compiled_as(ahead)
    assert not list(stand_in._launches(call_of(16), 12289))
