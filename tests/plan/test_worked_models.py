"""The worked models of contracts A7 and the table of B4, row by row."""

from __future__ import annotations

import pytest

from autotune.contract import groups, registry
from autotune.kernels.fused_moe_lora.group import FUSED_MOE_LORA
from autotune.model.shape import load
from autotune.plan.plan import make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from autotune.servers.shapes import Shape

R = 64
LORAS = 4
HALF = R // 2


def shapes(name: str, serving: Serving) -> list[Shape]:
    return list(make(load(name), serving, Batches()).shapes)


def vllm(name: str, tp: int, fully_sharded: bool = False, ep: bool = False, dual: bool = False) -> list[Shape]:
    return shapes(name, Serving("vllm", tp, R, LORAS, fully_sharded, ep, dual))


def dense(found: list[Shape], op: str, add_inputs: int = 1) -> dict[int, set[tuple[int, int]]]:
    """Slices to (k, n) of an op, as the contracts write them."""
    lookups: dict[int, set[tuple[int, int]]] = {}
    for shape in found:
        d = shape.dims
        if shape.op == op and d.get("add_inputs", add_inputs) == add_inputs:
            assert d["max_loras"] == LORAS + 1
            lookups.setdefault(d["num_slices"], set()).add((d["k"], d["n"]))
    return lookups


Q, L, M = "Qwen3-8B", "Llama-3.1-8B", "Qwen3-30B-A3B"
TP1, TP2, TP2_FS = (1, False), (2, False), (2, True)


@pytest.mark.parametrize(
    ("name", "how", "shrink", "expand"),
    [
        (
            Q,
            TP1,
            {3: {(4096, R)}, 2: {(4096, R)}, 1: {(4096, R), (12288, R)}},
            {3: {(R, 4096)}, 2: {(R, 12288)}, 1: {(R, 4096), (R, 151936)}},
        ),
        (
            Q,
            TP2,
            {3: {(4096, R)}, 2: {(4096, R)}, 1: {(2048, R), (6144, R), (4096, R)}},
            {3: {(R, 2048)}, 2: {(R, 6144)}, 1: {(R, 4096), (R, 151936)}},
        ),
        (
            Q,
            TP2_FS,
            {3: {(4096, HALF)}, 2: {(4096, HALF)}, 1: {(2048, R), (6144, R), (4096, R)}},
            {3: {(R, 2048)}, 2: {(R, 6144)}, 1: {(R, 2048), (R, 4096), (R, 151936)}},
        ),
        (
            L,
            TP1,
            {3: {(4096, R)}, 2: {(4096, R)}, 1: {(4096, R), (14336, R)}},
            {3: {(R, 4096)}, 2: {(R, 14336)}, 1: {(R, 4096), (R, 128256)}},
        ),
        (
            L,
            TP2,
            {3: {(4096, R)}, 2: {(4096, R)}, 1: {(2048, R), (7168, R), (4096, R)}},
            {3: {(R, 2048)}, 2: {(R, 7168)}, 1: {(R, 4096), (R, 128256)}},
        ),
        (
            L,
            TP2_FS,
            {3: {(4096, HALF)}, 2: {(4096, HALF)}, 1: {(2048, R), (7168, R), (4096, R)}},
            {3: {(R, 2048)}, 2: {(R, 7168)}, 1: {(R, 2048), (R, 4096), (R, 128256)}},
        ),
        (
            M,
            TP1,
            {3: {(2048, R)}, 1: {(4096, R), (2048, R)}},
            {3: {(R, 4096)}, 1: {(R, 2048), (R, 151936)}},
        ),
        (
            M,
            TP2,
            {3: {(2048, R)}, 1: {(2048, R)}},
            {3: {(R, 2048)}, 1: {(R, 2048), (R, 151936)}},
        ),
        (
            M,
            TP2_FS,
            {3: {(2048, HALF)}, 1: {(2048, R)}},
            {3: {(R, 2048)}, 1: {(R, 1024), (R, 2048), (R, 151936)}},
        ),
    ],
    ids=lambda value: (
        value if isinstance(value, str) else f"TP{value[0]}{' FS' * value[1]}" if value in (TP1, TP2, TP2_FS) else ""
    ),
)
def test_vllms_dense_lookups(
    name: str,
    how: tuple[int, bool],
    shrink: dict[int, set[tuple[int, int]]],
    expand: dict[int, set[tuple[int, int]]],
) -> None:
    found = vllm(name, *how)
    assert dense(found, "shrink") == shrink
    assert dense(found, "expand") == expand
    assert dense(found, "expand", add_inputs=0) == {}


def test_layers_that_share_a_lookup_are_one_study() -> None:
    by_key = {(s.op, s.dims["num_slices"], s.dims["k"], s.dims["n"]): s.layers for s in vllm(Q, 1)}
    assert by_key["shrink", 1, 4096, R] == ("o_proj x36", "lm_head")
    assert by_key["expand", 1, R, 4096] == ("o_proj x36", "down_proj x36", "embed_tokens")
    by_key = {(s.op, s.dims["num_slices"], s.dims["k"], s.dims["n"]): s.layers for s in vllm(M, 2)}
    assert by_key["shrink", 1, 2048, R] == ("o_proj x48", "lm_head")


