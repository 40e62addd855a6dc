"""Lookups of the plug-in are the server's."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.contract import Call
from autotune.servers.vllm.plugin.lookups import FolderLookup
from autotune.servers.vllm.server import VLLM

GPU = "NVIDIA H200"
SIZES = st.sampled_from([1, 2, 3, 16, 24, 32, 64])
ENTRY = {"block_m": 16, "block_n": 32, "block_k": 64, "split_k": 1, "num_warps": 4, "num_stages": 2, "num_ctas": 1}
KEYS = st.tuples(SIZES, SIZES, SIZES, SIZES, SIZES)


@given(entries=st.dictionaries(KEYS, st.sampled_from([1, 2, 4]), max_size=6), wanted=KEYS)
def test_a_lookup_comes_to_what_the_server_takes(entries: dict[tuple[int, ...], int], wanted: tuple[int, ...]) -> None:
    table: dict[str, object] = {}
    for key, warps in entries.items():
        node = table
        for part in key[:-1]:
            node = node.setdefault(str(part), {})  # type: ignore[assignment]
        node[str(key[-1])] = {**ENTRY, "num_warps": warps}
    dims = dict(zip(("max_loras", "num_slices", "m", "k", "n"), wanted, strict=True))
    call = Call("vllm", "shrink", dims)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / VLLM.file_name(GPU, call)).write_text(json.dumps(table))
        look_up = FolderLookup(folder, GPU)
        found = look_up(call)
        assert found == VLLM.lookup(folder, GPU, call)
        counts = look_up.token_counts(call)
    if found.origin == "file" and found.failure is None:
        assert int(found.key_path[2]) in counts


def test_a_file_is_read_once(tmp_path: Path) -> None:
    call = Call("vllm", "shrink", {"max_loras": 5, "num_slices": 1, "m": 16, "k": 64, "n": 16})
    path = tmp_path / VLLM.file_name(GPU, call)
    path.write_text(json.dumps({"5": {"1": {"16": {"64": {"16": ENTRY}}}}}))
    look_up = FolderLookup(tmp_path, GPU)
    assert look_up(call).config == ENTRY
    path.unlink()
    assert look_up(call).config == ENTRY


def test_a_file_that_may_not_be_looked_for_is_a_failure_of_the_lookup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Call("vllm", "shrink", {"max_loras": 5, "num_slices": 1, "m": 16, "k": 64, "n": 16})

    def refused(self: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refused)
    found = FolderLookup(tmp_path, GPU)(call)
    assert found.failure
    assert "Permission denied" in found.failure.message


def test_an_unreadable_file_is_a_failure_of_the_lookup(tmp_path: Path) -> None:
    call = Call("vllm", "shrink", {"max_loras": 5, "num_slices": 1, "m": 16, "k": 64, "n": 16})
    (tmp_path / VLLM.file_name(GPU, call)).write_text("{")
    look_up = FolderLookup(tmp_path, GPU)
    assert look_up(call).failure
    assert not look_up.token_counts(call)


@pytest.mark.parametrize("op", ["shrink", "linear"])
def test_keys_of_other_levels_are_no_token_counts(op: str, tmp_path: Path) -> None:
    """As where a file has no entries for so many slices: its numbers of slices are not compiled for."""
    sizes = {"m": 16, "k": 64, "n": 16, "rank": 8}
    call = Call("vllm", op, {"max_loras": 5, "num_slices": 3, **sizes})
    (tmp_path / VLLM.file_name(GPU, call)).write_text(json.dumps({"5": {"1": {"32": {"64": {"16": ENTRY}}}}}))
    assert FolderLookup(tmp_path, GPU).token_counts(call) == []


def test_token_counts_are_told_where_a_key_beside_them_is_none(tmp_path: Path) -> None:
    """Other counts than those of the entries fail there, and calls of an entry's own do not."""
    call = Call("vllm", "shrink", {"max_loras": 5, "num_slices": 1, "m": 16, "k": 64, "n": 16})
    entry = {"64": {"16": ENTRY}}
    (tmp_path / VLLM.file_name(GPU, call)).write_text(json.dumps({"5": {"1": {"128": entry, "all": entry}}}))
    look_up = FolderLookup(tmp_path, GPU)
    assert look_up(call).failure
    assert look_up.token_counts(call) == [128]


@given(keys=st.lists(st.integers(1, 300), min_size=1, unique=True))
def test_token_counts_end_with_the_reach_of_each_entry(keys: list[int]) -> None:
    """Whichever of two entries the count in the middle takes."""
    call = Call("vllm", "shrink", {"max_loras": 5, "num_slices": 1, "m": 16, "k": 64, "n": 16})
    with tempfile.TemporaryDirectory() as name:
        entries = {str(m): {"64": {"16": {**ENTRY, "num_warps": m}}} for m in keys}
        Path(name, VLLM.file_name(GPU, call)).write_text(json.dumps({"5": {"1": entries}}))
        look_up = FolderLookup(Path(name), GPU)
        taken = {m: look_up(replace(call, dims={**call.dims, "m": m})).key_path[2] for m in range(1, 301)}
        counts = look_up.token_counts(call)
    ends = {m for m in range(1, 300) if taken[m] != taken[m + 1]}
    assert all({end, end - 1} & set(counts) for end in ends)
    assert set(keys) <= set(counts) <= set(range(min(keys), max(keys) + 1))
