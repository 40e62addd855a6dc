"""A default is found on its own side of where it changes, and on no other, whatever else a file holds."""

from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from autotune.contract import Call
from autotune.export.export import export
from autotune.export.file import ExportItem
from autotune.export.pinning import Pin, missing_pins
from autotune.export.timings import Timings
from autotune.model.shape import load
from autotune.plan.plan import make
from autotune.servers import KeyPath, files, provenance
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from autotune.servers.vllm import facts
from autotune.servers.vllm.server import VLLM

GPU = "NVIDIA H200"
SHRINK = "NVIDIA_H200_SHRINK.json"
TUNED = {"block_m": 16, "block_n": 32, "block_k": 64, "split_k": 2, "num_warps": 8, "num_stages": 3}


def shrink(m: int, k: int = 4096) -> Call:
    return Call("vllm", "shrink", {"max_loras": 5, "num_slices": 1, "m": m, "k": k, "n": 16})


def item(m: int, tuned: bool = False, k: int = 4096) -> ExportItem:
    return ExportItem(f"m{m}-k{k}", shrink(m, k), TUNED, not tuned, GPU, {})


def found(folder: Path, m: int, k: int = 4096) -> object:
    return VLLM.lookup(folder, GPU, shrink(m, k)).config


def m_keys(folder: Path) -> list[int]:
    return sorted({int(key[2]) for key in files.read_table(folder / SHRINK, facts.DENSE_LEVELS)})


def side(key: KeyPath) -> dict[str, int]:
    """A default that changes at m 10 and 100."""
    return {"split_k": sum(int(key[1]) >= m for m in (10, 100))}


def test_a_file_is_pinned_on_both_sides_of_each_change_that_it_does_not_respect() -> None:
    table = {("5", "8", "a"): {"split_k": 0}, ("5", "50", "a"): {"split_k": 7}, ("5", "120", "a"): {"split_k": 2}}
    assert missing_pins(table, 1, side) == {
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
    for call in [shape.call(m) for shape in made.shapes if "fused_moe" not in shape.op for m in range(1, 600)]:
        assert VLLM.lookup(tmp_path, GPU, call).config == VLLM.default_config(call), call


def test_beside_a_pin_other_shapes_keep_what_they_would_get(tmp_path: Path) -> None:
    report = export([item(m, tuned, k) for m in (64, 128) for k, tuned in ((4096, True), (12288, False))], tmp_path)
    assert m_keys(tmp_path) == [64, 127, 128]
    by_key = {record.key[1:4]: record for record in report.of_kind("pin") if record.key[0] == "5"}
    assert by_key["1", "127", "12288"].config == VLLM.default_config(shrink(127, 12288))
    assert by_key["1", "127", "12288"].study is None
    assert by_key["1", "127", "4096"].config == VLLM.entry(TUNED, shrink(128))
    assert by_key["1", "127", "4096"].study == "m128-k4096"
    assert by_key["1", "127", "4096"].provenance == {"taken": ["5", "1", "128", "4096", "16"]}


def test_both_sides_are_read_back(tmp_path: Path) -> None:
    report = export([item(64), item(1024)], tmp_path)
    proofs = {proof.record.key: proof.lookup for proof in report.proofs}
    for m in (127, 128):
        lookup = proofs["5", "1", str(m), "4096", "16"]
        assert lookup.exact
        assert lookup.config == VLLM.default_config(shrink(m))


def test_pins_follow_what_stands_beside_them_and_a_result_takes_their_place(tmp_path: Path) -> None:
    export([item(64), item(128)], tmp_path)
    assert m_keys(tmp_path) == [64, 127, 128]
    export([item(64), item(128, tuned=True)], tmp_path)
    assert (m_keys(tmp_path), found(tmp_path, 127)) == ([64, 127, 128], VLLM.entry(TUNED, shrink(127)))
    export([item(127)], tmp_path)
    assert found(tmp_path, 127) == VLLM.default_config(shrink(127))
    export([item(127, tuned=True)], tmp_path)
    assert (m_keys(tmp_path), found(tmp_path, 127)) == ([64, 127, 128], VLLM.entry(TUNED, shrink(127)))
    export([item(m, tuned=True) for m in (64, 128)], tmp_path, on_exist="overwrite")
    assert m_keys(tmp_path) == [64, 128]
    assert {record.key for record in provenance.read(tmp_path)} == set(
        files.read_table(tmp_path / SHRINK, facts.DENSE_LEVELS)
    )


def test_thinning_leaves_them(tmp_path: Path) -> None:
    def timed(m: int) -> ExportItem:
        default = VLLM.default_config(shrink(m))
        timings = Timings(({str(VLLM.default_config(shrink(other))): 1.0 for other in (64, 128)},), default, str)
        return ExportItem(str(m), shrink(m), {}, True, GPU, {}, timings)

    export([timed(m) for m in (16, 64, 128, 256)], tmp_path)
    assert m_keys(tmp_path)[-1] >= 128
    assert all(found(tmp_path, m) == VLLM.default_config(shrink(m)) for m in range(1, 600))


SIZES = st.dictionaries(st.sampled_from([1, 16, 64, 96, 127, 128, 160, 256, 1024]), st.booleans(), min_size=1)


@settings(deadline=None, database=None, max_examples=40)
@given(st.lists(st.dictionaries(st.sampled_from([4096, 8192]), SIZES, min_size=1), min_size=1, max_size=2))
def test_no_lookup_gets_the_default_of_another_side(
    tmp_path_factory: pytest.TempPathFactory, exports: list[dict[int, dict[int, bool]]]
) -> None:
    folder = tmp_path_factory.mktemp("out")
    for shapes in exports:
        export([item(m, tuned, k) for k, grid in shapes.items() for m, tuned in grid.items()], folder)
    for k in {k for shapes in exports for k in shapes}:
        for m in (*range(60, 300), 1, 16, 1000, 8192):
            assert found(folder, m, k) in (VLLM.default_config(shrink(m, k)), VLLM.entry(TUNED, shrink(m, k)))
    assert set(files.read_table(folder / SHRINK, facts.DENSE_LEVELS)) == {
        record.key for record in provenance.read(folder)
    }
