"""Groups of experts' kernels whose built-in kernels the plug-in does not launch."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.api.group_source import refuse_unread
from autotune.api.problems import Problems
from autotune.errors import InputError

SIZES = {"hidden_size": 2048, "num_experts": 128, "top_k_num": 8, "moe_intermediate_size": 768, "num_loras": 4}


def problems(path: str | None = None, kernel: str = "fused_moe_lora", **changes: Any) -> Problems:
    return Problems(kernel, {**SIZES, "lora_rank": 16, "dtype": "bfloat16", **changes}, (16, 512), path)


@pytest.mark.parametrize("source", ["builtin", "both"])
def test_the_kernels_that_the_plug_in_launches_instead_are_named(source: str) -> None:
    with pytest.raises(InputError, match=f"--source {source}: got fused_moe_lora") as told:
        refuse_unread(problems(), source)
    message = str(told.value)
    assert "--op-type aligned_moe_lora_gate_up, aligned_moe_lora_down" in message
    assert "tune --model" in message
    assert "\n" not in message


@pytest.mark.parametrize("change", [{"lora_rank": 256}, {"fully_sharded": 1, "tp": 2}])
def test_what_it_leaves_to_the_server_is_tuned_on_the_servers(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"leaves these shapes to the server: .*--source served") as told:
        refuse_unread(problems(**change), "both")
    assert "aligned" not in str(told.value)


def test_a_path_that_is_named_has_ours_timed_all_the_same() -> None:
    with pytest.raises(InputError, match="with --path two-kernel, one-shot"):
        refuse_unread(problems(), "builtin")
    refuse_unread(problems("one-shot"), "builtin")
    with pytest.raises(InputError):
        refuse_unread(problems("one-shot"), "both")


@pytest.mark.parametrize("source", ["auto", "served"])
def test_other_sources_are_taken(source: str) -> None:
    refuse_unread(problems(), source)


def test_kernels_of_no_group_are_taken() -> None:
    for kernel in ("lora_shrink", "aligned_moe_lora_down"):
        refuse_unread(problems(kernel=kernel), "both")
