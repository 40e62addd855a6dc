"""The file of shrink and expand in one launch: its lookup, and what a defect of it comes to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from autotune.contract import Call
from autotune.errors import InputError
from autotune.servers.checking import Known
from autotune.servers.files import KeyPath
from autotune.servers.vllm import check_folder, linear
from autotune.servers.vllm.own_file import LINEAR
from autotune.servers.vllm.reverse_lookup import VllmReverseLookup
from autotune.servers.vllm.server import VLLM
from tests.builders.tables import nested

FILE = "NVIDIA_H200_LORA_LINEAR.json"
PAIR = {
    "block_m": 16,
    "block_n": 128,
    "block_k": 256,
    "block_r": 16,
    "split_k": 8,
    "num_warps": 4,
    "num_stages": 2,
    "launches": 1,
}
SIZES = {"max_loras": 5, "num_slices": 3, "m": 16, "k": 4096, "rank": 16, "n": 4096}


def call(**change: int) -> Call:
    return Call("vllm", "linear", {**SIZES, **change})


TABLE = nested(*VLLM.key_path(call()), PAIR)


def test_file_key_and_entry() -> None:
    assert VLLM.file_name("NVIDIA H200", call()) == FILE
    assert VLLM.key_path(call()) == ("5", "3", "16", "4096", "16", "4096")
    assert VLLM.entry(PAIR, call()) == PAIR
    assert VLLM.alias_paths(call()) == []
    with pytest.raises(InputError, match="vllm linear: got a config of block_m"):
        VLLM.entry({"block_m": 16}, call())


@pytest.mark.parametrize("change", [{}, {"m": 12}, {"m": 1}, {"max_loras": 9}], ids=str)
def test_the_nearest_m_and_max_loras_are_taken(change: dict[str, int]) -> None:
    found = VLLM.resolve(TABLE, call(**change))
    assert (found.origin, found.config) == ("file", PAIR)


@pytest.mark.parametrize("change", [{"num_slices": 2}, {"k": 4097}, {"rank": 32}, {"n": 1024}, {"m": 17}], ids=str)
def test_another_shape_and_a_larger_batch_run_apart(change: dict[str, int]) -> None:
    found = VLLM.resolve(TABLE, call(**change))
    assert (found.origin, found.config, found.warnings) == ("default", linear.APART, ())


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({**PAIR, "block_m": 17}, "block_m: got 17, allowed: powers of two from 16"),
        ({**PAIR, "num_warps": 8, "block_k": 64}, "a warp needs 16 columns"),
        ({**PAIR, "block_r": True}, "block_r: got True"),
        ({key: PAIR[key] for key in list(PAIR)[1:]}, "lacks block_m"),
        ([], "lacks|got|looked up"),
    ],
    ids=str,
)
def test_an_unsound_entry_runs_apart_and_is_told(entry: Any, reason: str, tmp_path: Path) -> None:
    table = nested(*VLLM.key_path(call()), entry)
    found = VLLM.resolve(table, call())
    assert (found.config, found.failure) == (linear.APART, None)
    (tmp_path / FILE).write_text(json.dumps(table))
    findings, files = check_folder.check(tmp_path, Known())
    assert files == 1
    assert [finding.effect for finding in findings] == ["ignored"]
    if isinstance(entry, dict):
        assert found.warnings and found.warnings[0] in findings[0].message


def test_a_sound_file_has_no_findings(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"5": {"3": {"16": {"4096": {"16": {"4096": linear.APART}}}}}}))
    assert check_folder.check(tmp_path, Known()) == ([], 1)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.dictionaries(st.sampled_from(["5", "3", "16", "4096", "x", *PAIR]), inner, max_size=4)
        | st.lists(inner, max_size=2)
    ),
    max_leaves=20,
)


@given(json_values)
def test_no_content_of_the_file_fails_a_lookup(table: Any) -> None:
    found = VLLM.resolve(table, call())
    assert found.failure is None
    assert found.config is not None
    assert found.config == linear.APART or LINEAR.problem(found.config) is None


def test_every_m_gets_every_shape() -> None:
    other: KeyPath = ("5", "3", "64", "4096", "64", "4096")
    assert VLLM.needed_paths([VLLM.key_path(call()), other]) == {
        ("5", "3", m, "4096", rank, "4096") for m in ("16", "64") for rank in ("16", "64")
    }


def test_the_way_back_from_a_key() -> None:
    reverse = VllmReverseLookup()
    place = reverse.place_of(Path(FILE), VLLM.key_path(call()))
    assert place is not None
    assert place.call == call()
    flags = reverse.flags_of(place.call, {"slice_widths": (4096, 1024, 1024)})
    assert flags["slice_widths"] == (4096, 1024, 1024)
    assert (flags["num_loras"], flags["hidden_size"], flags["lora_rank"]) == (4, 4096, 16)
    assert reverse.kernels_of(place.call, flags, "auto") == ("lora_linear",)


def test_an_entry_of_before_pairs_had_two_launches_has_one() -> None:
    for entry, now in ((PAIR, PAIR), (linear.APART, linear.APART)):
        before = {key: value for key, value in entry.items() if key != "launches"}
        assert VLLM.entry(before, call()) == now
        found = linear.resolve(nested(*VLLM.key_path(call()), before), call().dims)
        assert (found.config, found.warnings) == (now, ())
