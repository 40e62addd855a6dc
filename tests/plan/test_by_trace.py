"""Plans by what a server was seen to look up."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune import servers
from autotune.errors import InputError
from autotune.model import shape
from autotune.plan import by_trace
from autotune.plan.plan import Plan, make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from autotune.servers.trace import read
from autotune.servers.trace_line import SeenLaunches, SeenLookup
from tests.builders.traces import LORAS, RANK, experts, linear, seen, write

CAPTURED = {1, 2, 4, 8, 16, 24, 32}
TOKENS = {16: 700, 13: 200, 4096: 95, 30: 5}


def launches(layers: int = 36) -> SeenLaunches:
    return SeenLaunches(layers, set(CAPTURED), 8192)


def of(tmp_path: Path, lookups: list[SeenLookup], **counted: Any) -> Plan:
    path = tmp_path / "server.jsonl"
    path.unlink(missing_ok=True)
    batches: dict[Any, Any] = {"tokens": TOKENS, **counted}
    write(path, [(each, launches()) for each in lookups], batches)
    return by_trace.make(path, Batches())


def test_the_lookups_are_those_of_the_plan_of_the_same_model(tmp_path: Path) -> None:
    """What vLLM looks up for a model, traced, is planned as the model is."""
    serving = Serving("vllm", 1, RANK, LORAS)
    model = make(shape.look_up("Qwen3-8B"), serving, Batches())
    layers = [linear(4096, 4096, 1024, 1024), linear(4096, 4096), linear(4096, 12288, 12288), linear(12288, 4096)]
    head = linear(4096, 151936, rows="samples")
    wanted = {(each.key, each.kernels, str(sorted(each.flags.items()))) for each in model.shapes}
    found = of(tmp_path, [*itertools.chain(*layers), *head])
    assert {(each.key, each.kernels, str(sorted(each.flags.items()))) for each in found.shapes} == wanted
    assert (found.serving, found.dtype) == (serving, "bfloat16")


def test_experts_are_planned_as_the_model_is(tmp_path: Path) -> None:
    serving = Serving("vllm", 1, RANK, LORAS)
    model = make(shape.look_up("Qwen3-30B-A3B"), serving, Batches())
    of_model = {each.op: each for each in model.shapes if each.op.startswith("fused")}
    dense = linear(2048, 4096, 512, 512)
    found = of(tmp_path, [*dense, *experts(2048, 768, num_experts=128)])
    traced = {each.op: each for each in found.shapes if each.op.startswith("fused")}
    for op, each in of_model.items():
        assert (traced[op].dims, traced[op].kernels, traced[op].min_size) == (each.dims, each.kernels, each.min_size)
        assert dict(traced[op].flags) == dict(each.flags)


def test_m_weigh_what_the_traffic_was_padded_as_graphs_are(tmp_path: Path) -> None:
    found = of(tmp_path, linear(4096, 4096))
    assert found.sizes[16] == pytest.approx(0.9)
    assert found.sizes[4096] == pytest.approx(0.095)
    assert found.sizes[32] == pytest.approx(0.005)
    assert set(found.sizes) == {16, 32, 4096}
    assert [entry.call.dims["m"] for entry in found.entries] == [16, 16, 4096, 4096, 32, 32]
    assert found.entries[0].weight == pytest.approx(0.9)


def test_sampled_rows_weigh_apart_unpadded(tmp_path: Path) -> None:
    lookups = [*linear(4096, 12288), *linear(2048, 151936, rows="samples")]
    found = of(tmp_path, lookups, samples={3: 800, 13: 200})
    own = next(each for each in found.shapes if each.dims["n"] == 151936)
    assert own.shares == pytest.approx({3: 0.8, 13: 0.2})
    at = {entry.call.dims["m"] for entry in found.entries if entry.call.dims["n"] == 151936}
    assert at == {3, 13}
    assert {3, 13} <= set(found.answered)
    (told,) = (each for each in found.to_json()["shapes"] if each["n"] == 151936)
    assert told["sizes"] == {"3": pytest.approx(0.8), "13": pytest.approx(0.2)}


def test_a_key_that_tokens_and_sampled_rows_share_weighs_as_tokens(tmp_path: Path) -> None:
    found = of(tmp_path, [*linear(4096, 4096), *linear(4096, 151936, rows="samples")], samples={3: 10})
    (shared,) = (each for each in found.shapes if each.op == "shrink")
    assert shared.shares is None
    assert shared.count == 72


def test_workers_merge_and_their_order_does_not_matter(tmp_path: Path) -> None:
    plans = []
    for order in ((1, 2), (2, 1)):
        path = tmp_path / "server.jsonl"
        path.unlink(missing_ok=True)
        for rank in order:
            write(path, [(each, launches()) for each in linear(4096, 2048)], {"tokens": TOKENS}, f"host-{rank}")
        plans.append(by_trace.make(path, Batches()))
    assert plans[0].to_json()["shapes"] == plans[1].to_json()["shapes"]
    assert plans[0].name == plans[1].name
    assert {each.count for each in plans[0].shapes} == {36}
    assert plans[0].sizes == of(tmp_path, linear(4096, 2048)).sizes


def test_without_a_batch_all_sizes_weigh_the_same_and_the_plan_says_so(tmp_path: Path) -> None:
    found = by_trace.make(
        write(tmp_path / "t.jsonl", [(each, launches()) for each in linear(64, 64)], {"tokens": {}}), Batches()
    )
    assert set(found.sizes.values()) == {1.0}
    assert set(found.sizes) >= {1, 16, 32, 8192}
    assert any("no batch with an adapter" in line for line in found.warnings)


def test_another_traffic_is_another_plan(tmp_path: Path) -> None:
    names = {of(tmp_path, linear(64, 64)).name, of(tmp_path, linear(64, 64), tokens={1: 1}).name}
    assert len(names) == 2
    assert all(name.startswith(f"server-vllm-tp1-r{RANK}-l{LORAS}-") for name in names)


BAD = {
    "text": "no JSON",
    "[]": "allowed: an object",
    "{}": "process: got None",
    '{"process": "a", "lookup": 1}': "lookup: got 1",
    '{"process": "a\\u001b", "server": "vllm"}': "process",
    '{"process": "a", "server": "vllm", "rows": "tokens", "batches": {"-1": 1}}': "batches",
    '{"process": "a", "server": "vllm", "rows": "tokens", "batches": {"1": 1e9}}': "batches",
    '{"process": "a", "server": "tgi", "rows": "tokens", "batches": {}}': "server: got 'tgi'",
    '{"process": "a", "server": "vllm", "rows": "both", "batches": {}}': "rows: got 'both'",
}


@pytest.mark.parametrize(("line", "part"), BAD.items(), ids=range(len(BAD)))
def test_a_bad_line_is_named(tmp_path: Path, line: str, part: str) -> None:
    path = write(tmp_path / "t.jsonl", [(linear(64, 64)[0], launches())], {})
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(InputError) as caught:
        by_trace.make(path, Batches())
    assert part in str(caught.value)
    assert "line 2" in str(caught.value)
    assert "\n" not in str(caught.value)


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "op": ({"op": "lora"}, "op: got 'lora'"),
    "dims": ({"dims": {"k": 64}}, "needed: k, max_loras, n, num_slices"),
    "zero": (
        {"dims": {"max_loras": 5, "num_slices": 1, "k": 0, "n": 8}},
        "line 1: lookup of shrink: k: got 0, allowed: 1 to 258048",
    ),
    "wide": (
        {"dims": {"max_loras": 5, "num_slices": 1, "k": 1 << 20, "n": 16}},
        "line 1: lookup of shrink: k: got 1048576",
    ),
    "slices": ({"dims": {"max_loras": 5, "num_slices": 99, "k": 64, "n": 16}}, "num_slices: got 99, allowed: 1 to 16"),
    "loras": ({"dims": {"max_loras": 1, "num_slices": 1, "k": 64, "n": 16}}, "max_loras: got 1, allowed: 2 to 65535"),
    "rank": ({"dims": {"max_loras": 5, "num_slices": 1, "k": 64, "n": 24}}, "n: got 24, allowed: the server's rank 16"),
    "text": ({"dims": {"k": "64"}}, "dims"),
    "many": ({"dims": {str(each): 1 for each in range(99)}}, "dims"),
    "dtype": ({"dtype": "float32"}, "dtype: got 'float32'"),
    "details": ({"details": {"slice_widths": [[1]]}}, "details"),
    "release": ({"release": "x" * 999}, "release"),
}


@pytest.mark.parametrize(("change", "part"), CHANGES.values(), ids=CHANGES)
def test_a_lookup_that_no_server_makes_is_refused(tmp_path: Path, change: dict[str, Any], part: str) -> None:
    path = write(tmp_path / "t.jsonl", [(each, launches()) for each in linear(64, 64)], {})
    shrink, expand = map(json.loads, path.read_text().splitlines())
    shrink["lookup"] |= change
    path.write_text(f"{json.dumps(shrink)}\n{json.dumps(expand)}\n")
    with pytest.raises(InputError) as caught:
        by_trace.make(path, Batches())
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("detail", ["num_experts", "top_k_num", "fully_sharded", "expand_add_inputs"])
def test_a_list_in_a_numbers_place_is_refused(tmp_path: Path, detail: str) -> None:
    with pytest.raises(InputError, match=rf"line \d+: lookup of .*: {detail}: got \[1\], allowed: a number"):
        of(tmp_path, [*linear(2048, 2048), *experts(2048, 768, **{detail: (1,)})])


@pytest.mark.parametrize("counted", [{}, {"tokens": TOKENS}])
def test_a_trace_without_a_lookup_says_how_to_get_some(tmp_path: Path, counted: dict[Any, Any]) -> None:
    path = write(tmp_path / "t.jsonl", [], counted)
    path.touch()
    with pytest.raises(InputError, match=r"t\.jsonl holds no lookup; start the server"):
        by_trace.make(path, Batches())


@pytest.mark.parametrize(("tp", "rows", "sound"), [(2, 16, True), (2, 8, True), (2, 4, False), (None, 4, True)])
def test_a_shrink_has_the_rank_or_one_gpus_share_of_it(tmp_path: Path, tp: int | None, rows: int, sound: bool) -> None:
    """Fully sharded, a GPU has rank / TP rows of A (contracts A5); a trace that tells no TP may be of any."""
    told: dict[str, Any] = {} if tp is None else {"tp": tp}
    shared = {"max_loras": LORAS + 1, "num_slices": 1}
    shrinks = [seen("shrink", {**shared, "k": 64, "n": n}, **told) for n in (RANK, rows)]
    expand = seen("expand", {**shared, "k": RANK, "n": 64, "add_inputs": 1}, slice_widths=(64,), **told)
    if sound:
        assert of(tmp_path, [*shrinks, expand]).serving.tp == (tp or 1)
        return
    with pytest.raises(
        InputError, match=r"t?server\.jsonl: line 2: lookup of shrink: n: got 4, allowed: the server's rank"
    ):
        of(tmp_path, [*shrinks, expand])


def test_over_how_many_gpus_a_server_is_shared_out_is_in_its_plan(tmp_path: Path) -> None:
    """As in the plan of the model with these flags."""
    serving = Serving("vllm", 2, RANK, LORAS, expert_parallel=True)
    model = make(shape.look_up("Qwen3-30B-A3B"), serving, Batches())
    wanted = next(each for each in model.shapes if each.op == "fused_moe_lora_w13_shrink")
    told = {"tp": 2, "expert_gpus": 2, "ep": 1}
    found = of(tmp_path, [*linear(2048, 2048, 256, 256, tp=2), *experts(2048, 768, **{**told, "num_experts": 64})])
    (group,) = (each for each in found.shapes if each.op == wanted.op)
    assert (dict(group.dims), dict(group.flags)) == (dict(wanted.dims), dict(wanted.flags))
    spread = experts(2048, 768, **{**told, "expert_gpus": 8})
    (group,) = (each for each in of(tmp_path, [*linear(64, 64, tp=2), *spread]).shapes if each.op == wanted.op)
    assert group.flags["tp"] == 8


def test_servers_of_several_sizes_in_one_file_are_refused(tmp_path: Path) -> None:
    lookups = [each for tp in (1, 2) for each in linear(64, 64, tp=tp)]
    with pytest.raises(InputError, match=r"server\.jsonl holds lookups of tp sizes 1, 2, allowed: those of one server"):
        of(tmp_path, lookups)


def test_releases_of_a_server_in_one_file_are_refused(tmp_path: Path) -> None:
    """The same layers would count twice."""
    lookups = [replace(each, release=release) for release in ("0.32.0", "0.33.0") for each in linear(64, 64)]
    with pytest.raises(
        InputError, match=r"server\.jsonl holds lookups of releases 0\.32\.0, 0\.33\.0, allowed: one; trace each server"
    ):
        of(tmp_path, lookups)


@pytest.mark.parametrize(
    ("flag", "values"), [("fully_sharded", (0, 1)), ("expand_add_inputs", (0, 1)), ("expert_gpus", (2, 4))]
)
def test_runs_with_other_flags_in_one_file_are_refused(tmp_path: Path, flag: str, values: tuple[int, int]) -> None:
    lookups = [*linear(64, 64), *(each for value in values for each in experts(64, 64, **{flag: value}))]
    with pytest.raises(InputError, match=rf"server\.jsonl holds lookups of {flag} {values[0]}, {values[1]}, allowed"):
        of(tmp_path, lookups)


def test_spread_experts_count_once_though_small_batches_alone_show_that_they_are(tmp_path: Path) -> None:
    told = {"tp": 2, "expert_gpus": 2}
    lookups = [*linear(64, 64, tp=2), *experts(2048, 768, **told), *experts(2048, 768, **told, ep=1)]
    group = next(each for each in of(tmp_path, lookups).shapes if each.op == "fused_moe_lora_w13_shrink")
    assert (group.count, group.flags["ep"], group.flags["tp"], group.min_size) == (36, 1, 2, 1)


def test_lookups_of_an_older_plug_in_beside_those_of_a_newer_are_refused(tmp_path: Path) -> None:
    """The same layers would count twice, since the one tells no number of GPUs."""
    with pytest.raises(InputError, match=r"server\.jsonl: line 1: lookup without tp, .* each server into a file"):
        of(tmp_path, [*linear(64, 64), *linear(64, 64, tp=2)])


def test_sglang_lookups_of_an_older_plug_in_beside_those_of_a_newer_are_refused(tmp_path: Path) -> None:
    dims = (("K", 64), ("R", 16), ("S", 1))
    told: list[tuple[tuple[str, int | tuple[int, ...]], ...]] = [(), (("tp", 2),)]
    lookups = [
        SeenLookup("sglang", "0.5.23", "shrink", dims, (("num_loras", 4), *each), "bfloat16", "tokens") for each in told
    ]
    path = write(tmp_path / "t.jsonl", [(each, SeenLaunches(1, {16}, 16)) for each in lookups], {})
    with pytest.raises(InputError, match=r"t\.jsonl: line 1: lookup without tp, .* each server into a file"):
        by_trace.make(path, Batches())


@pytest.mark.parametrize(
    ("workload", "told"),
    [(None, "timed on prompts and decode batches together"), ("prefill", "launch decode batches"), ("mixed", "")],
)
def test_which_batches_sglangs_kernels_are_timed_on_is_told(tmp_path: Path, workload: str | None, told: str) -> None:
    """As of a model's plan."""
    dims = (("K", 64), ("R", 16), ("S", 1))
    lookup = SeenLookup("sglang", "0.5.23", "shrink", dims, (("num_loras", 4),), "bfloat16", "tokens")
    path = write(tmp_path / "t.jsonl", [(lookup, SeenLaunches(1, {16}, 16))], {})
    plan = by_trace.make(path, Batches(workload=workload))
    assert [told in line for line in plan.warnings[1:]] == [True] * bool(told)


