"""Problems with sizes that a checkpoint implies."""

from __future__ import annotations

import pytest

from autotune.api import Problems
from autotune.errors import InputError

INFERRED = {"hidden_size": 4096, "num_experts": 8, "moe_intermediate_size": 1024}


def values(**given: int) -> dict[str, int]:
    return dict(Problems("fused_moe_lora", given).with_sizes(INFERRED).values)


def test_what_is_given_goes_over_what_is_inferred() -> None:
    assert values(hidden_size=64) == {**INFERRED, "hidden_size": 64}


def test_one_gpu_has_its_share_of_an_inferred_layer() -> None:
    assert values(tp=2)["moe_intermediate_size"] == 512
    assert values(tp=2)["tp"] == 1
    assert values(tp=2, fully_sharded=1)["tp"] == 2
    spread = values(tp=2, ep=1)
    assert (spread["num_experts"], spread["moe_intermediate_size"], spread["tp"]) == (4, 1024, 2)


def test_what_is_given_is_one_gpus_already() -> None:
    assert values(tp=2, moe_intermediate_size=100)["moe_intermediate_size"] == 100


def test_a_size_that_does_not_divide_is_refused() -> None:
    with pytest.raises(InputError, match=r"--tp: got 3.*moe_intermediate_size 1024"):
        values(tp=3)
