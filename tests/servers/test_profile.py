"""Profiles of an engine: what is left of one without its prefill, and whose kernels they are."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import triton

from autotune.servers import profile
from autotune.servers.profile import Launches


def test_what_the_prefill_took_is_left_out() -> None:
    whole = {"both": Launches(170, 340.0), "in the decode": Launches(16, 32.0), "in the prefill": Launches(1, 9.0)}
    prefill = {"both": Launches(10, 100.0), "in the prefill": Launches(1, 10.0)}
    assert profile.without(whole, prefill) == {"both": Launches(160, 240.0), "in the decode": Launches(16, 32.0)}


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
    names = ("moe_of_ours", "_lora_shrink_kernel", "moe_LoRA_align", "gemm")
    found = profile.lora_kernels(dict.fromkeys(names, launches), "vllm")
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
    assert profile.of(lambda: runs.append(1)) == {}
    assert runs == [1]