def test_a_rank_that_no_server_has_is_told_of_the_lookup_that_has_it(tmp_path: Path) -> None:
    shared = {"max_loras": LORAS + 1, "num_slices": 1}
    shrink = seen("shrink", {**shared, "k": 64, "n": 16})
    expand = seen("expand", {**shared, "k": 24, "n": 64, "add_inputs": 1}, slice_widths=(64,))
    with pytest.raises(InputError, match=r"line 2: lookup of expand: k: got 24, allowed as the server's rank: 1, 8"):
        of(tmp_path, [shrink, expand])


@pytest.mark.parametrize(
    ("slices", "i", "w2", "width"),
    [(2, 768, 768, 768), (1, 1536, 768, 768), (1, 768, 768, 768), (1, 1536, None, None), (1, 1536, 512, None)],
    ids=["apart", "merged", "no gate", "w2 unseen", "w2 of others"],
)
def test_the_base_experts_are_as_wide_as_w2(
    tmp_path: Path, slices: int, i: int, w2: int | None, width: int | None
) -> None:
    """By their width the server chooses block_m; w13 may have gate and up in one slice of twice that (A17)."""
    shrink, expand = experts(2048, i)[:2]
    dims = {**dict(shrink.dims), "num_slices": slices}
    w13 = [seen(each.op, dims, **dict[str, Any](each.details)) for each in (shrink, expand)]
    found = of(tmp_path, [*linear(64, 64), *w13, *(experts(2048, w2)[2:] if w2 else ())])
    (own,) = (each for each in found.shapes if each.op == shrink.op)
    assert [each.flags["base_intermediate_size"] for each in own.together] == ([] if width is None else [width])


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"captured": [1 << 30]}, "captured: got [1073741824], allowed: a list of sizes up to 16777216"),
        ({"largest": 1 << 30}, "largest: got 1073741824, allowed: an integer from 0 to 16777216"),
    ],
)
def test_a_batch_that_no_server_runs_is_refused(tmp_path: Path, change: dict[str, Any], part: str) -> None:
    path = write(tmp_path / "t.jsonl", [(each, launches()) for each in linear(64, 64)], {})
    path.write_text(json.dumps(json.loads(path.read_text().splitlines()[0]) | change))
    with pytest.raises(InputError) as caught:
        by_trace.make(path, Batches())
    assert str(caught.value) == f"--trace: {path}: line 1 {part}; take the line out, or trace again"


