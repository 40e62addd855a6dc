"""Writes the section on vLLM's dense kernels in docs/results.md: what tuning ours gives, and where the time went.

It reads what docs/run_results.sh left in docs/data: the studies of each GPU, and sweeps of whole spaces.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autotune.report.tables import config_text
from autotune.study.summary import StudySummary
from results_page.runs import Run, finished, label, machine_text, read
from results_page.tables import markdown

# Best of vLLM 0.33.0's own kernel on the same problem: studies/recorded, measured the same way on the same GPU model.
RECORDED_BEST_US = {
    "lora_shrink-m16-k5120-n16-s1-l4-float16": 4.63,
    "lora_expand-m16-k16-n5120-s1-l4-float16": 3.51,
    "lora_shrink-m8192-k8192-n64-s2-l8-float16": 93.9,
}
_PARTS = ("wall", "compile_wait", "measure", "search", "storage", "finalists")


def section(data: Path) -> list[str]:
    """Writes the tables of every GPU, and the search beside sweeps."""
    runs = [read(file) for file in sorted(data.glob("studies-*.json"))]
    sweeps = [json.loads(file.read_text()) for file in sorted(data.glob("sweep-*.json"))]
    return [
        "",
        "## Our kernels of vLLM's dense ops",
        "",
        "The kernels are the built-in ones. Times are medians of an interleaved race of CUDA-graph replays, "
        "zeroing included.",
        *(line for run in runs for line in gpu_lines(run)),
        "",
        "## The search beside an exhaustive sweep",
        *(line for sweep in sweeps for line in ["", *sweep_table(sweep)]),
    ]


def gpu_lines(run: Run) -> list[str]:
    """Makes one GPU's tables."""
    studies = run.studies
    bandwidth = next(study.result.bandwidth_bytes_per_s or 0.0 for study in studies if study.result) / 1e12
    note = f" {run.about['note']}" if "note" in run.about else ""
    lines = ["", f"### {studies[0].spec.environment.gpu}", ""]
    lines += [f"Machine: {machine_text(studies[0])}, device-to-device copy {bandwidth:.2f} TB/s.{note}"]
    return [*lines, "", *tuned_table(studies), "", *wall_table(studies), *recorded_table(studies)]


def tuned_table(studies: list[StudySummary]) -> list[str]:
    rows = []
    for study, result in finished(studies):
        decision = result.decision
        tuned = decision.outcome == "tuned"
        rows.append(
            [
                label(study),
                f"{decision.incumbent_us:.2f}",
                f"{decision.tuned_us:.2f}",
                f"{decision.speedup:.2f}x",
                f"{result.floor_us:.2f}",
                f"{result.of_floor:.0%}",
                config_text(decision.config) if tuned else "the default, nothing is faster beyond the noise",
            ]
        )
    columns = ["problem", "default us", "tuned us", "speed-up", "floor us", "of floor", "config"]
    return markdown(columns, rows)


def wall_table(studies: list[StudySummary]) -> list[str]:
    rows = []
    for study, result in finished(studies):
        counts = result.counts
        failed = sum(n for status, n in counts.items() if status not in ("ok", "pruned"))
        rows.append(
            [
                label(study),
                str(result.configs),
                str(counts.get("ok", 0)),
                str(counts.get("pruned", 0)),
                str(failed),
                *(f"{result.seconds[part]:.1f}" for part in _PARTS),
            ]
        )
    columns = ["problem", "space", "measured", "pruned", "failed", "wall s", *_PARTS[1:]]
    note = (
        "`compile_wait` is the time in which nothing could be measured because no config was compiled; the rest of "
        "compiling runs during measuring. `measure` includes making the inputs."
    )
    return ["Where the time went:", "", *markdown(columns, rows), "", note]


def recorded_table(studies: list[StudySummary]) -> list[str]:
    """Compares with vLLM's kernel, on the GPU where that was recorded."""
    if studies[0].spec.environment.gpu != "NVIDIA H200":
        return []
    rows = []
    for study, result in finished(studies):
        if (best_us := RECORDED_BEST_US.get(label(study))) is not None:
            tuned_us = result.decision.tuned_us
            rows.append([label(study), f"{best_us:.2f}", f"{tuned_us:.2f}", f"{tuned_us / best_us:.2f}"])
    columns = ["problem", "vLLM's kernel, best recorded us", "built-in, tuned us", "ratio"]
    return ["", "Beside vLLM's own kernel:", "", *markdown(columns, rows)]


def sweep_table(sweep: dict[str, Any]) -> list[str]:
    """Compares the default search with measuring everything."""
    rows = []
    for name in ("search", "sweep"):
        seconds, statuses = sweep[name]["seconds"], sweep[name]["statuses"]
        failed = sum(n for status, n in statuses.items() if status not in ("ok", "pruned"))
        parts = [f"{seconds[part]:.1f}" if part in seconds else "-" for part in _PARTS]
        rows.append([name, str(sweep[name]["measured"]), str(failed), *parts])
    race = sweep["race"]
    environment = sweep["environment"]
    problem = ", ".join(f"{name} {value}" for name, value in sweep["problem"].items())
    return [
        f"{sweep['kernel']} ({problem}), {sweep['configs']} configs, one run on {environment['gpu']}, both with an "
        "empty compile cache:",
        "",
        *markdown(["", "configs", "failed", "wall s", *_PARTS[1:]], rows),
        "",
        f"The search took {sweep['times_faster']:.1f} times less wall time than the sweep. "
        f"Its winner and the sweep's best eight were then raced, {race['rounds']} interleaved rounds: the winner takes "
        f"{race['winner_us']:.2f} us, the fastest of these {len(race['entrants'])} {race['fastest_us']:.2f} us; "
        f"paired ratio {race['winner_over_fastest']:.4f}.",
    ]
