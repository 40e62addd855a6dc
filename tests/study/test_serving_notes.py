"""What a server makes of a result: kernels' notes, each once however many studies it is of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from autotune.kernels.csgmv_shrink.kernel import CsgmvShrink
from autotune.kernels.lora_shrink.kernel import LoraShrink
from autotune.study.serving_notes import serving_notes

SGLANG_FLAGS = {"hidden_size": 1024, "lora_rank": 64, "chunk_size": 16}
VLLM_FLAGS = {"hidden_size": 1024, "lora_rank": 64, "num_loras": 4, "dtype": "float16", "m": 16}


def study(kernel: Any, flags: dict[str, Any]) -> Any:
    spec = SimpleNamespace(group=None)
    return SimpleNamespace(kernel=kernel, problem=kernel.problem_from_flags(flags), spec=spec, group_result=None)


def test_notes_of_several_studies_stand_once() -> None:
    prefill, silent = study(CsgmvShrink(), SGLANG_FLAGS), study(LoraShrink(), VLLM_FLAGS)
    decode = study(CsgmvShrink(), SGLANG_FLAGS | {"workload": "decode"})
    notes = serving_notes([prefill, silent, prefill, decode])
    assert [note.partition(" only")[0] for note in notes] == ["measured on prefill", "measured on decode"]
