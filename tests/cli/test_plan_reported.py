"""Plans that users' reports tripped over, each with what the server looks up, or why it refuses.

Right values are those of vLLM 0.33.0's own classes and of SGLang 0.5.23's code.
"""

from __future__ import annotations

import json
import re
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
        names = (
            ("K", "S") if "K" in each else ("num_slices", "k", "n", "i") if "i" in each else ("num_slices", "k", "n")
        )
        found.add((op, *(each[name] for name in names)))
    return found


def linear(k: int, *widths: int) -> Lookups:
    slices = len(widths)
    return {("shrink", slices, k, 16), ("expand", slices, 16, max(widths))}


def head(width: int, hidden: int) -> Lookups:
    return linear(hidden, width)


def experts(hidden: int, width: int, slices: int = 2, w13: int | None = None) -> Lookups:
    gate_up = {(f"w13_{op}", slices, 16, hidden, w13 or width) for op in ("shrink", "expand")}
    return gate_up | {(f"w2_{op}", 1, 16, hidden, width) for op in ("shrink", "expand")}


QWEN3_MOE = linear(2048, 4096, 512, 512) | linear(4096, 2048)
GPT_OSS = linear(2880, 4096, 512, 512) | linear(4096, 2880) | linear(2880, 32)

PLANNED: dict[str, tuple[str, str, Lookups]] = {
    "3D experts are one matrix": (
        "qwen3-vl-30b-a3b",
        "",
        QWEN3_MOE | head(151936, 2048) | experts(2048, 768, 1, 1536),
    ),
    "Qwen2 has no embedding modules": (
        "qwen2.5-7b",
        "",
        linear(3584, 3584, 512, 512) | linear(3584, 3584) | linear(3584, 18944, 18944) | linear(18944, 3584),
    ),
    "GLM-4 MoE calls its gate": (
        "glm-4.5-air",
        "",
        linear(4096, 12288, 1024, 1024)
        | linear(12288, 4096)
        | linear(4096, 10944, 10944)
        | linear(10944, 4096)
        | linear(4096, 1408, 1408)
        | linear(1408, 4096)
        | linear(4096, 128)
        | experts(4096, 1408),
    ),
    "Starcoder2 has no gate_proj": (
        "starcoder2-7b",
        "",
        linear(4608, 4608, 512, 512) | linear(4608, 4608) | linear(4608, 18432) | linear(18432, 4608),
    ),
    "ChatGLM has a single qkv": (
        "chatglm3-6b",
        "",
        linear(4096, 4608) | linear(4096, 4096) | linear(4096, 27392) | linear(13696, 4096),
    ),
    "Granite hybrid without mamba layers": (
        "granite-4.0-micro",
        "",
        linear(2560, 2560, 512, 512)
        | linear(2560, 2560)
        | linear(2560, 16384)
        | linear(8192, 2560)
        | head(100352, 2560),
    ),
    "Qwen3-Next's attention alone": (
        "qwen3-next-80b",
        "--target-modules q_proj,k_proj,v_proj,o_proj",
        linear(2048, 8192, 512, 512) | linear(4096, 2048),
    ),
    "latent attention, whose gate the runner calls": (
        "deepseek-v2-lite",
        "",
        linear(2048, 3072)
        | linear(2048, 576)
        | linear(512, 4096)
        | linear(2048, 2048)
        | linear(2048, 10944, 10944)
        | linear(10944, 2048)
        | linear(2048, 2816, 2816)
        | linear(2816, 2048)
        | experts(2048, 1408),
    ),
    "a named module is wrapped though embedding_modules is empty": (
        "mistral-7b-v0.3",
        "--target-modules lm_head",
        head(32768, 4096),
    ),
    "the same of gpt-oss": (
        "gpt-oss-20b",
        "--target-modules o_proj,lm_head",
        linear(4096, 2880) | head(201088, 2880),
    ),
    "mixed formats of experts": (
        "gpt-oss-20b",
        "--enable-mixed-moe-lora-format",
        GPT_OSS | experts(2880, 2880),
    ),
    "shared outer matrices of experts": (
        "gpt-oss-20b",
        "--enable-moe-shared-loras",
        GPT_OSS | experts(2880, 2880),
    ),
    "neither": ("gpt-oss-20b", "", GPT_OSS | experts(2880, 2880, 1, 5760)),
    "LLaVA leaves Llama's defaults out": (
        "llava-1.5-7b",
        "",
        linear(4096, 4096, 4096, 4096)
        | linear(4096, 4096)
        | linear(4096, 11008, 11008)
        | linear(11008, 4096)
        | head(32064, 4096),
    ),
    "lists of equal numbers": (
        "hunyuan-a13b",
        "",
        linear(4096, 4096, 1024, 1024)
        | linear(4096, 4096)
        | linear(4096, 3072, 3072)
        | linear(3072, 4096)
        | linear(4096, 64)
        | experts(4096, 3072),
    ),
    "ERNIE's first MoE layer": (
        "ernie-4.5-21b-a3b",
        "",
        linear(2560, 2560, 512, 512)
        | linear(2560, 2560)
        | linear(2560, 12288, 12288)
        | linear(12288, 2560)
        | linear(2560, 3072, 3072)
        | linear(3072, 2560)
        | linear(2560, 64)
        | experts(2560, 1536),
    ),
    "OPT's ffn_dim": (
        "opt-6.7b",
        "",
        linear(4096, 4096, 4096, 4096) | linear(4096, 4096) | linear(4096, 16384) | linear(16384, 4096),
    ),
    "LFM2's adjusted width, and no conv1d": (
        "lfm2-1.2b",
        "",
        linear(2048, 2048, 512, 512)
        | linear(2048, 2048, 2048, 2048)
        | linear(2048, 2048)
        | linear(2048, 8192, 8192)
        | linear(8192, 2048)
        | head(65536, 2048),
    ),
}
"""By case, a config, further flags, and what vLLM looks up."""


@pytest.mark.parametrize(("config", "flags", "right"), PLANNED.values(), ids=PLANNED)
def test_vllm_looks_up_just_this(cli: Cli, config: str, flags: str, right: Lookups) -> None:
    found = looked_up(cli.ok("plan", CONFIGS / f"{config}.json", VLLM, "--lora-rank 16 --json", flags))
    assert found == right


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
    assert looked_up(cli.ok(flags, "--tp 2", VLLM)) == head(32003, 4096)
