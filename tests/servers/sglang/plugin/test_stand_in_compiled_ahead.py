"""What SGLang's batches may be launched with is compiled when a shape is first used, whatever their segments hold."""

from __future__ import annotations

import json
import random
from collections.abc import Hashable
from pathlib import Path

import pytest
import torch

from autotune.contract import Config, Launch
from autotune.kernels.csgmv_expand.drop_in import DROP_IN as EXPAND
from autotune.kernels.csgmv_shrink.drop_in import DROP_IN as SHRINK
from autotune.servers import provenance
from autotune.servers.plugin import offers, warm_up
from autotune.servers.plugin.kernel_configs import KernelConfigs
from autotune.servers.provenance import Record
from autotune.servers.sglang import facts
from autotune.servers.sglang.batch import CsgmvBatch
from autotune.servers.sglang.plugin.drop_in import CsgmvCall, CsgmvDropIn
from autotune.servers.sglang.plugin.stand_in import StandIn
from autotune.servers.sglang.server import SGLANG
from tests.builders.gpu_at_hand import gpu_name

RANK, SLICES, K, ADAPTERS = 64, 3, 4096, 8
TUNED = {"BLOCK_N": 64, "BLOCK_K": 64, "num_warps": 4, "num_stages": 2}


def a_batch(tokens: int, segments: int, chunk_size: int) -> CsgmvBatch:
    def empty(size: int, dtype: torch.dtype = torch.int32) -> torch.Tensor:
        return torch.empty(size, dtype=dtype, device="meta")

    ranks, scalings = empty(ADAPTERS), empty(ADAPTERS, torch.float32)
    return CsgmvBatch(empty(tokens), empty(segments + 1), empty(segments), ranks, scalings, chunk_size, 8)


def a_call(drop_in: CsgmvDropIn, tokens: int, segments: int, chunk_size: int, is_captured: bool) -> CsgmvCall:  # type: ignore[type-arg]
    batch = a_batch(tokens, segments, chunk_size)

    def half(*shape: int) -> torch.Tensor:
        return torch.empty(*shape, dtype=torch.float16, device="meta")

    if drop_in is SHRINK:
        return CsgmvCall(half(tokens, K), half(ADAPTERS, SLICES * RANK, K), batch, SLICES, check_ranks=is_captured)
    x, b, base = half(tokens, SLICES * RANK), half(ADAPTERS, 4096, RANK), half(tokens, 4096)
    return CsgmvCall(x, b, batch, SLICES, (2048, 1024, 1024), base, is_captured)


def compiled_for(launch: Launch) -> Hashable:
    return launch.fn, *sorted((name, str(value)) for name, value in launch.options.items())


def batches() -> list[tuple[int, int, int, bool]]:
    """Returns tokens, segments, chunk size, and whether a graph is captured, of batches of all kinds."""
    generator, found = random.Random(0), []
    for _ in range(600):
        tokens, chunk_size = int(2 ** generator.uniform(0, 15)), generator.choice(facts.CHUNK_SIZES)
        fewest = -(-tokens // chunk_size)
        segments = min(int(fewest * 2 ** generator.uniform(0, 4)), max(tokens, fewest))
        found.append((tokens, segments, chunk_size, generator.random() < 0.5))
    return found


@pytest.mark.parametrize("workload", [None, "prefill", "decode"])
@pytest.mark.parametrize("tuned", [None, TUNED, {**TUNED, "SEGMENTS": 8}], ids=["untuned", "alone", "joined"])
@pytest.mark.parametrize("drop_in", [SHRINK, EXPAND], ids=lambda each: each.name)
def test_every_batch_is_launched_with_what_was_compiled(
    drop_in: CsgmvDropIn,  # type: ignore[type-arg]
    tuned: Config | None,
    workload: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = a_call(drop_in, 16, 1, 16, is_captured=False)
    file = tmp_path / SGLANG.file_name(gpu_name(), drop_in.lookup(first))
    if tuned:
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"16": tuned}))
        about = {} if workload is None else {"problem": {"workload": workload}}
        record = Record(file.relative_to(tmp_path).as_posix(), ("16",), "own", "s", dict(tuned), provenance=about)
        (tmp_path / provenance.FILE_NAME).write_text(provenance.text([record]))
    configs = KernelConfigs(
        tmp_path if tuned else None,
        lambda folder, gpu: lambda call: SGLANG.lookup(folder, gpu, call, by_plug_in=True),
        offers.of(drop_in.name).kernel,
        facts.REQUIRED,
    )
    compiled: set[Hashable] = set()

    def compile_ahead(launches_at: object, counts: object) -> None:
        compiled.update(compiled_for(each) for each in warm_up._distinct(launches_at, counts))  # type: ignore[arg-type]

    monkeypatch.setattr(warm_up, "compile_ahead", compile_ahead)
    stand_in = StandIn(drop_in, lambda: torch.empty(0), configs)
    for max_chunk in facts.CHUNK_SIZES:
        stand_in._compiled.clear()
        stand_in._compile_ahead(first, max_chunk)
    joined, parts = set(), set()
    for tokens, segments, chunk_size, is_captured in batches():
        call = a_call(drop_in, tokens, segments, chunk_size, is_captured)
        found = stand_in._found(call)
        has_no_say = tokens <= (256 if is_captured else 64) and workload == "prefill"
        has_no_say |= tokens > 64 and not is_captured and workload == "decode"
        assert (found is None) == (tuned is None or has_no_say), (tokens, is_captured)
        config = drop_in.default_config(call) if found is None else found
        arguments = drop_in.arguments(call, drop_in.output(call), drop_in.workspace(call))
        for launch in drop_in.launches(arguments, config):
            joined.add(launch.options.get("SEGMENTS", 1))
            parts.add(launch.options.get("PARTS", 1))
            assert compiled_for(launch) in compiled, (tokens, segments, chunk_size, is_captured)
    if drop_in is SHRINK:
        assert {1, 8} <= parts
        of_prompts = {1, 2, 4} if tuned is None or workload == "decode" else {1}
        assert joined == of_prompts | ({1, 2, 4, 8} if tuned and "SEGMENTS" in tuned else set())
