"""Whose kernels a plan says that its studies time."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.contract import registry
from autotune.errors import InputError, NotInstalledError
from autotune.model.shape import look_up
from autotune.plan.plan import Plan, make
from autotune.plan.timed import timed_kernels, timed_lines, what_to_mind
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from autotune.servers.sglang import served as sglang_served
from autotune.servers.sglang import served_modules as sglang_modules
from autotune.servers.vllm import served as vllm_served
from autotune.servers.vllm import served_modules as vllm_modules
from autotune.study import sources
from tests.builders import served_vllm


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(served_vllm.install(tmp_path / "site", "0.33.0"))


@pytest.fixture(autouse=True)
def forget() -> None:
    """What was installed is asked anew."""
    registry._served.cache_clear()


def plan(name: str = "Qwen3-30B-A3B", server: str = "vllm", rank: int = 16) -> Plan:
    return make(look_up(name), Serving(server, tp=1, rank=rank, max_loras=4), Batches())


@pytest.mark.usefixtures("installed")
def test_each_kernel_of_a_plan_is_the_one_that_its_studies_time() -> None:
    for rank in (16, 256):
        timed = timed_kernels(plan(rank=rank))
        assert {"lora_shrink", "lora_expand"} < set(timed)
        for name, kernel in timed.items():
            assert kernel.reference == sources.reference(name, "auto", "cuda", allow_unknown_server=True)
            origin = registry.load(kernel.reference).origin()
            assert origin == kernel.choice.origin
    assert {"fused_moe_lora_down_shrink", "fused_moe_lora_gate_up_expand"} < set(timed)


@pytest.mark.usefixtures("installed")
def test_what_is_said_of_it() -> None:
    timed = timed_kernels(plan("Qwen3-8B"))
    (line,) = timed_lines(timed.values())
    assert "lora_shrink, lora_expand: times vllm 0.33.0's own kernel" in line
    assert "vllm 0.33.0 is installed here; Triton" in line
    unknown, compiler = what_to_mind(timed.values())
    assert "--allow-unknown-server" in unknown
    assert "asks for torch==2.14.0" in compiler
    (data,) = {tuple(kernel.to_json().items())[1:] for kernel in timed.values()}
    assert dict(data).items() >= {"source": "vllm", "package": "vllm", "version": "0.33.0", "known": False}.items()


@pytest.mark.usefixtures("installed")
def test_the_built_in_kernels_where_they_are_asked_for_or_a_recording_is_replayed() -> None:
    for wanted, backend, why in (("builtin", "cuda", "--source builtin asks for it"), ("auto", "replay", "recording")):
        for kernel in timed_kernels(plan(), wanted, backend).values():
            assert kernel.reference == kernel.name
            assert why in kernel.choice.why
            assert kernel.to_json()["package"] is None


def test_without_the_server() -> None:
    (line,) = timed_lines(timed_kernels(plan("Qwen3-8B")).values())
    assert "vllm is not installed here" in line
    assert "plug-in only" in line
    with pytest.raises(NotInstalledError, match="--source served"):
        timed_kernels(plan("Qwen3-8B"), "served")


@pytest.mark.usefixtures("installed")
def test_two_versions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(served_vllm.install(tmp_path / "older", "0.31.0"))
    with pytest.raises(InputError, match="2 versions"):
        timed_kernels(plan("Qwen3-8B"))


def test_the_names_that_need_no_torch_are_those_of_the_served_kernels() -> None:
    assert set(vllm_modules.MODULES) == set(vllm_served.NAMES)
    assert set(sglang_modules.MODULES) == set(sglang_served.NAMES)
