"""What a server makes of a result: batches of SGLang's that one key stands for and that were not measured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from autotune.kernels.csgmv_shrink.kernel import CsgmvShrink
from autotune.report.serving import serving_notes


@pytest.mark.parametrize(
    ("flags", "note"),
    [
        ({}, "measured on prefill only; SGLang uses these entries for decode, too"),
        ({"workload": "decode"}, "measured on decode only; SGLang uses these entries for prefill, too"),
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
    spec = SimpleNamespace(kernel=kernel.name, problem=problem.to_json())
    study: Any = SimpleNamespace(spec=spec, call=kernel.call(problem))
    notes = serving_notes([study, study])
    assert len(notes) == (note is not None)
    assert all(note and found.startswith(note) for found in notes)
