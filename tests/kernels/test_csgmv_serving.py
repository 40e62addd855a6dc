"""What csgmv kernels say of service: batches that one key stands for and that were not measured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from autotune.contract import registry
from autotune.kernels.csgmv_shrink.kernel import CsgmvShrink
from autotune.servers.plugin import offers
from autotune.servers.sglang.batch import CsgmvBatch
from autotune.servers.sglang.plugin.drop_in import CsgmvCall


@pytest.mark.parametrize(
    ("flags", "note"),
    [
        ({}, "measured on prefill only; decode batches are looked up by the same key"),
        ({"workload": "decode"}, "measured on decode only; prefill batches are looked up by the same key"),
        ({"workload": "mixed"}, None),
        (
            {"workload": "mixed", "decode_requests": (8,), "chunk_size": 128},
            "chunk size 128: measured on prefill only; none of --decode-requests",
        ),
    ],
    ids=str,
)
def test_batches_of_the_same_key_that_were_not_measured(flags: dict[str, Any], note: str | None) -> None:
    kernel = CsgmvShrink()
    problem = kernel.problem_from_flags({"hidden_size": 1024, "lora_rank": 64, "chunk_size": 16} | flags)
    found = kernel.serving_note(problem, grouped=False)
    assert found is None if note is None else str(found).startswith(note)


@pytest.mark.parametrize("workload", ["prefill", "decode"])
@pytest.mark.parametrize("ranks", [(64,), (64, 16, 8), (64, 12)], ids=str)
@pytest.mark.parametrize("name", ["csgmv_shrink", "csgmv_expand"])
def test_a_study_launches_what_the_plug_in_launches(
    device: str, name: str, ranks: tuple[int, ...], workload: str
) -> None:
    """Of a batch, the plug-in knows its sizes and, unless a graph is captured, the adapters' ranks, and no more."""
    kernel, offer = registry.load(name), offers.of(name).drop_in.DROP_IN
    flags = {"hidden_size": 64, "num_slices": 2, "slice_widths": (48, 32), "lora_rank": 64, "adapter_ranks": ranks}
    tokens = {"total_tokens": 300, "chunk_size": 16, "workload": workload, "num_loras": len(ranks)}
    problem = kernel.problem_from_flags({"dtype": "float16", **flags, **tokens})
    arguments, captured = kernel.make_inputs(problem, device, 0).arguments, workload == "decode"
    info = SimpleNamespace(**vars(arguments.batch), max_len=16)
    batch = CsgmvBatch.of(info, None if captured else problem.pool_ranks)
    weights, widths = (arguments.a, ()) if name == "csgmv_shrink" else (arguments.b, arguments.slice_widths)
    call = CsgmvCall(arguments.x, weights, batch, 2, widths, arguments.out, captured)
    config = offer.default_config(call)
    studied = kernel.launches(kernel.make_inputs(problem, device, 0), config)
    served = offer.launches(offer.arguments(call, arguments.out), config)
    assert [(each.fn, each.grid, each.options) for each in studied] == [
        (each.fn, each.grid, each.options) for each in served
    ]
