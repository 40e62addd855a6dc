"""Fused MoE LoRA as vLLM reads it: four files, six levels, names put into capitals, keys that fall back silently."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from autotune.contract import Call
from autotune.errors import InputError
from autotune.servers.vllm import facts, moe, moe_paths
from autotune.servers.vllm.moe_family import MOE_FAMILY
from autotune.servers.vllm.server import VLLM
from tests.builders.tables import nested

GPU = "NVIDIA H20-3e"
WANTED = {"max_loras": 4, "num_slices": 2, "m": 64, "k": 16, "n": 2048, "i": 768}
FALLBACK = {"block_m": 64, "block_n": 64, "block_k": 32, "group_size_m": 8, "num_warps": 4, "num_stages": 3}
INERT = {"num_ctas": 1, "max_nreg": None}
W13_SHRINK = "fused_moe_lora_w13_shrink"


def call(op: str = W13_SHRINK, **dims: int) -> Call:
    return Call("vllm", op, {**WANTED, **dims})


def config(block_m: int = 16) -> dict[str, int | None]:
    tiles = {"block_m": block_m, "block_n": 16, "block_k": 128, "group_size_m": 1}
    return {**tiles, "num_warps": 8, "num_stages": 4, "split_k": 2}


def entry(block_m: int = 16) -> dict[str, int | None]:
    return VLLM.entry(config(block_m), call())


def test_file_names_say_which_matrix_and_which_half() -> None:
    assert [VLLM.file_name(GPU, call(op)) for op in facts.MOE_OPS] == [
        "NVIDIA_H20_3e_FUSED_MOE_LORA_W13_SHRINK.json",
        "NVIDIA_H20_3e_FUSED_MOE_LORA_W13_EXPAND.json",
        "NVIDIA_H20_3e_FUSED_MOE_LORA_W2_SHRINK.json",
        "NVIDIA_H20_3e_FUSED_MOE_LORA_W2_EXPAND.json",
    ]
    assert [moe.op_of_file(VLLM.file_name(GPU, call(op))) for op in facts.MOE_OPS] == list(facts.MOE_OPS)
    assert moe.op_of_file("NVIDIA_H20_3e_SHRINK.json") is None


def test_keys_hold_max_loras_itself_and_no_alias() -> None:
    assert VLLM.key_path(call()) == ("4", "2", "64", "16", "2048", "768")
    assert VLLM.alias_paths(call()) == []


@pytest.mark.parametrize("rank", [1, 8, 16, 24, 32, 64, 128, 320])
def test_defaults(rank: int) -> None:
    power = 2 ** math.ceil(math.log2(rank))
    for op in facts.MOE_OPS:
        shrink = op.endswith("shrink")
        tiles = {"block_n": min(64, power), "block_k": 32} if shrink else {"block_k": max(16, min(32, power))}
        assert VLLM.default_config(call(op, k=rank)) == FALLBACK | tiles | INERT | {"split_k": 1}


def test_entries_hold_every_key_and_expand_never_splits() -> None:
    assert entry() == config() | INERT
    assert VLLM.entry(config(), call("fused_moe_lora_w2_expand"))["split_k"] == 1
    without_split = {name: value for name, value in config().items() if name != "split_k"}
    assert VLLM.entry(without_split, call("fused_moe_lora_w2_expand"))["split_k"] == 1
    with pytest.raises(InputError, match="lacks split_k"):
        VLLM.entry(without_split, call())
    with pytest.raises(InputError, match="has BLOCK_SIZE_M; allowed: block_m"):
        VLLM.entry(config() | {"BLOCK_SIZE_M": 16}, call())
    with pytest.raises(InputError, match="lacks i; needed"):
        VLLM.levels(Call("vllm", W13_SHRINK, {k: v for k, v in WANTED.items() if k != "i"}))


def test_exact_lookup_through_six_levels(tmp_path: Path) -> None:
    found = VLLM.resolve(nested(*VLLM.key_path(call()), entry()), call())
    assert found.exact
    assert found.config == entry()
    assert [step.level for step in found.steps] == list(facts.MOE_LEVELS)
    assert VLLM.lookup(tmp_path, GPU, call()).config == VLLM.default_config(call())


def test_the_sixth_level_is_approximated_like_the_others() -> None:
    table = nested(*VLLM.key_path(call())[:-1], {"384": entry(16), "1536": entry(128)})
    assert VLLM.resolve(table, call(i=768)).config == entry(16)
    assert VLLM.resolve(table, call(i=1200)).config == entry(128)


def test_five_levels_are_a_value_error_that_says_so() -> None:
    found = VLLM.resolve(nested(*VLLM.key_path(call())[:-1], entry()), call())
    assert found.failure is not None
    assert (found.failure.error, found.failure.level) == ("ValueError", "i")
    assert "MoE level i missing" in found.failure.message


def test_slices_are_never_approximated() -> None:
    found = VLLM.resolve(nested(*VLLM.key_path(call()), entry()), call(num_slices=1))
    assert found.failure is not None
    assert (found.failure.error, found.failure.key) == ("KeyError", "1")


@pytest.mark.parametrize(
    ("content", "block_m", "lacks"),
    [
        ({"block_m": 16}, 16, "block_n"),
        ({"BLOCK_SIZE_M": 16}, 16, "block_n"),
        ({"block_size_m": 16}, 16, "block_n"),
        ({"Block_m": 16}, 64, "block_m"),
        ({"BLOCK_M": 16}, 64, "block_m"),
    ],
)
def test_names_are_normalised_and_missing_ones_fall_back(content: Any, block_m: int, lacks: str) -> None:
    found = VLLM.resolve(nested(*VLLM.key_path(call()), content), call())
    assert found.failure is None
    assert found.config == FALLBACK | INERT | {"split_k": 1, "block_m": block_m}
    assert lacks in found.warnings[0]
    assert not found.exact


@pytest.mark.parametrize(
    ("content", "error"), [(None, "AssertionError"), (7, "AttributeError"), ("x", "AttributeError")]
)
def test_an_entry_that_is_no_object(content: Any, error: str) -> None:
    found = VLLM.resolve(nested(*VLLM.key_path(call()), content), call())
    assert found.failure is not None
    assert (found.failure.error, found.failure.level) == (error, "config")


def test_which_kernels_a_server_runs() -> None:
    assert moe_paths.server_path(128, fully_sharded=False) == "one-shot"
    assert moe_paths.server_path(256, fully_sharded=False) == "two-kernel"
    assert moe_paths.server_path(16, fully_sharded=True) == "two-kernel"


@pytest.mark.parametrize(
    ("rank", "pairs", "naive", "small"),
    [(64, 16, True, True), (64, 17, True, False), (128, 1, True, False), (16, 64, True, True), (16, 8, False, False)],
)
def test_when_a_server_runs_its_small_batch_kernel(rank: int, pairs: int, naive: bool, small: bool) -> None:
    assert moe_paths.small_batch(rank, pairs, naive) is small


def results(**block_m: int) -> dict[str, dict[tuple[str, ...], dict[str, Any]]]:
    """One result for each of the four ops, with these block_m (64 for the others)."""
    tables: dict[str, dict[tuple[str, ...], dict[str, Any]]] = {}
    for op in facts.MOE_OPS:
        part = op.removeprefix("fused_moe_lora_")
        slices = 2 if "w13" in op else 1
        tables[op] = {VLLM.key_path(call(op, num_slices=slices)): VLLM.entry(config(block_m.get(part, 64)), call(op))}
    return tables


def test_four_results_with_one_block_m_fit_together() -> None:
    MOE_FAMILY.check(results(), {})


@pytest.mark.parametrize("part", ["w13_shrink", "w13_expand", "w2_shrink", "w2_expand"])
def test_another_block_m_in_any_of_the_four_is_refused(part: str) -> None:
    with pytest.raises(InputError, match=r"block_m is .* a server would compute wrong results"):
        MOE_FAMILY.check(results(**{part: 16}), {})


@pytest.mark.parametrize("op", facts.MOE_OPS)
def test_a_missing_op_and_a_missing_m_are_refused(op: str) -> None:
    without = {name: table for name, table in results().items() if name != op}
    with pytest.raises(InputError, match=f"none of {op}; .*--op-type fused_moe_lora"):
        MOE_FAMILY.check(without, {})
    more = results()
    for name in more:
        if name != op:
            (key,) = more[name]
            more[name][*key[:2], "16", *key[3:]] = entry(64)
    with pytest.raises(InputError, match=f"{op} has no result for max_loras 4, m 16"):
        MOE_FAMILY.check(more, {})


BLOCKS = st.dictionaries(
    st.tuples(*[st.sampled_from(["1", "2", "3"])] * 5), st.sampled_from([16, 32, 64, 128]), min_size=1, max_size=4
)


@settings(max_examples=60)
@given(BLOCKS, st.data())
def test_filled_files_agree_for_any_lookup(blocks: dict[tuple[str, ...], int], data: st.DataObject) -> None:
    """Whatever (max_loras, m, k, n, i) a server asks for, all four files answer with one block_m."""
    tables: dict[str, dict[tuple[str, ...], dict[str, Any]]] = {op: {} for op in facts.MOE_OPS}
    for place, block_m in blocks.items():
        for op in data.draw(st.sets(st.sampled_from(facts.MOE_OPS), min_size=1)):
            tables[op][place[0], "2" if "w13" in op else "1", *place[1:]] = entry(block_m)
    for op in facts.MOE_OPS:
        # A result of this export stands in all four files.
        place, block_m = min(blocks.items())
        tables[op][place[0], "2" if "w13" in op else "1", *place[1:]] = entry(block_m)
    filled = {op: tables[op] | fills for op, fills in MOE_FAMILY.joint_fills(tables, {}, ()).items()}
    for op, table in filled.items():
        assert VLLM.needed_paths(table) == set(table)
        assert not set(MOE_FAMILY.joint_fills(filled, {}, ())[op])
    content = {op: nested_table(table) for op, table in filled.items()}
    for _ in range(5):
        dims = {level: data.draw(st.integers(1, 5)) for level in facts.MOE_LEVELS}
        found = set()
        for op in facts.MOE_OPS:
            lookup = VLLM.resolve(content[op], call(op, **dims | {"num_slices": 2 if "w13" in op else 1}))
            assert lookup.config is not None
            found.add(lookup.config["block_m"])
        assert len(found) == 1


def nested_table(table: dict[tuple[str, ...], dict[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key in sorted(table):
        node = made
        for part in key[:-1]:
            node = node.setdefault(part, {})
        node[key[-1]] = table[key]
    return made
