"""Each defect of contracts A8 and A1, put into a sound folder on its own, is named with its place and effect."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from autotune.config.check import check_folder
from autotune.errors import InputError
from autotune.model.shape import load
from autotune.plan.plan import make
from autotune.servers.batches import Batches
from autotune.servers.finding import Finding
from autotune.servers.serving import Serving
from tests.builders.samples import VLLM_ENTRY
from tests.builders.vllm_folder import (
    EXPAND,
    M_VALUES,
    MOE,
    SHRINK,
    Files,
    ascending,
    at,
    found,
    plan,
    sound,
    write,
)


@pytest.mark.parametrize("how", [{}, {"dual_stream": True}, {"tp": 2, "fully_sharded": True}])
@pytest.mark.parametrize("name", ["Qwen3-8B", "Qwen3-30B-A3B"])
def test_a_complete_folder_is_clean(name: str, how: dict[str, Any]) -> None:
    made = plan(name, **how)
    assert found(sound(made)) == []
    assert found(sound(made), made) == []


LEAF = ("5", "1", "16", "4096", "16")
LATE = ("5", "1", "1024", "4096", "16")


def change(file: str, keys: tuple[str, ...], **values: Any) -> Callable[[Files], None]:
    return lambda files: at(files, file, *keys).update(values)


def drop(file: str, *keys: str) -> Callable[[Files], None]:
    return lambda files: at(files, file, *keys[:-1]).pop(keys[-1])


def put(file: str, content: Any) -> Callable[[Files], None]:
    return lambda files: files.update({file: content})


def reverse(file: str, *keys: str) -> Callable[[Files], None]:
    def do(files: Files) -> None:
        node = at(files, file, *keys)
        items = list(node.items())
        node.clear()
        node.update(reversed(items))

    return do


def wrap(file: str, *keys: str) -> Callable[[Files], None]:
    """One level more: the config stands under a key of its own."""

    def do(files: Files) -> None:
        parent = at(files, file, *keys[:-1])
        parent[keys[-1]] = {"768": parent[keys[-1]]}

    return do


@pytest.mark.parametrize(
    ("defect", "expected"),
    [
        (put(SHRINK, "{"), (SHRINK, "", "no JSON", "crash at start")),
        (put(SHRINK, "[]"), (SHRINK, "", "no object", "crash at start")),
        (put(SHRINK, "{}"), (SHRINK, "", "empty file", "ignored")),
        (put(SHRINK, "null"), (SHRINK, "", "empty file", "ignored")),
        (drop(SHRINK, "5", "3"), (SHRINK, "", "num_slices missing", "crash at start")),
        (drop(SHRINK, "5", "1", "16", "12288"), (SHRINK, "5/1/16", "incomplete m", "silent wrong shape")),
        (drop(EXPAND, "5", "1", "64", "16", "4096"), (EXPAND, "5/1/64", "incomplete m", "silent wrong shape")),
        (drop(SHRINK, *LEAF, "split_k"), (SHRINK, "/".join(LEAF), "missing key", "crash at start")),
        (drop(SHRINK, *LATE, "num_ctas"), (SHRINK, "/".join(LATE), "missing key", "crash at request")),
        (wrap(SHRINK, *LEAF), (SHRINK, "/".join(LEAF), "too many levels", "crash at start")),
        (
            change(SHRINK, ("5", "1", "16"), **{"4096": VLLM_ENTRY}),
            (SHRINK, "5/1/16/4096", "too few levels", "crash at start"),
        ),
        (change(SHRINK, ("5", "1", "16"), **{"4096": 7}), (SHRINK, "5/1/16/4096", "no object", "crash at start")),
        (change(SHRINK, ("5", "1"), **{"2048": {}}), (SHRINK, "5/1/2048", "empty object", "crash at request")),
        (change(SHRINK, LEAF[:-1], **{"16": {}}), (SHRINK, "/".join(LEAF), "empty config", "crash at start")),
        (change(SHRINK, (), _meta={"by": "me"}), (SHRINK, "_meta", "no integer", "crash at start")),
        (change(SHRINK, ("5", "1"), triton={"v": 3}), (SHRINK, "5/1/triton", "no integer", "crash at request")),
        (change(SHRINK, ("5",), note={"v": 3}), (SHRINK, "5/note", "no integer", "ignored")),
        (reverse(SHRINK, "5", "1"), (SHRINK, "5/1", "unordered keys", "slower")),
        (change(SHRINK, LEAF, max_nreg=128), (SHRINK, "/".join((*LEAF, "max_nreg")), "dead key", "ignored")),
        (
            change(EXPAND, ("5", "3", "16", "16", "4096"), split_k=8),
            (EXPAND, "5/3/16/16/4096/split_k", "dead key", "ignored"),
        ),
        (change(SHRINK, LEAF, block_m=8), (SHRINK, "/".join((*LEAF, "block_m")), "bad value", "crash at start")),
        (change(SHRINK, LEAF, block_n=48), (SHRINK, "/".join((*LEAF, "block_n")), "bad value", "crash at start")),
        (change(SHRINK, LATE, num_warps=3), (SHRINK, "/".join((*LATE, "num_warps")), "bad value", "crash at request")),
        (change(SHRINK, LEAF, split_k=0), (SHRINK, "/".join((*LEAF, "split_k")), "bad value", "crash at start")),
        (change(SHRINK, LEAF, block_k="64"), (SHRINK, "/".join((*LEAF, "block_k")), "bad value", "crash at start")),
        (change(SHRINK, LEAF, comment=1), (SHRINK, "/".join((*LEAF, "comment")), "dead key", "ignored")),
        (put("NVIDIA H200_SHRINK.json", {}), ("NVIDIA H200_SHRINK.json", "", "file name", "ignored")),
        (put("NVIDIA_H200_EXPAND.json", {}), ("NVIDIA_H200_EXPAND.json", "", "file name", "ignored")),
        (put("NVIDIA_H200_SHRINK_tuned_1.json", {}), ("NVIDIA_H200_SHRINK_tuned_1.json", "", "file name", "ignored")),
    ],
)
def test_a_defect_of_a_dense_file(defect: Callable[[Files], None], expected: tuple[str, ...]) -> None:
    files = sound(plan())
    defect(files)
    assert found(files) == [expected]


def test_a_num_slices_that_one_max_loras_lacks() -> None:
    files = sound(plan())
    files[SHRINK]["9"] = {"1": files[SHRINK]["5"]["1"], "2": files[SHRINK]["5"]["2"]}
    assert found(files) == [(SHRINK, "9", "num_slices missing", "crash at start")]


def test_capitals_are_not_read_by_dense_ops() -> None:
    files = sound(plan())
    leaf = at(files, SHRINK, *LEAF)
    leaf["BLOCK_M"] = leaf.pop("block_m")
    findings, _ = check_folder(write(files), "vllm")
    assert [(f.defect, f.effect) for f in findings] == [("missing key", "crash at start")]
    assert "BLOCK_M is not read" in findings[0].message


def test_a_key_that_stands_twice() -> None:
    files = sound(plan())
    text = json.dumps(files[SHRINK]).replace('"num_warps": 4', '"num_warps": 8, "num_warps": 4', 1)
    files[SHRINK] = text
    assert found(files) == [(SHRINK, "5/1/16/4096/16/num_warps", "key twice", "ignored")]


def test_what_is_alike_but_for_m_is_told_once() -> None:
    files = sound(plan())
    for m in M_VALUES:
        at(files, SHRINK, "5", "1", m, "4096", "16").pop("num_ctas")
    at(files, SHRINK, "5", "1", "64", "12288", "16")["max_nreg"] = 96
    findings, _ = check_folder(write(files), "vllm")
    assert [("/".join(f.key), f.effect) for f in findings] == [
        ("5/1/*/4096/16", "crash at start"),
        ("5/1/1024/4096/16", "crash at request"),
        ("5/1/64/12288/16/max_nreg", "ignored"),
    ]
    assert [f.message.endswith("(m 16, 64)") for f in findings] == [True, False, False]


ALL_M = make(load("Qwen3-32B"), Serving("vllm", 1, 16, 4), Batches(max_num_batched_tokens=131_072)).sizes


def each_with_its_own(count: int, dead: bool = False) -> Files:
    """A shrink file of one shape for the m of the largest plan and more: so many distinct configs, or so it seems."""
    name = "max_nreg" if dead else "group_size_m"
    ms = sorted([*ALL_M, *range(10_000, 10_032)])
    entries = {str(m): {"4096": {"16": VLLM_ENTRY | {name: min(n, count - 1) + 1}}} for n, m in enumerate(ms)}
    return {SHRINK: {"5": dict.fromkeys(("1", "2", "3"), entries)}}


@pytest.mark.parametrize(("count", "reported"), [(2 * len(ALL_M), False), (2 * len(ALL_M) + 1, True)])
def test_many_more_configs_than_any_plan_has_m(count: int, reported: bool) -> None:
    expected = [(SHRINK, "", "many configs", "latency while serving")] if reported else []
    assert found(each_with_its_own(count)) == expected


def test_configs_that_differ_in_what_is_ignored_are_one() -> None:
    assert {defect for _, _, defect, _ in found(each_with_its_own(40, dead=True))} == {"dead key"}


def merged(one: Any, other: Any) -> Any:
    """Two folders, or what stands in them, as one."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return one
    return {key: merged(one.get(key, other.get(key)), other.get(key, one.get(key))) for key in one | other}


