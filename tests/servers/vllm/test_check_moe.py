"""Each defect of the experts' four files (contracts A1, A6 and A8), put into a sound folder on its own, is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.builders.vllm_folder import (
    EXPERTS,
    M_VALUES,
    MOE,
    Files,
    found,
    plan,
    sound,
)


def blocks(value: int) -> Callable[[Any], None]:
    def do(node: Any) -> None:
        for name, child in node.items():
            if isinstance(child, dict):
                do(child)
            elif name == "block_m":
                node[name] = value

    return do


@pytest.mark.parametrize(
    ("file", "first", "effect"),
    [(2, 0, "silent corruption"), (1, 0, "crash at request"), (3, 2, "crash at request")],
    ids=["w13 and w2", "w13 shrink and expand", "w2 shrink and expand"],
)
def test_one_block_m_for_the_experts(file: int, first: int, effect: str) -> None:
    files = sound(plan("Qwen3-30B-A3B"))
    blocks(64)(files[MOE[file]]["4"]["1" if "W2" in MOE[file] else "2"]["64"])
    assert (MOE[first], "4/*/64", "block_m differs", effect) in found(files)
    assert {key for _, key, _, _ in found(files)} == {"4/*/64"}


def test_block_m_is_compared_as_the_server_finds_it() -> None:
    files = sound(plan("Qwen3-30B-A3B"))
    del files[MOE[2]]["4"]["1"]["64"]
    assert found(files) == []
    blocks(16)(files[MOE[0]]["4"]["2"]["64"])
    blocks(16)(files[MOE[1]]["4"]["2"]["64"])
    assert found(files) == [
        (MOE[0], "4/*/64", "block_m differs", "silent corruption"),
        (MOE[0], "4/*/521", "block_m differs", "silent corruption"),
    ]


def test_a_lone_w13_file_corrupts_w2_unless_it_has_the_default() -> None:
    files = {name: content for name, content in sound(plan("Qwen3-30B-A3B")).items() if name == MOE[0]}
    defects = {(defect, effect) for _, _, defect, effect in found(files)}
    assert defects == {
        ("incomplete set", "slower"),
        ("block_m differs", "silent corruption"),
        ("block_m differs", "crash at request"),
    }
    blocks(64)(files[MOE[0]])
    assert {defect for _, _, defect, _ in found(files)} == {"incomplete set"}


def under(slices: str, file: str) -> Callable[[Files], None]:
    """All entries of a file under another num_slices."""

    def do(files: Files) -> None:
        files[file] = {loras: {slices: entries} for loras, by in files[file].items() for entries in by.values()}

    return do


@pytest.mark.parametrize(
    ("slices", "changed", "expected"),
    [
        ("2", MOE[2:], [(MOE[2], "4"), (MOE[3], "4")]),
        ("3", MOE[:2], [(MOE[0], "4"), (MOE[1], "4")]),
        ("1", MOE[1:2], [(MOE[0], ""), (MOE[1], "")]),
        ("1", MOE[:2], []),
    ],
    ids=["w2 like w13", "of no w13", "shrink and expand differ", "not gated"],
)
def test_num_slices_that_no_server_of_experts_finds(
    slices: str, changed: list[str], expected: list[tuple[str, str]]
) -> None:
    files = sound(plan("Qwen3-30B-A3B"))
    for file in changed:
        under(slices, file)(files)
    assert [each for each in found(files) if each[2] == "num_slices missing"] == [
        (file, key, "num_slices missing", "crash at start") for file, key in sorted(expected)
    ]


def test_with_a_plan_the_lookup_tells_of_num_slices() -> None:
    made = plan("Qwen3-30B-A3B")
    files = sound(made)
    under("2", MOE[2])(files)
    told = {(file, defect, effect) for file, _, defect, effect in found(files, made)}
    assert told == {(MOE[2], "lookup fails", "crash at start")}


@pytest.mark.parametrize(
    ("how", "m", "effect"),
    [
        ({}, "64", None),
        ({"rank": 256}, "64", "crash at start"),
        ({"rank": 256}, "1024", "crash at request"),
        ({"tp": 2, "fully_sharded": True}, "64", "crash at start"),
    ],
    ids=["one kernel", "captured", "prefill", "fully sharded"],
)
def test_what_the_plans_server_does_of_another_block_m_in_expand(
    how: dict[str, Any], m: str, effect: str | None
) -> None:
    made = plan("Qwen3-30B-A3B", **how)
    files = sound(made)
    blocks(64)(files[MOE[1]]["4"]["2"][m])
    assert found(files, made) == ([(MOE[0], f"4/*/{m}", "block_m differs", effect)] if effect else [])


def experts(w13: dict[int, int], w2: dict[int, int]) -> Files:
    """The four files with entries of these ranks, each with its block_m."""
    files: Files = {}
    for name in MOE:
        ranks, slices = (w13, "2") if "W13" in name else (w2, "1")
        entries = {str(k): {"2048": {"768": EXPERTS | {"block_m": b}}} for k, b in ranks.items()}
        files[name] = {"4": {slices: dict.fromkeys(M_VALUES, entries)}}
    return files


@pytest.mark.parametrize(
    ("w13", "w2", "sound"),
    [
        ({16: 32, 64: 128}, {16: 32, 64: 128}, True),
        ({16: 32, 64: 128}, {16: 128, 64: 32}, False),
        ({8: 32, 32: 128}, {16: 32, 64: 128}, True),
        ({8: 32}, {16: 64}, False),
        ({8: 32, 16: 64}, {16: 32}, False),
        ({16: 32}, {24: 64}, False),
        ({24: 32}, {16: 32}, True),
    ],
    ids=["ranks", "ranks swapped", "sharded", "sharded, differing", "sharded and not", "unrelated", "nearest"],
)
def test_block_m_is_compared_where_a_server_may_combine(w13: dict[int, int], w2: dict[int, int], sound: bool) -> None:
    """Fully sharded servers look up a fraction of w2's rank in w13."""
    expected = set() if sound else {(MOE[0], f"4/*/{m}", "block_m differs", "silent corruption") for m in M_VALUES}
    assert set(found(experts(w13, w2))) == expected


def test_a_plan_tells_which_ranks_go_together() -> None:
    files = experts({8: 32, 16: 64}, {8: 32, 16: 64})
    for name in MOE:
        files[name] = json.loads(json.dumps(files[name]).replace('"768"', '"384"'))
    assert found(files) == []
    alone, sharded = (
        plan("Qwen3-30B-A3B", tp=2, fully_sharded=fs, target_modules=("experts",)) for fs in (False, True)
    )
    assert found(files, alone) == []
    at = "max_loras=4/num_slices=2/k=8/n=2048/i=384"
    assert found(files, sharded) == [(MOE[0], at, "block_m differs", "silent corruption")]


def test_experts_without_the_level_of_the_intermediate_size() -> None:
    files = sound(plan("Qwen3-30B-A3B"))
    for m in M_VALUES:
        files[MOE[1]]["4"]["2"][m]["16"]["2048"] = dict(EXPERTS)
    assert {(file, defect, effect) for file, _, defect, effect in found(files)} >= {
        (MOE[1], "too few levels", "crash at start"),
        (MOE[1], "too few levels", "crash at request"),
    }


def test_experts_lack_a_key_silently() -> None:
    files = sound(plan("Qwen3-30B-A3B"))
    del files[MOE[1]]["4"]["2"]["64"]["16"]["2048"]["768"]["num_warps"]
    assert found(files) == [(MOE[1], "4/2/64/16/2048/768", "missing key", "slower")]
