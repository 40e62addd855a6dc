"""Two files with one block_m at every key may still give a batch between keys two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from autotune.config.check import check_folder
from autotune.contract import Call
from autotune.servers.finding import Finding
from autotune.servers.vllm import facts
from autotune.servers.vllm.server import VLLM

GPU = "NVIDIA H200"
W13_SHRINK, W13_EXPAND, W2_SHRINK, W2_EXPAND = facts.MOE_OPS
SHAPE = {"k": 16, "n": 2048, "i": 768}
CORRUPTED, CRASHED = "silent corruption", "crash at request"
Nested = dict[str, Any]


def entry(block_m: int) -> dict[str, Any]:
    return VLLM.entry(VLLM.default_config(call(W13_SHRINK)) | {"block_m": block_m}, call(W13_SHRINK))


def call(op: str, **dims: int) -> Call:
    defaults = {"max_loras": 4, "num_slices": 2 if "w13" in op else 1, "m": 64}
    return Call("vllm", op, defaults | SHAPE | dims)


def by_m(blocks: dict[int, int]) -> Nested:
    """Of max_loras 4, with these block_m by m."""
    return {"4": {str(m): {"16": {"2048": {"768": entry(block_m)}}} for m, block_m in blocks.items()}}


def write(folder: Path, contents: dict[str, Nested]) -> None:
    """Write the files of ops from what is under each max_loras, num_slices left out."""
    for op, content in contents.items():
        (folder / VLLM.file_name(GPU, call(op))).write_text(json.dumps(table(op, content)))


def table(op: str, content: Nested) -> Nested:
    """Returns what an op's file holds."""
    slices = "2" if "w13" in op else "1"
    return {loras: {slices: below} for loras, below in content.items()}


def check(folder: Path) -> list[Finding]:
    return check_folder(folder, "vllm")[0]


def test_keys_that_agree_but_change_at_different_m(tmp_path: Path) -> None:
    w13, w2 = by_m({16: 16, 64: 64}), by_m({16: 16, 32: 16, 64: 64})
    write(tmp_path, {W13_SHRINK: w13, W13_EXPAND: w13, W2_SHRINK: w2, W2_EXPAND: w2})
    (finding,) = check(tmp_path)
    assert (finding.key, finding.defect, finding.effect) == (("4", "*", "41"), "block_m differs", CORRUPTED)
    assert "block_m is 64 in" in finding.message and "16 in" in finding.message
    assert "for m from 41 to 48" in finding.message


def test_what_holds_beyond_the_last_key_says_so(tmp_path: Path) -> None:
    w13, w2 = by_m({16: 16, 64: 64}), by_m({16: 16})
    write(tmp_path, {W13_SHRINK: w13, W13_EXPAND: w13, W2_SHRINK: w2, W2_EXPAND: w2})
    (finding,) = check(tmp_path)
    assert finding.key == ("4", "*", "64")
    assert "for m from 41 on" in finding.message


@pytest.mark.parametrize(
    ("level", "at"), [("max_loras", ("7", "*", "64")), ("k", ("4", "*", "64")), ("n", ("4", "*", "64"))]
)
def test_every_level_of_nearest_keys_is_looked_between(tmp_path: Path, level: str, at: tuple[str, ...]) -> None:
    """The expand's file has a key more, with the block_m of its neighbour below."""

    def content(more: bool) -> Nested:
        low, between, high = entry(16), entry(16), entry(64)

        def over(keys: tuple[str, str, str], of: Any) -> Nested:
            found = {keys[0]: of(low), keys[2]: of(high)}
            return {keys[0]: of(low), keys[1]: of(between), keys[2]: of(high)} if more else found

        if level == "max_loras":
            return over(("4", "6", "8"), lambda e: {"64": {"16": {"2048": {"768": e}}}})
        if level == "k":
            return {"4": {"64": over(("16", "32", "64"), lambda e: {"2048": {"768": e}})}}
        return {"4": {"64": {"16": over(("2048", "4096", "8192"), lambda e: {"768": e})}}}

    write(tmp_path, {op: content(op in (W13_EXPAND, W2_EXPAND)) for op in facts.MOE_OPS})
    found = [(f.key, f.effect) for f in check(tmp_path)]
    assert found == [(at, CRASHED)] * 2


MOST = 9
SMALL = st.sampled_from([1, 2, 4, 5, 8])
Grid = dict[tuple[int, int], int]
"""block_m by max_loras and m."""


def nearest(grid: Grid, loras: int, m: int) -> int:
    near = min(sorted({key[0] for key in grid}), key=lambda key: abs(key - loras))
    return grid[near, min(sorted(key[1] for key in grid if key[0] == near), key=lambda key: abs(key - m))]


@st.composite
def two_grids(draw: st.DrawFn) -> tuple[Grid, Grid]:
    """Two that differ anywhere, or the second with more keys, each with what the first gives there."""
    grids = st.dictionaries(st.tuples(SMALL, SMALL), st.sampled_from([16, 32]), min_size=1, max_size=6)
    first = draw(grids)
    if draw(st.booleans()):
        return first, draw(grids)
    loras = st.sampled_from(sorted({key[0] for key in first}))
    more = draw(st.sets(st.tuples(loras, st.integers(1, MOST)), max_size=4))
    return first, {**{key: nearest(first, *key) for key in more}, **first}


@settings(max_examples=100)
@given(two_grids())
def test_nothing_found_means_one_block_m_for_every_batch(
    tmp_path_factory: pytest.TempPathFactory, grids: tuple[Grid, Grid]
) -> None:
    folder = tmp_path_factory.mktemp("tuned")
    w13, w2 = grids

    def content(blocks: Grid) -> Nested:
        made: Nested = {}
        for (loras, m), block_m in sorted(blocks.items()):
            made.setdefault(str(loras), {})[str(m)] = {"16": {"2048": {"768": entry(block_m)}}}
        return made

    contents = {op: content(w13 if "w13" in op else w2) for op in facts.MOE_OPS}
    write(folder, contents)
    tables = {op: table(op, contents[op]) for op in (W13_SHRINK, W2_SHRINK)}

    def block_m(op: str, loras: int, m: int) -> Any:
        return (VLLM.resolve(tables[op], call(op, max_loras=loras, m=m)).config or {})["block_m"]

    differing = {
        (loras, m)
        for loras in range(1, MOST + 1)
        for m in range(1, MOST + 1)
        if block_m(W13_SHRINK, loras, m) != block_m(W2_SHRINK, loras, m)
    }
    assert bool(check(folder)) == bool(differing)