def test_a_folder_for_two_models_is_clean_for_each() -> None:
    """The one looks up max_loras 5, the other 9, which has no num_slices 2; and only the other reads experts' files."""
    dense, experts = plan(), plan("Qwen3-30B-A3B", max_loras=8)
    files = merged(sound(dense), sound(experts))
    assert (SHRINK, "9", "num_slices missing", "crash at start") in found(files)
    assert found(files, dense) == []
    assert found(files, experts) == []


@pytest.mark.parametrize("served", [4, 3])
def test_what_a_planned_server_never_reads_is_no_defect(served: int) -> None:
    """A key beside, as for the documented max_loras, with slices, shapes and parameters missing."""
    made = plan(max_loras=served)
    files = sound(made)
    beside = "4" if served == 4 else "5"
    files[SHRINK] |= {beside: {"1": {"16": {"4096": {"16": {"block_m": 16}}, "64": {}}}}}
    files[SHRINK] = ascending(files[SHRINK])
    assert {defect for _, _, defect, _ in found(files)} >= {"num_slices missing", "missing key", "empty object"}
    assert found(files, made) == []


def test_a_planned_server_reads_the_nearest_max_loras() -> None:
    made = plan()
    files = sound(made)
    files[SHRINK] = {"4": files[SHRINK].pop("5"), "9": {}}
    del at(files, SHRINK, "4", *LEAF[1:])["num_warps"]
    told = {(key, defect) for file, key, defect, _ in found(files, made) if file == SHRINK}
    assert ("4/1/16/4096/16", "missing key") in told
    assert not {key for key, _ in told if key.startswith("9")}


