"""All flags that are missing are named at once, in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Cli


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("plan Qwen3-8B", ["--runtime", "--max-loras", "--lora-rank"]),
        ("study create --op-type lora_shrink", ["--hidden-size", "--lora-rank", "--batch-size (or --m-values)"]),
        ("study create --op-type lora_shrink --m-values 16 --hidden-size 64", ["--lora-rank", "--num-loras"]),
        ("study create --op-type csgmv_expand", ["--lora-rank", "--output-dim (or --slice-widths)"]),
        ("study create --op-type fused_moe_lora", ["--hidden-size", "--lora-rank", "--moe-intermediate-size"]),
        ("bench serve Qwen3-8B", ["--max-loras"]),
        ("config diff", ["A", "B"]),
        ("config lookup tuned", ["--runtime", "--op"]),
    ],
)
def test_all_are_named_at_once(cli: Cli, command: str, named: list[str]) -> None:
    refused = cli(command)
    assert refused.exit_code == 2
    (line,) = refused.stderr.splitlines()
    assert "not given" in line
    assert not [name for name in named if name not in line], line


def test_a_single_one_says_what_is_allowed(cli: Cli) -> None:
    refused = cli("study create --op-type lora_shrink --m-values 16 --hidden-size 64 --num-loras 4")
    assert refused.stderr == "Error: --lora-rank: not given; pass --lora-rank <positive integer>\n"


def test_what_else_is_wrong_hides_no_missing_flag(cli: Cli) -> None:
    refused = cli("study create --op-type lora_shrink --hidden-size 64 --dtype float32")
    assert "--lora-rank" in refused.stderr


def test_nothing_to_tune_leads_to_a_model(cli: Cli) -> None:
    for command in ("tune", "study create"):
        refused = cli(command)
        assert "tune --model MODEL" in refused.stderr
        assert "fused_moe_lora," in refused.stderr
