"""What csgmv kernels say of service: batches that one key stands for and that were not measured."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.kernels.csgmv_shrink.kernel import CsgmvShrink


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