EMPTY_SIDE_CAR = {"schema_version": 1, "entries": []}


def test_the_base_models_expert_files_and_our_side_car_are_left_alone() -> None:
    others = {
        "E=128,N=768,device_name=NVIDIA_H200.json": "{",
        "autotune-provenance.json": EMPTY_SIDE_CAR,
    }
    assert found(sound(plan()) | others) == []


@pytest.mark.parametrize(
    ("defect", "expected"),
    [
        (drop(SHRINK, "5", "2"), {("lookup fails", "crash at start")}),
        (
            lambda files: [m.pop("12288") for m in files[SHRINK]["5"]["1"].values()],
            {("another shape's entry", "silent wrong shape")},
        ),
        (drop(EXPAND, "5", "1", "64", "16", "151936"), {("another shape's entry", "silent wrong shape")}),
        (lambda files: files[SHRINK].update({"9": files[SHRINK].pop("5")}), {("another max_loras", "slower")}),
        (lambda files: files.pop(EXPAND), {("no file", "slower")}),
    ],
)
def test_what_a_models_lookups_come_to(defect: Callable[[Files], None], expected: set[tuple[str, str]]) -> None:
    made = plan()
    files = sound(made)
    defect(files)
    before = {(file, key, name) for file, key, name, _ in found(files)}
    new = {(name, effect) for file, key, name, effect in found(files, made) if (file, key, name) not in before}
    assert new == expected


