"""Profiles of an engine: what is left of one without its prefill, and whose kernels they are."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import triton
from hypothesis import given
from hypothesis import strategies as st

from autotune.servers import profile
from autotune.servers.profile import Launches, Profile


def test_what_the_prefill_took_is_left_out() -> None:
    whole = {"both": Launches(170, 340.0), "in the decode": Launches(16, 32.0), "in the prefill": Launches(1, 9.0)}
    prefill = {"both": Launches(10, 100.0), "in the prefill": Launches(1, 10.0)}
    left = {"both": Launches(160, 240.0), "in the decode": Launches(16, 32.0)}
    found = profile.without(Profile(whole, 350.0), Profile(prefill, 90.0))
    assert found == Profile(left, 260.0)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9))))
def test_time_in_which_anything_ran_counts_once(lengths: list[tuple[int, int]]) -> None:
    spans = [(start, start + length) for start, length in lengths]
    covered = {at for start, end in spans for at in range(start, end)}
    assert profile.covered_us(spans) == len(covered)


@pytest.fixture
def _ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of this project with a Triton kernel, and one that imports it."""

    def moe_of_ours(x_ptr: object) -> None: ...

    moe_of_ours.__module__ = "autotune.a_kernel"
    home, guest = ModuleType("autotune.a_kernel"), ModuleType("another.module")
    home.kernel = guest.kernel = triton.jit(moe_of_ours)  # type: ignore[attr-defined]
    for module in (home, guest):
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.usefixtures("_ours")
def test_a_kernel_is_ours_where_a_module_of_ours_defines_it() -> None:
    launches = Launches(2, 3.0)
    names = ("moe_of_ours", "_lora_shrink_kernel", "moe_LoRA_align", "gemm", "triton_poi_fused_lora_linear_mul_silu_1")
    found = profile.lora_kernels(Profile(dict.fromkeys(names, launches), 12.0), "vllm")
    assert {kernel.name: kernel.source for kernel in found} == {
        "moe_of_ours": "builtin",
        "_lora_shrink_kernel": "vllm",
        "moe_LoRA_align": "vllm",
    }
    assert not list(profile.triton_kernels("another"))


def test_where_there_is_no_gpu_the_run_is_made_and_nothing_is_profiled(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    runs: list[int] = []
    assert profile.of(lambda: runs.append(1)) == Profile({}, 0.0)
    assert runs == [1]