@pytest.mark.parametrize(
    ("how", "w13", "w2"),
    [
        ({"tp": 1}, (2, R, 2048, 768), (1, R, 2048, 768)),
        ({"tp": 2}, (2, R, 2048, 384), (1, R, 2048, 384)),
        ({"tp": 2, "fully_sharded": True}, (2, HALF, 2048, 384), (1, R, 2048, 384)),
        ({"tp": 2, "ep": True}, (2, R, 2048, 768), (1, R, 2048, 768)),
    ],
    ids=["TP1", "TP2", "TP2 FS", "TP2 EP"],
)
def test_vllms_expert_lookups(how: dict[str, int], w13: tuple[int, ...], w2: tuple[int, ...]) -> None:
    found = {
        s.op: tuple(s.dims[level] for level in ("max_loras", "num_slices", "k", "n", "i"))
        for s in vllm(M, **how)  # type: ignore[arg-type]
        if s.op.startswith("fused_moe_lora")
    }
    expected = {"w13": (LORAS, *w13), "w2": (LORAS, *w2)}
    assert found == {f"fused_moe_lora_{w}_{op}": expected[w] for w in expected for op in ("shrink", "expand")}


@pytest.mark.parametrize("name", [M, "Mixtral-8x7B"])
@pytest.mark.parametrize("how", [{"tp": 1}, {"tp": 2}, {"tp": 2, "fully_sharded": True}, {"tp": 4, "ep": True}])
def test_a_group_answers_all_four_expert_lookups(name: str, how: dict[str, int]) -> None:
    made = make(load(name), Serving("vllm", how["tp"], R, LORAS, "fully_sharded" in how, "ep" in how), Batches())
    planned = {s.op: s.call(512) for s in made.shapes if s.op.startswith("fused_moe_lora")}
    (entry,) = (e for e in made.entries if e.kernel == "fused_moe_lora" and e.flags["m"] == 512)
    path = FUSED_MOE_LORA.path(groups.AUTO, entry.flags)
    assert path == ("two-kernel" if "fully_sharded" in how else "one-shot")
    for kernel in map(registry.load, FUSED_MOE_LORA.members["two-kernel"]):
        call = kernel.call(kernel.problem_from_flags(entry.flags))
        assert call is not None
        assert planned[call.op] == call
    assert not [line for line in made.warnings if "not tuned" in line]


@pytest.mark.parametrize("name", [M, "Mixtral-8x7B"])
@pytest.mark.parametrize(
    "how",
    [
        Serving("vllm", 1, R, LORAS),
        Serving("vllm", 1, R, LORAS, expert_parallel=True),
        Serving("vllm", 8, R, LORAS, expert_parallel=True),
    ],
    ids=["TP1", "TP1 EP", "TP8 EP"],
)
def test_only_batches_that_are_sorted_are_planned(name: str, how: Serving) -> None:
    """Naive ones read no block_m, and with experts on other GPUs there are none (contracts A6)."""
    model = load(name)
    assert model.experts is not None
    made = make(model, how, Batches())
    problems = [
        registry.load("fused_moe_lora_gate_up_one_shot").problem_from_flags(entry.flags)
        for entry in made.entries
        if entry.kernel == "fused_moe_lora"
    ]
    assert not any(problem.naive for problem in problems)
    assert (min(problem.m for problem in problems) == 1) == (how.tp > 1)
    assert {problem.all_experts for problem in problems} == {model.experts.count}


def test_dual_stream_moves_the_layers_but_not_gate_and_embeddings() -> None:
    found = vllm(M, 1, dual=True)
    assert dense(found, "expand", add_inputs=0) == {3: {(R, 4096)}, 1: {(R, 2048)}}
    assert dense(found, "expand", add_inputs=1) == {1: {(R, 2048), (R, 151936)}}
    assert dense(found, "shrink") == dense(vllm(M, 1), "shrink")


@pytest.mark.parametrize(
    ("name", "tp", "shrink", "expand"),
    [
        (Q, 1, {(4096, 3), (4096, 2), (4096, 1), (12288, 1)}, {(6144, 3), (24576, 2), (4096, 1)}),
        (Q, 2, {(4096, 3), (4096, 2), (2048, 1), (6144, 1)}, {(3072, 3), (12288, 2), (4096, 1)}),
        (L, 1, {(4096, 3), (4096, 2), (4096, 1), (14336, 1)}, {(6144, 3), (28672, 2), (4096, 1)}),
        (L, 2, {(4096, 3), (4096, 2), (2048, 1), (7168, 1)}, {(3072, 3), (14336, 2), (4096, 1)}),
        (M, 1, {(2048, 3), (4096, 1)}, {(5120, 3), (2048, 1)}),
        (M, 2, {(2048, 3), (2048, 1)}, {(2560, 3), (2048, 1)}),
    ],
)
def test_sglangs_lookups(name: str, tp: int, shrink: set[tuple[int, int]], expand: set[tuple[int, int]]) -> None:
    found = shapes(name, Serving("sglang", tp, R, LORAS))
    assert {(s.dims["K"], s.dims["S"]) for s in found if s.op == "shrink"} == shrink
    assert {(s.dims["K"], s.dims["S"]) for s in found if s.op == "expand"} == expand
    assert {s.dims["R"] for s in found} == {R}


@pytest.mark.parametrize(("name", "k", "vocab"), [(Q, 4096, 151936), (M, 2048, 151936), (L, 4096, 128256)])
@pytest.mark.parametrize("tp", [1, 2])
def test_sglangs_lm_head_only_if_it_is_a_target(name: str, k: int, vocab: int, tp: int) -> None:
    found = shapes(name, Serving("sglang", tp, R, LORAS, target_modules=("lm_head", "embed_tokens")))
    lookups = {(s.op, s.dims["K"], s.dims["S"]) for s in found}
    assert lookups == {("shrink", k, 1), ("expand", vocab // tp, 1), ("expand", k, 1)}
