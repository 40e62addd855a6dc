"""A plan's studies, their order, and what its files must answer."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from autotune import servers
from autotune.errors import InputError
from autotune.model.shape import load
from autotune.plan.plan import Plan, make
from autotune.servers.batches import Batches
from autotune.servers.planning import ReadOff
from autotune.servers.serving import Serving
from autotune.servers.vllm.captures import capture_sizes
from autotune.servers.vllm.sizes import auto_m_values

LADDER = auto_m_values(capture_sizes(256, 8192), 8192)


def plan(server: str = "vllm", **batches: object) -> Plan:
    serving = Serving(server, 1, 16, 4)
    return make(load("Qwen3-8B"), serving, Batches(**batches))  # type: ignore[arg-type]


def test_traffic_orders_the_studies() -> None:
    entries = plan(traffic={64: 1.0, 1: 2.0, 4096: 1.5}).entries
    assert list(dict.fromkeys(entry.call.dims["m"] for entry in entries)) == [1, 4096, 64]


def test_the_files_also_hold_the_m_that_traffic_leaves_untuned() -> None:
    for made in (plan(traffic={16: 1.0}), plan(m_values=(16,))):
        assert dict(made.sizes) == {16: 1.0}
        assert made.answered == LADDER
        assert {call.dims["m"] for call in made.required} == set(LADDER)
    assert plan(m_values=(100,)).answered == tuple(sorted({*LADDER, 100}))
    assert plan("sglang", max_lora_chunk_size=128, chunk_sizes=(16,)).answered == (16, 32, 128)


def test_the_experts_files_hold_them_too_where_they_are_tuned() -> None:
    # Eight experts each of up to 16 tokens are too few pairs to be sorted: nobody reads an entry there, but the
    # sorted batches near it would.
    for name, found in (("Qwen3-30B-A3B", {m for m in LADDER if m > 16}), ("GPT-OSS-20B", set())):
        made = make(load(name), Serving("vllm", 1, 16, 8), Batches(m_values=(64,)))
        assert {call.dims["m"] for call in made.required if "fused_moe" in call.op} == found


def test_neighbours_follow_each_other_without_traffic() -> None:
    entries = plan(m_values=(1, 16, 64)).entries
    steps = [b.call.op == a.call.op and b.call.dims["m"] > a.call.dims["m"] for a, b in itertools.pairwise(entries)]
    assert steps.count(False) == len(plan().shapes) - 1


def test_lm_head_is_tuned_for_the_rows_that_are_sampled() -> None:
    found = [e.call.dims["m"] for e in plan(max_num_seqs=64).entries if e.layers == ("lm_head",)]
    assert max(found) == 64


def test_experts_are_not_tuned_where_they_are_not_sorted() -> None:
    made = make(load("Qwen3-30B-A3B"), Serving("vllm", 1, 16, 8), Batches(m_values=(1, 16, 32, 64)))
    assert [e.call.dims["m"] for e in made.entries if "moe" in e.kernel] == [32, 64]
    assert any("at m = 1, 16 (up to 16)" in line for line in made.warnings)
    assert {e.studies for e in made.entries if "moe" in e.kernel} == {2}
    assert not any("block_m 64" in line for line in made.warnings)


def test_where_none_are_tuned_what_a_folder_does_to_larger_batches_is_told() -> None:
    made = make(load("Qwen3-30B-A3B"), Serving("vllm", 1, 16, 8), Batches(m_values=(1, 16)))
    (line,) = (line for line in made.warnings if "not even block_m is read" in line)
    assert "with a config folder the server runs larger batches with block_m 64" in line


def test_high_ranks_take_all_four_kernels_of_the_experts() -> None:
    made = make(load("Qwen3-30B-A3B"), Serving("vllm", 1, 256, 8), Batches(m_values=(1, 16)))
    assert [(e.call.dims["m"], e.studies) for e in made.entries if "moe" in e.kernel] == [(1, 4), (16, 4)]


def test_advice_follows_from_the_flags() -> None:
    def advised(**how: object) -> str:
        given = {"server": "vllm", "tp": 1, "rank": 16, "max_loras": 4} | how
        return " ".join(make(load("Qwen3-8B"), Serving(**given), Batches()).advice)  # type: ignore[arg-type]

    assert "--enforce-eager" in advised()
    assert "--lora-target-modules" in advised()
    assert "--lora-target-modules" not in advised(target_modules=("o_proj",))
    assert "Rank 256" in advised(rank=256)
    assert "--max-loras 32" in advised(max_loras=32)
    assert "--max-lora-chunk-size" in advised(server="sglang")


def test_groups_are_raced_where_they_are_read() -> None:
    made = make(load("Qwen3-30B-A3B"), Serving("vllm", tp=1, rank=16, max_loras=4), Batches(m_values=(16, 64)))
    of_group = [entry.call.dims["m"] for entry in made.races if entry.kernel == "fused_moe_lora"]
    dense = {entry.call.dims["m"] for entry in made.races if entry.kernel == "lora_shrink"}
    assert of_group == sorted(m for m in dense if m > 8), "up to 8 tokens no config is read"
    assert len(of_group) > 3


@pytest.mark.parametrize("name", ["Qwen3-30B-A3B", "GPT-OSS-20B", "Qwen3-8B"])
def test_what_to_mind_is_told_of_models_that_the_tables_do_not_know(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed server's own classes may; then all that follows from the lookups is told as of any other model."""
    serving, batches = Serving("vllm", 1, 16, 8), Batches(m_values=(1, 64))
    known = make(load(name), serving, batches)
    planner = type(servers.get("vllm").planner)
    monkeypatch.setattr(planner, "read_off", lambda *_: ReadOff(known.shapes, ("by its classes",), None))
    unknown = replace(load(name), config={"architectures": ["BrandNewForCausalLM"], "model_type": "brand_new"})
    with pytest.raises(InputError):
        make(unknown, serving, batches)
    made = make(unknown, serving, batches, road="server")
    told = servers.get("vllm").planner.warnings(load(name), serving, batches, known.shapes, known.sizes)
    assert told
    assert not [line for line in told if line not in made.warnings]


@pytest.mark.parametrize(
    ("modules", "told"),
    [
        (None, "Qwen3-8B: comes to no lookup, since vllm wraps none of its layers for LoRA; plan another model"),
        (("o_proj",), "--target-modules: got o_proj, none of which Qwen3-8B has on this server; leave it out"),
    ],
)
def test_a_flag_is_blamed_for_a_plan_without_lookups_only_where_it_is_given(
    modules: tuple[str, ...] | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(servers.get("vllm").planner), "read_off", lambda *_: ReadOff((), (), None))
    serving = replace(Serving("vllm", 1, 16, 8), target_modules=modules)
    with pytest.raises(InputError, match=f"^{told}"):
        make(load("Qwen3-8B"), serving, Batches(), road="server")