@pytest.mark.parametrize("others", [{}, {"notes.txt": "x", "autotune-provenance.json": EMPTY_SIDE_CAR}])
def test_a_folder_without_files_for_the_server(others: Files) -> None:
    assert found(others) == [(".", "", "no files", "slower")]


def test_a_link_to_nothing_is_no_file_and_stops_no_server(tmp_path: Path) -> None:
    (tmp_path / "NVIDIA_H200_SHRINK.json").symlink_to("nowhere")
    (found,), files = check_folder(tmp_path, "vllm")
    assert (found.defect, found.effect, files) == ("file name", "ignored", 0)


def test_no_folder() -> None:
    with pytest.raises(InputError, match="no such folder"):
        check_folder(Path("nowhere"), "vllm")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["1", "5", "16", "x", "", "-3", "block_m", "num_warps"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=80)
@given(st.dictionaries(st.sampled_from([SHRINK, EXPAND, *MOE]), ANYTHING, max_size=3))
def test_no_content_takes_the_linter_down(tmp_path_factory: pytest.TempPathFactory, files: Files) -> None:
    folder = tmp_path_factory.mktemp("any")
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    check_folder(folder, "vllm", PLAN)


PLAN = plan("Qwen3-30B-A3B")


CASES = Path(__file__).parents[2] / "data" / "cases"


def case_findings(folder: Path) -> list[Finding]:
    return check_folder(folder, "vllm")[0]


@pytest.mark.parametrize("gpu", ["pro6000", "ada6000", "a5000", "gb10"])
def test_entries_that_a_gpu_cannot_hold_crash(gpu: str) -> None:
    found = case_findings(CASES / f"28-shared-memory-{gpu}")
    assert {finding.defect for finding in found} == {"too large"}
    assert {finding.effect for finding in found} == {"crash at start"}
    assert all("101376" in finding.message for finding in found)


def test_a_file_of_state_space_layers_is_read_by_the_server() -> None:
    assert case_findings(CASES / "29-ssm-file-beside") == []


def test_a_general_name_is_no_gpu_of_a_driver() -> None:
    (found,) = case_findings(CASES / "30-generic-device-name")
    assert (found.defect, found.effect) == ("generic GPU name", "ignored")
    assert "NVIDIA H100 80GB HBM3 or NVIDIA H100 PCIe or NVIDIA H100 NVL" in found.message


@pytest.mark.parametrize(
    ("name", "effect"),
    [
        ("num_warps", "ignored"),
        ("num_stages", "ignored"),
        ("num_ctas", "ignored"),
        ("max_nreg", None),
        ("group_size_m", "crash at start"),
        ("split_k", "crash at start"),
        ("block_m", "crash at start"),
    ],
)
def test_null_is_taken_as_the_server_takes_it(tmp_path: Path, name: str, effect: str | None) -> None:
    entry: dict[str, Any] = {**VLLM_ENTRY, "group_size_m": 8, name: None}
    content = {"5": {slices: {"16": {"4096": {"16": entry}}} for slices in ("1", "2", "3")}}
    (tmp_path / "NVIDIA_H200_SHRINK.json").write_text(json.dumps(content))
    assert {finding.effect for finding in case_findings(tmp_path)} == ({effect} if effect else set())