CSGMV: dict[str, tuple[dict[str, Any], str]] = {
    "wide": (
        {"dims": {"K": 1 << 21, "R": 16, "S": 1}},
        "line 1: lookup of shrink: K: got 2097152, allowed: 1 to 1048576",
    ),
    "rank": ({"dims": {"K": 64, "R": 9000, "S": 1}}, "R: got 9000, allowed: 1 to 8192"),
    "slices": ({"dims": {"K": 64, "R": 16, "S": 17}}, "S: got 17, allowed: 1 to 16"),
    "none": ({"details": {}}, "details: got none, needed: num_loras"),
    "adapters": ({"details": {"num_loras": 1 << 20}}, "num_loras: got 1048576, allowed: 1 to 65535"),
    "list": ({"details": {"num_loras": [1]}}, "num_loras: got [1], allowed: a number"),
}


@pytest.mark.parametrize(("change", "part"), CSGMV.values(), ids=CSGMV)
def test_a_lookup_that_no_sglang_makes_is_refused(tmp_path: Path, change: dict[str, Any], part: str) -> None:
    details = (("num_loras", 4), ("tp", 2))
    lookup = SeenLookup("sglang", "0.5.23", "shrink", (("K", 64), ("R", 16), ("S", 1)), details, "float16", "tokens")
    path = write(tmp_path / "t.jsonl", [(lookup, SeenLaunches(28, set(), 16))], {})
    assert by_trace.make(path, Batches()).serving.tp == 2
    line = json.loads(path.read_text())
    path.write_text(json.dumps(line | {"lookup": line["lookup"] | change}))
    with pytest.raises(InputError) as caught:
        by_trace.make(path, Batches())
    assert part in str(caught.value)


def test_two_servers_in_one_file_are_refused(tmp_path: Path) -> None:
    other = [
        SeenLookup(**{**vars(each), "dims": (*each.dims[:2], ("k", 32), *each.dims[3:])}) for each in linear(64, 64)
    ]
    with pytest.raises(InputError, match="ranks 16, 32"):
        of(tmp_path, [*linear(64, 64), *other])


@given(
    text=st.one_of(st.text(max_size=300), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
)
def test_nothing_but_a_plan_or_one_line_comes_of_any_file(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("any") / "t.jsonl"
    path.write_text(text, errors="replace")
    with pytest.raises(InputError):
        read(path, {"vllm": servers.get("vllm").command_line.ops})
