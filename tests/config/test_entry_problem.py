"""From a key of a config file back to a problem that makes its call."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune import servers
from autotune.config.entry_problem import Assumptions, assumed, place_of, subject_of
from autotune.contract import AnyKernel, Call, Problem, groups, registry
from autotune.errors import InputError
from autotune.kernels.fused_moe_lora.group import FUSED_MOE_LORA
from tests.builders.sglang_at_hand import machine

GPU = "NVIDIA H200"
SHRINK = PurePath("NVIDIA_H200_SHRINK.json")
EXPAND = PurePath("NVIDIA_H200_EXPAND_TRUE.json")
W2_SHRINK = PurePath("NVIDIA_H200_FUSED_MOE_LORA_W2_SHRINK.json")
W2_EXPAND = PurePath("NVIDIA_H200_FUSED_MOE_LORA_W2_EXPAND.json")
NOTHING = Assumptions({})
EXPERTS = Assumptions({"num_experts": 8, "top_k_num": 2})


def problems_of(kernel: AnyKernel) -> tuple[Problem, ...]:
    package = type(kernel).__module__.rpartition(".")[0]
    problems: dict[str, tuple[Problem, ...]] = importlib.import_module(f"{package}.testing").PROBLEMS
    return problems[kernel.name]


CASES = [
    pytest.param(kernel, problem, id=f"{kernel.name}-{problem.label}")
    for kernel in map(registry.installed().get, registry.installed().names())
    for problem in problems_of(kernel)
]


def told_by_the_user(kernel: AnyKernel, problem: Problem) -> Assumptions:
    """What no key tells of a problem, as flags."""
    fields = problem.to_json()
    flags: dict[str, Any] = {"dtype": fields["dtype"], "fully_sharded": fields.get("fully_sharded")}
    flags |= {"num_experts": fields.get("num_experts"), "top_k_num": fields.get("top_k"), "tp": fields.get("tp")}
    flags["block_m"] = fields.get("block_m")
    if gpus := fields.get("ep"):
        flags |= {"ep": 1, "tp": gpus}
    flags["slice_widths"] = tuple(fields["slice_widths"]) if "slice_widths" in fields else None
    paths = [path for path, names in FUSED_MOE_LORA.members.items() if kernel.name in names]
    (path,) = paths or [groups.AUTO]
    return Assumptions(flags, path)


@pytest.mark.parametrize(("kernel", "problem"), CASES)
def test_a_key_leads_back_to_a_problem_that_launches_by_it(kernel: AnyKernel, problem: Problem) -> None:
    call = kernel.call(problem)
    assert call is not None
    server = servers.get(call.server)
    triton = "3.6.0" if call.server == "sglang" else None
    file = server.file_name(GPU, replace(call, triton=triton))
    place = place_of(PurePath(file), server.key_path(call))
    assert place.call == replace(call, triton=triton)
    assert server.file_name(place.gpu, place.call) == file
    subject = subject_of(place.call, told_by_the_user(kernel, problem))
    assert subject.kernel == kernel.name
    assert kernel.call(subject.problem) == call
    for name, value in told_by_the_user(kernel, problem).flags.items():
        field = {"top_k_num": "top_k"}.get(name, name)
        if name not in ("tp", "ep"):
            assert value is None or getattr(subject.problem, field) == value
    assert [subject.problem.to_json().get(n) for n in ("tp", "ep")] == [problem.to_json().get(n) for n in ("tp", "ep")]


SIZES = st.integers(1, 10_000)


@given(loras=st.integers(1, 64), m=SIZES, slices=st.integers(1, 4), wide=SIZES, rank=st.sampled_from([8, 16, 64]))
@pytest.mark.parametrize("op", ["SHRINK", "EXPAND_TRUE", "EXPAND_FALSE"])
def test_any_key_of_vllms_dense_ops(op: str, loras: int, m: int, slices: int, wide: int, rank: int) -> None:
    sizes = (wide, rank) if op == "SHRINK" else (rank, wide)
    key = tuple(map(str, (loras + 1, slices, m, *sizes)))
    place = place_of(PurePath(f"NVIDIA_L40S_{op}.json"), key)
    subject = subject_of(place.call, NOTHING)
    assert place.gpu == "NVIDIA_L40S"
    assert subject.problem.to_json()["max_loras"] == loras
    assert registry.load(subject.kernel).call(subject.problem) == place.call


@pytest.mark.parametrize(
    ("file", "key", "part"),
    [
        (PurePath("E=8,N=64,device_name=NVIDIA_H200.json"), ("16",), "has this name"),
        (PurePath("triton_3_6_0/lora_shrink,K=8,R=8,S=1,device=GPU_tuned_1.json"), ("16",), "has this name"),
        (SHRINK, ("5", "1", "16"), "levels: max_loras"),
        (SHRINK, ("5", "1", "x", "8", "8"), "levels"),
        (SHRINK, ("5", "1", "016", "64", "8"), "spelled so"),
        (SHRINK, ("1", "1", "16", "64", "8"), "one more than its --max-loras"),
        (W2_SHRINK, ("4", "1", "16", "8", "64"), "levels"),
    ],
)
def test_a_place_where_no_server_looks(file: PurePath, key: tuple[str, ...], part: str) -> None:
    with pytest.raises(InputError, match=part):
        place_of(file, key)


def sglang_expand(columns: int, slices: int) -> Call:
    return Call("sglang", "expand", {"K": columns, "R": 16, "S": slices, "chunk_size": 16})


@pytest.mark.parametrize(
    ("columns", "slices", "given_widths", "widths"),
    [
        (100, 1, None, [100]),
        (100, 2, None, [50, 50]),
        (6144, 3, (4096, 1024, 1024), [4096, 1024, 1024]),
        (100, 2, (4096, 1024, 1024), [50, 50]),
    ],
)
def test_widths_of_sglangs_slices(
    columns: int, slices: int, given_widths: tuple[int, ...] | None, widths: list[int]
) -> None:
    subject = subject_of(sglang_expand(columns, slices), Assumptions({"slice_widths": given_widths}))
    assert subject.problem.to_json()["slice_widths"] == widths


@pytest.mark.parametrize(
    ("call", "assumptions", "part"),
    [
        (sglang_expand(6144, 3), NOTHING, "--slice-widths that add up to 6144"),
        (sglang_expand(6144, 3), Assumptions({"slice_widths": (4096, 1024, 2048)}), "add up to 6144"),
        (place_of(W2_SHRINK, ("4", "1", "16", "8", "64", "32")).call, NOTHING, "--num-experts and --top-k-num"),
        (place_of(W2_EXPAND, ("4", "1", "16", "8", "64", "32")).call, EXPERTS, "--path two-kernel"),
        (place_of(W2_SHRINK, ("4", "2", "16", "8", "64", "32")).call, EXPERTS, "no kernel here"),
        (place_of(SHRINK, ("5", "1", "16", "64", "7")).call, NOTHING, "lora rank: got 7"),
    ],
)
def test_a_problem_that_cannot_be_known(call: Call, assumptions: Assumptions, part: str) -> None:
    with pytest.raises(InputError, match=part):
        subject_of(call, assumptions)


def test_one_line_says_what_keys_do_not_tell() -> None:
    dense = [place_of(EXPAND, ("5", slices, "16", "8", "64")).call for slices in ("1", "3")]
    line = assumed(subject_of(call, NOTHING) for call in [*dense, sglang_expand(100, 1)])
    assert "dtype float16" in line
    assert "slice_widths equal" in line
    assert "active_loras all" in line
    assert "tokens 30720; workload prefill" in line


@pytest.mark.parametrize(
    ("source", "flags", "kernel", "line"),
    [
        ("auto", {}, "csgmv_expand@sglang-0.5.23", "workload mixed; decode_requests 8x64x256"),
        ("served", {"decode_requests": (4,)}, "csgmv_expand@sglang-0.5.23", "workload mixed; decode_requests 4"),
        ("served", {"workload": "prefill"}, "csgmv_expand@sglang-0.5.23", "workload prefill"),
        ("builtin", {}, "csgmv_expand", "workload prefill"),
    ],
)
def test_the_batches_are_those_that_studies_of_the_kernel_time(
    source: str, flags: dict[str, Any], kernel: str, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with machine(monkeypatch, tmp_path / "site"):
        subject = subject_of(sglang_expand(100, 1), Assumptions(flags, source=source, allow_unknown_server=True))
    assert subject.kernel == kernel
    assert f"{line}; shares" in assumed([subject])
