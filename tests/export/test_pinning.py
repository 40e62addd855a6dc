"""A default is found on its own side of where it changes, and on no other, whatever else a file holds."""

from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from autotune.errors import InputError
from autotune.export.export import export
from autotune.export.file import ExportItem
from autotune.export.pinning import Pin, missing_pins
from autotune.export.timings import Timings
from autotune.model.shape import load
from autotune.plan.plan import make
from autotune.servers import KeyPath, Table, provenance
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from autotune.servers.vllm.server import VLLM
from tests.builders.exports import (
    GPU,
    TUNED,
    item,
    m_keys,
    of_kind,
    put,
    served,
    shrink,
    snapshot,
    table,
)


def result(m: int, tuned: bool = False, k: int = 4096) -> ExportItem:
    return item(shrink(m, k), study=f"m{m}-k{k}", incumbent=not tuned)


def found(folder: Path, m: int) -> object:
    return served(folder)(shrink(m)).config


def side(key: KeyPath) -> dict[str, int]:
    """A default that changes at m 10 and 100."""
    return {"split_k": sum(int(key[1]) >= m for m in (10, 100))}


def test_a_file_is_pinned_on_both_sides_of_each_change_that_it_does_not_respect() -> None:
    held: Table = {("5", "8", "a"): {"split_k": 0}, ("5", "50", "a"): {"split_k": 7}, ("5", "120", "a"): {"split_k": 2}}
    assert missing_pins(held, 1, side) == {
        ("5", "9", "a"): Pin({"split_k": 0}, ("5", "8", "a")),
        ("5", "10", "a"): Pin({"split_k": 1}, None),
        ("5", "99", "a"): Pin({"split_k": 1}, None),
        ("5", "100", "a"): Pin({"split_k": 2}, ("5", "120", "a")),
    }
    assert not missing_pins({("5", "50", "a"): {"split_k": 7}}, 1, side), "what was tuned is as good as anywhere"
    lone = missing_pins({("5", "50", "a"): {"split_k": 1}}, 1, side)
    assert {key[1]: pin.config["split_k"] for key, pin in lone.items()} == {"9": 0, "10": 1, "99": 1, "100": 2}


@pytest.mark.parametrize("name", ["Qwen3-8B", "Qwen3-30B-A3B"])
def test_a_plan_with_nothing_but_defaults_changes_no_launch(tmp_path: Path, name: str) -> None:
    made = make(load(name), Serving("vllm", 1, 16, 4), Batches())
    dense = [call for call in made.required if "fused_moe" not in call.op]
    export([ExportItem("all", dense[0], {}, True, GPU, {})], tmp_path, required=dense)
    lookups = {call.op: served(tmp_path, VLLM.file_name(GPU, call)) for call in dense}
    for call in [shape.call(m) for shape in made.shapes if shape.op in lookups for m in range(1, 600)]:
        assert lookups[call.op](call).config == VLLM.default_config(call), call


def test_beside_a_pin_other_shapes_keep_what_they_would_get(tmp_path: Path) -> None:
    report = export([result(m, tuned, k) for m in (64, 128) for k, tuned in ((4096, True), (12288, False))], tmp_path)
    assert m_keys(tmp_path) == [64, 127, 128]
    by_key = {record.key[1:4]: record for record in of_kind(report, "pin") if record.key[0] == "5"}
    assert by_key["1", "127", "12288"].config == VLLM.default_config(shrink(127, 12288))
    assert by_key["1", "127", "12288"].study is None
    assert by_key["1", "127", "4096"].config == VLLM.entry(TUNED, shrink(128))
    assert by_key["1", "127", "4096"].study == "m128-k4096"
    assert by_key["1", "127", "4096"].provenance == {"taken": ["5", "1", "128", "4096", "16"]}


def test_both_sides_are_read_back(tmp_path: Path) -> None:
    report = export([result(64), result(1024)], tmp_path)
    proofs = {proof.record.key: proof.lookup for proof in report.proofs}
    for m in (127, 128):
        lookup = proofs["5", "1", str(m), "4096", "16"]
        assert lookup.exact
        assert lookup.config == VLLM.default_config(shrink(m))


def test_pins_follow_what_stands_beside_them_and_a_result_takes_their_place(tmp_path: Path) -> None:
    export([result(64), result(128)], tmp_path)
    assert m_keys(tmp_path) == [64, 127, 128]
    export([result(64), result(128, tuned=True)], tmp_path)
    assert (m_keys(tmp_path), found(tmp_path, 127)) == ([64, 127, 128], VLLM.entry(TUNED, shrink(127)))
    export([result(127)], tmp_path)
    assert found(tmp_path, 127) == VLLM.default_config(shrink(127))
    export([result(127, tuned=True)], tmp_path)
    assert (m_keys(tmp_path), found(tmp_path, 127)) == ([64, 127, 128], VLLM.entry(TUNED, shrink(127)))
    export([result(m, tuned=True) for m in (64, 128)], tmp_path, on_exist="overwrite")
    assert m_keys(tmp_path) == [64, 128]
    assert {record.key for record in provenance.read(tmp_path)} == set(table(tmp_path))


def test_thinning_leaves_them(tmp_path: Path) -> None:
    def timed(m: int) -> ExportItem:
        default = VLLM.default_config(shrink(m))
        timings = Timings(({str(VLLM.default_config(shrink(other))): 1.0 for other in (64, 128)},), default, str)
        return ExportItem(str(m), shrink(m), {}, True, GPU, {}, timings)

    export([timed(m) for m in (16, 64, 128, 256)], tmp_path)
    assert m_keys(tmp_path)[-1] >= 128
    lookup = served(tmp_path)
    assert all(lookup(shrink(m)).config == VLLM.default_config(shrink(m)) for m in range(1, 600))


SIZES = st.dictionaries(st.sampled_from([1, 16, 64, 96, 127, 128, 160, 256, 1024]), st.booleans(), min_size=1)


@settings(max_examples=20)
@given(st.lists(st.dictionaries(st.sampled_from([4096, 8192]), SIZES, min_size=1), min_size=1, max_size=2))
def test_no_lookup_gets_the_default_of_another_side(
    tmp_path_factory: pytest.TempPathFactory, exports: list[dict[int, dict[int, bool]]]
) -> None:
    folder = tmp_path_factory.mktemp("out")
    for shapes in exports:
        export([result(m, tuned, k) for k, grid in shapes.items() for m, tuned in grid.items()], folder)
    lookup = served(folder)
    for k in {k for shapes in exports for k in shapes}:
        for m in (*range(60, 300), 1, 16, 1000, 8192):
            call = shrink(m, k)
            assert lookup(call).config in (VLLM.default_config(call), VLLM.entry(TUNED, call))
    assert set(table(folder)) == {record.key for record in provenance.read(folder)}


def test_a_pin_that_would_repeat_what_stops_a_server_names_it_and_what_to_do(tmp_path: Path) -> None:
    put(tmp_path, {("5", "1", "64", "8192", "16"): {"block_m": 32}})
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match=r"SHRINK.json: the entry 5/1/64/8192/16 .* lacks .*tune the shape, or take"):
        export([result(64), result(300)], tmp_path)
    assert snapshot(tmp_path) == before
