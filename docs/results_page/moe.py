"""Writes the section on fused MoE LoRA in docs/results.md: groups of ops that share one block_m.

It reads what docs/run_moe.sh and docs/run_served_moe.sh left in docs/data.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

from autotune.study.result import GroupResult, StudyResult
from autotune.study.summary import StudySummary
from results_page.runs import environment_text, machine_text, read
from results_page.served import against_no_folder
from results_page.tables import markdown

COLUMNS = (
    "group",
    "ops",
    "configs measured",
    "block_m",
    "default us",
    "tuned us",
    "floor us",
    "of floor",
    "speed-up",
    "at most",
    "tuning took",
)

NOTE = (
    "Times are sums over the ops of a group, from the race of the exported set against vLLM's defaults for a "
    "server with a config folder (block_m 64), our kernels. The floor is the least time to move the bytes of the "
    "experts that are hit. A server of rank 128 or less, not fully sharded, runs the one-shot kernels and reads only "
    "block_m; where it does not sort the tokens (m = 1 here) not even that. `at most` is the speed-up that no config "
    "can exceed: ops of which every config was measured count with their best at a common block_m, the others with "
    "their floor."
)


SERVED_NOTE = (
    "vLLM's own kernels, as it calls them: the default is what it runs with no folder, the base model's tiles, and the "
    "fully sharded groups (fs2) run the two-kernel path at TP 2. Each group beats that, or keeps it."
)


def section(data: Path) -> list[str]:
    """Writes the section on groups of MoE ops; nothing where none has been measured."""
    parts = []
    for file, title, note in (
        ("moe-served.json", "### On vLLM's own kernels", SERVED_NOTE),
        ("moe.json", "### On this project's kernels", NOTE),
    ):
        if (data / file).exists():
            members = read(data / file).studies
            about = f"{note} Machine: {machine_text(members[0])}."
            parts += ["", title, "", about, "", *markdown(COLUMNS, rows(members))]
            if (raced := data / file.replace(".json", "-never-slower.json")).exists():
                parts += ["", against_no_folder(json.loads(raced.read_text())["rows"])]
    parts += alignment(data / "moe-alignment.json")
    return ["", "## Fused MoE LoRA", *parts] if parts else []


def alignment(file: Path) -> list[str]:
    """Writes what sorting pairs for the LoRA of experts costs, a row a batch; nothing where it was not timed."""
    if not file.exists():
        return []
    run = json.loads(file.read_text())
    us = {(row["m"], row["block_m"]): row["us"] for row in run["rows"]}
    ms, block_ms = (sorted(set(keys)) for keys in zip(*us, strict=True))
    whose = "vLLM's own op" if run["of"] == "vllm" else "our own alignment, an upper bound"
    about = (
        f"Each layer of experts sorts its pairs once, for both of its calls, with {whose}, us. Machine: "
        f"{environment_text(run['environment'])}."
    )
    columns = ["m", *(f"block_m {block_m}" for block_m in block_ms)]
    cells = [[str(m), *(f"{us[m, block_m]:.1f}" for block_m in block_ms)] for m in ms]
    return ["", "### What alignment costs", "", about, "", *markdown(columns, cells)]


def rows(members: Sequence[StudySummary]) -> list[list[str]]:
    """Makes one row a group; `members` holds one study of each."""
    return [_row(member.group_result) for member in members if member.group_result]


def _row(group: GroupResult) -> list[str]:
    decision, ops = group.decision, group.members.values()
    default_us, tuned_us = decision.incumbent_us or math.nan, decision.tuned_us
    floor_us = sum(op.floor_us or 0.0 for op in ops)
    measured, configs = sum(map(_measured, ops)), sum(op.configs for op in ops)
    return [
        re.sub(r"^fused_moe_lora-|-NVIDIA_.*$", "", group.group),
        str(len(ops)),
        f"all {configs}" if measured == configs else f"{measured} of {configs}",
        str(group.shared["block_m"]) + (" (default)" if decision.outcome == "default" else ""),
        f"{default_us:.1f}",
        f"{tuned_us:.1f}",
        f"{floor_us:.1f}",
        f"{floor_us / tuned_us:.0%}",
        f"{default_us / tuned_us:.2f}x",
        # A race may find the winner a little faster than its own search did.
        f"{default_us / min(tuned_us, least_us(group)):.2f}x",
        f"{group.wall_s:.0f} s",
    ]


def least_us(group: GroupResult) -> float:
    """Finds what the sum of a group's ops cannot fall below, for any of their configs."""

    def possible_us(op: str, block_m: str) -> float:
        result = group.members[op]
        if _measured(result) < result.configs:
            return result.floor_us or 0.0
        return group.best_us[op].get(block_m, math.inf)

    values = {block_m for best_us in group.best_us.values() for block_m in best_us}
    return min(sum(possible_us(op, block_m) for op in group.members) for block_m in values)


def _measured(result: StudyResult) -> int:
    return sum(result.counts.values())
