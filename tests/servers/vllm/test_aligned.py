"""The files of the experts' ops that only our plug-in has: their lookup, and what a defect of them comes to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from autotune.contract import Call
from autotune.errors import InputError
from autotune.servers import stand_back
from autotune.servers.checking import Known
from autotune.servers.vllm import check_folder, facts
from autotune.servers.vllm.own_file import BY_OP
from autotune.servers.vllm.reverse_lookup import VllmReverseLookup
from autotune.servers.vllm.server import VLLM
from tests.builders.tables import nested

FILE = "NVIDIA_H200_ALIGNED_MOE_LORA_W13.json"
CONFIG = {"block_m": 32, "block_n": 64, "block_k": 256, "column_blocks": 2, "num_warps": 4, "num_stages": 3}
SIZES = {"max_loras": 4, "num_slices": 2, "m": 64, "k": 16, "n": 2048, "i": 768}


def call(op: str = facts.ALIGNED_W13, **change: int) -> Call:
    return Call("vllm", op, {**SIZES, **change})


TABLE = nested(*VLLM.key_path(call()), CONFIG)


def test_file_key_and_entry() -> None:
    assert VLLM.file_name("NVIDIA H200", call()) == FILE
    assert VLLM.key_path(call()) == ("4", "2", "64", "16", "2048", "768")
    assert VLLM.entry(CONFIG, call()) == CONFIG
    assert VLLM.family(facts.ALIGNED_W2) is None
    with pytest.raises(InputError, match="vllm aligned_moe_lora_w13: got a config of block_m"):
        VLLM.entry({"block_m": 16}, call())


def test_it_does_the_work_of_the_servers_own_lookup() -> None:
    assert VLLM.replaces(call()) == [replace(call(), op="fused_moe_lora_w13_shrink")]
    assert VLLM.replaces(call(facts.ALIGNED_W2)) == [replace(call(), op="fused_moe_lora_w2_shrink")]


KEYS = st.tuples(*[st.sampled_from(values) for values in ((1, 4), (1, 2), (1, 16, 24, 32, 64), (8, 16), (64,), (32,))])


@given(entries=st.dictionaries(KEYS, st.sampled_from([1, 2, 4]), max_size=6), wanted=KEYS)
def test_a_shape_that_is_there_is_found_as_the_server_finds_it(
    entries: dict[tuple[int, ...], int], wanted: tuple[int, ...]
) -> None:
    """By the nearest max_loras and m; a shape that is not there has the default, where the server takes another's."""
    table: dict[str, Any] = {}
    for key, warps in entries.items():
        node = table
        for part in key[:-1]:
            node = node.setdefault(str(part), {})
        node[str(key[-1])] = {**CONFIG, "num_warps": warps, "split_k": 1, "group_size_m": 8}
    ours = call(facts.ALIGNED_W13, **dict(zip(facts.MOE_LEVELS, wanted, strict=True)))
    found, theirs = VLLM.resolve(table, ours), VLLM.resolve(table, replace(ours, op=facts.W13_SHRINK))
    assert found.failure is None
    if theirs.failure is None and theirs.config is not None and theirs.key_path[3:] == VLLM.key_path(ours)[3:]:
        assert (found.origin, found.key_path) == (theirs.origin, theirs.key_path)
        assert found.config and found.config["num_warps"] == theirs.config["num_warps"]
    else:
        assert (found.origin, found.config) == ("default", VLLM.default_config(ours))


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({**CONFIG, "block_m": 17}, "block_m: got 17, allowed: powers of two from 16"),
        ({**CONFIG, "column_blocks": 0}, "column_blocks: got 0, allowed: positive integers"),
        ({**CONFIG, "num_warps": True}, "num_warps: got True"),
        ({key: CONFIG[key] for key in list(CONFIG)[1:]}, "lacks block_m"),
    ],
    ids=str,
)
def test_an_unsound_entry_is_a_failure_and_told(entry: Any, reason: str, tmp_path: Path) -> None:
    table = nested(*VLLM.key_path(call()), entry)
    found = VLLM.resolve(table, call())
    assert found.failure and reason in found.failure.message
    (tmp_path / FILE).write_text(json.dumps(table))
    findings, files = check_folder.check(tmp_path, Known())
    assert files == 1
    assert [finding.effect for finding in findings] == ["ignored"]
    assert reason in findings[0].message


def test_a_sound_file_has_no_findings(tmp_path: Path) -> None:
    zeros = stand_back.entry(facts.ALIGNED_KEYS)
    table = nested("4", "2", {"64": nested("16", "2048", "768", CONFIG), "128": nested("16", "2048", "768", zeros)})
    (tmp_path / FILE).write_text(json.dumps(table))
    assert check_folder.check(tmp_path, Known()) == ([], 1)


def test_each_of_its_files_has_a_name_of_its_own() -> None:
    names = [own.name("NVIDIA_H200") for own in BY_OP.values()]
    assert FILE in names
    for own in BY_OP.values():
        assert [name for name in [*names, "NVIDIA_H200_FUSED_MOE_LORA_W13_SHRINK.json"] if own.is_name(name)] == [
            own.name("NVIDIA_H200")
        ]


@pytest.mark.parametrize("op", facts.ALIGNED_OPS)
def test_an_entry_leads_back_to_its_call_and_flags(op: str) -> None:
    place = VllmReverseLookup().place_of(Path(VLLM.file_name("NVIDIA H200", call(op))), VLLM.key_path(call(op)))
    assert place and place.call == call(op)
    flags = VllmReverseLookup().flags_of(place.call, {})
    assert flags["lora_rank"] == 16 and flags["hidden_size"] == 2048 and flags["moe_intermediate_size"] == 768
    assert flags["num_loras"] == 4
