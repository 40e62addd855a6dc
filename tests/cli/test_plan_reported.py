"""Plans that users' reports tripped over, each with what the server looks up, or why it refuses.

Right values are those of vLLM 0.33.0's own classes and of SGLang 0.5.23's code.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli

DATA = Path(__file__).parents[1] / "data"
CONFIGS, ADAPTERS = DATA / "vllm_wrapped" / "configs", DATA / "cases"
VLLM = "--runtime vllm --max-loras 4 --from-tables"
SGLANG = "--runtime sglang --max-loras 4"

Lookups = set[tuple[Any, ...]]


def looked_up(printed: str) -> Lookups:
    """Returns op, slices, k, n and of experts i; of SGLang op, K and S."""
    found = set()
    for each in json.loads(printed)["shapes"]:
        op = each["op"].removeprefix("fused_moe_lora_")
        found.add((op, *(each[name] for name in ("K", "S", "num_slices", "k", "n", "i") if name in each)))
    return found


def linear(k: int, *widths: int) -> Lookups:
    slices = len(widths)
    return {("shrink", slices, k, 16), ("expand", slices, 16, max(widths))}


def experts(hidden: int, width: int, slices: int = 2, w13: int | None = None) -> Lookups:
    gate_up = {(f"w13_{op}", slices, 16, hidden, w13 or width) for op in ("shrink", "expand")}
    return gate_up | {(f"w2_{op}", 1, 16, hidden, width) for op in ("shrink", "expand")}


def right(case: Mapping[str, Any]) -> Lookups:
    """Returns the lookups of a case of reported_plans.toml."""
    found = [linear(*layer) for layer in case["linear"]]
    if "experts" in case:
        found.append(experts(*case["experts"]))
    if "experts_3d" in case:
        hidden, width = case["experts_3d"]
        found.append(experts(hidden, width, slices=1, w13=2 * width))
    return set().union(*found)


PLANNED = tomllib.loads((DATA / "reported_plans.toml").read_text())


@pytest.mark.parametrize("case", PLANNED.values(), ids=PLANNED)
def test_vllm_looks_up_just_this(cli: Cli, case: Mapping[str, Any]) -> None:
    config, flags = CONFIGS / f"{case['config']}.json", case.get("flags", "")
    assert looked_up(cli.ok("plan", config, VLLM, "--lora-rank 16 --json", flags)) == right(case)


REFUSED: dict[str, tuple[str, str, str]] = {
    "fully sharded and spread experts": (
        "qwen3-30b-a3b",
        "--tp 2 --fully-sharded --ep",
        "no --enable-expert-parallel together with --fully-sharded-loras",
    ),
    "more than 258048 columns": ("big-vocab-qwen3", "", "vocab size must be <= 258048"),
    "names of experts' projections": (
        "qwen3-30b-a3b",
        "--target-modules gate_proj,up_proj,down_proj",
        "it wraps by qkv_proj, q_proj, k_proj, v_proj, o_proj, experts",
    ),
    "a class without LoRA": ("mimo-v2-flash", "", "does not implement SupportsLoRA"),
}
"""By case, a config, further flags, and what the server says."""


@pytest.mark.parametrize(("config", "flags", "why"), REFUSED.values(), ids=REFUSED)
def test_vllm_refuses_and_so_does_the_plan(cli: Cli, config: str, flags: str, why: str) -> None:
    result = cli("plan", CONFIGS / f"{config}.json", VLLM, "--lora-rank 16", flags)
    assert result.exit_code == 2
    assert why in result.output


def test_experts_need_not_divide_among_the_gpus_that_they_are_spread_over(cli: Cli) -> None:
    config = CONFIGS / "qwen1.5-moe-a2.7b.json"
    found = looked_up(cli.ok("plan", config, VLLM, "--lora-rank 16 --json --tp 8 --ep"))
    assert {each for each in found if each[0].startswith("w")} == experts(2048, 1408)


@pytest.mark.parametrize("name", ["dora", "mts", "pissa", "bias", "exclude", "loha"])
def test_vllm_loads_no_such_adapter(cli: Cli, name: str) -> None:
    result = cli("plan Qwen3-8B", VLLM, "--lora-path", ADAPTERS / f"21-adapter-{name}")
    assert result.exit_code == 2
    assert "is refused by vLLM" in result.output


QWEN3_8B = {
    *(("shrink", 4096, slices) for slices in (1, 2, 3)),
    ("shrink", 12288, 1),
    ("expand", 6144, 3),
    ("expand", 4096, 1),
    ("expand", 24576, 2),
}


@pytest.mark.parametrize(
    "flags",
    [f"--lora-path {ADAPTERS / '22-sglang-all-linear'}", "--lora-rank 16 --target-modules all"],
    ids=["an adapter on all-linear", "--target-modules all"],
)
def test_sglang_finds_the_head_too(cli: Cli, flags: str) -> None:
    printed = cli.ok("plan Qwen3-8B --json", SGLANG, flags)
    assert looked_up(printed) == {*QWEN3_8B, ("expand", 151936, 1)}
    layers = {label for each in json.loads(printed)["shapes"] for label in each["layers"]}
    assert {"embed_tokens", "lm_head"} <= layers


@pytest.mark.parametrize(
    ("case", "model", "why"),
    [
        ("23-sglang-regex-adapter", "Qwen3-8B", "target_modules is the pattern"),
        ("24-sglang-gate-target", "Qwen3-30B-A3B", "gate: get_hidden_dim not implemented"),
    ],
)
def test_sglang_loads_no_such_adapter(cli: Cli, case: str, model: str, why: str) -> None:
    result = cli("plan", model, SGLANG, "--lora-path", ADAPTERS / case)
    assert result.exit_code == 2
    assert why in result.output


def test_sglangs_spread_experts_leave_dense_lookups_as_they_are(cli: Cli) -> None:
    plain = cli.ok("plan Qwen3-30B-A3B --json --lora-rank 16 --tp 2", SGLANG)
    spread = cli.ok("plan Qwen3-30B-A3B --json --lora-rank 16 --tp 2 --ep", SGLANG)
    right = {("shrink", 2048, 3), ("expand", 2560, 3), ("shrink", 2048, 1), ("expand", 2048, 1)}
    assert looked_up(plain) == looked_up(spread) == right


def test_gemma_3ns_list_of_widths_is_uniform(cli: Cli) -> None:
    config = CONFIGS / "gemma-3n-e4b.json"
    assert looked_up(cli.ok("plan", config, "--json --lora-rank 16", SGLANG)) == {
        ("shrink", 2048, 3),
        ("expand", 3072, 3),
        ("shrink", 2048, 1),
        ("expand", 2048, 1),
        ("shrink", 2048, 2),
        ("expand", 32768, 2),
        ("shrink", 16384, 1),
    }
    for names in ("all", "q_proj,lm_head"):
        result = cli("plan", config, "--lora-rank 16 --target-modules", names, SGLANG)
        assert result.exit_code == 2
        assert re.search(r"lm_head: SGLang's class of Gemma3nForConditionalGeneration has no size", result.output)


def test_the_last_gpu_has_what_is_left_of_the_vocabulary(cli: Cli) -> None:
    flags = "plan Qwen3-8B --json --lora-rank 16 --target-modules lm_head --set vocab_size=32003"
    assert looked_up(cli.ok(flags, "--tp 2", SGLANG)) == {
        ("shrink", 4096, 1),
        ("expand", 16032, 1),
        ("expand", 15971, 1),
    }
    assert looked_up(cli.ok(flags, "--tp 2", VLLM)) == linear(4096, 32003)
