"""What a server makes of a result: kernels' notes, each once however many studies it is of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from autotune.contract.converter import to_json
from autotune.kernels.csgmv_expand.kernel import CsgmvExpand
from autotune.kernels.csgmv_shrink.kernel import CsgmvShrink
from autotune.kernels.lora_shrink.kernel import LoraShrink
from autotune.study.serving_notes import serving_notes

SGLANG_FLAGS = {"hidden_size": 1024, "lora_rank": 64, "chunk_size": 16}
VLLM_FLAGS = {"hidden_size": 1024, "lora_rank": 64, "num_loras": 4, "dtype": "float16", "m": 16}


def study(kernel: Any, flags: dict[str, Any], source: str = "builtin") -> Any:
    problem = kernel.problem_from_flags(flags)
    spec = SimpleNamespace(
        group=None, kernel=kernel.name, source=source, problem=to_json(problem), server_call=kernel.call(problem)
    )
    return SimpleNamespace(kernel=kernel, problem=problem, spec=spec, group_result=None)


def starts(studies: list[Any]) -> list[str]:
    return [note.partition(" batches")[0].partition(" only")[0] for note in serving_notes(studies)]


def test_notes_of_several_studies_stand_once() -> None:
    prefill, silent = study(CsgmvShrink(), SGLANG_FLAGS), study(LoraShrink(), VLLM_FLAGS)
    decode = study(CsgmvShrink(), SGLANG_FLAGS | {"workload": "decode"})
    assert starts([prefill, silent, prefill, decode]) == [
        "the plug-in runs its default of the shrink for decode",
        "the plug-in runs its default of the shrink for prefill",
    ]


def test_what_the_plug_in_makes_of_a_result_is_said_of_ours_alone() -> None:
    """Of a server's own kernel, and of a user's, what a server makes of it."""
    assert starts([study(CsgmvShrink(), SGLANG_FLAGS, "sglang")]) == ["measured on prefill"]
    assert starts([study(CsgmvShrink(), SGLANG_FLAGS | {"workload": "mixed"})]) == []
    expand = {"output_dim": 1024, "lora_rank": 64, "chunk_size": 16}
    assert starts([study(CsgmvExpand(), expand)]) == ["the plug-in runs its default of the expand for decode"]
    of_a_user = study(CsgmvShrink(), SGLANG_FLAGS)
    of_a_user.spec.kernel = "mine.py:KERNEL"
    assert starts([of_a_user]) == ["measured on prefill"]
