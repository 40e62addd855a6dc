"""Writes docs/results.md, and the table in README.md, from the data that docs/run_serve.sh, docs/run_results.sh,
docs/run_csgmv.sh, docs/run_moe.sh, docs/run_plan.sh and docs/run_served.py left in docs/data.

PYTHONPATH=. python docs/make_results.py
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import make_csgmv
import make_moe
import make_plan
import make_serve
import make_served

from autotune.contract.converter import from_json
from autotune.report.tables import config_text
from autotune.study.result import Decision, StudyResult
from autotune.study.summary import StudySummary

DOCS = Path(__file__).parent
# Best of vLLM 0.33.0's own kernel on the same problem: studies/recorded, measured the same way on the same GPU model.
RECORDED_BEST_US = {
    "lora_shrink-m16-k5120-n16-s1-l4-float16": 4.63,
    "lora_expand-m16-k16-n5120-s1-l4-float16": 3.51,
    "lora_shrink-m8192-k8192-n64-s2-l8-float16": 93.9,
}

_PARTS = ("wall", "compile_wait", "measure", "search", "storage", "finalists")


@dataclass(frozen=True)
class Run:
    """What one script left in docs/data.

    Attributes:
        name: The file's, without its ending.
        about: All that it says besides the studies.
    """

    name: str
    about: Mapping[str, Any]
    studies: list[StudySummary]


def read(file: Path) -> Run:
    about = json.loads(file.read_text())
    return Run(file.stem, about, from_json(list[StudySummary], about.pop("studies")))


def main() -> None:
    data = DOCS / "data"
    runs = [read(file) for file in sorted(data.glob("studies-*.json"))]
    sweeps = [json.loads(file.read_text()) for file in sorted(data.glob("sweep-*.json"))]
    sections = [*csgmv_section(data), *moe_section(data), *plan_section(data)]
    (DOCS / "results.md").write_text("\n".join([*page(data, runs, sweeps), *sections]) + "\n")
    readme = DOCS.parent / "README.md"
    begin, end = "<!-- results: begin -->", "<!-- results: end -->"
    before, after = readme.read_text().split(begin)[0], readme.read_text().split(end)[1]
    engine = json.loads((data / "serve-qwen3-8b.json").read_text())
    readme.write_text("\n".join([before + begin, *readme_table(engine), end + after]))


def readme_table(run: Mapping[str, Any]) -> list[str]:
    """Makes the short table of what LoRA costs on the server's own engine."""
    return [
        *markdown(*make_serve.costs(run)),
        "",
        f"{make_serve.about(run)} More in [docs/results.md](docs/results.md).",
    ]


def page(data: Path, runs: list[Run], sweeps: list[dict[str, Any]]) -> list[str]:
    """Writes the lines of the engine's own clock, then those of vLLM's dense kernels, GPU by GPU."""
    return [
        "# Results on a GPU",
        "",
        "Made by `python docs/make_results.py` from `docs/data/`, which `docs/run_*.sh` measured.",
        *serve_section(data),
        *served_section(data),
        "",
        "## Our kernels of vLLM's dense ops",
        "",
        "Kernels, here and below: the built-in ones. Times are medians of an interleaved race of CUDA-graph replays, "
        "zeroing included.",
        *(line for run in runs for line in dense_lines(run)),
        "",
        "## The search beside an exhaustive sweep",
        *(line for sweep in sweeps for line in ["", *sweep_table(sweep)]),
    ]


def serve_section(data: Path) -> list[str]:
    """Writes what a folder is worth on the server's own engine, with its own kernels."""
    lines: list[str] = []
    for file in sorted(data.glob("serve-*.json")):
        run = json.loads(file.read_text())
        lines += ["", make_serve.about(run), "", *markdown(*make_serve.times(run)), ""]
        lines += [
            "GPU milliseconds of LoRA kernels and their launches, a step, from a short profile of the same process:",
            "",
        ]
        lines += [*markdown(*make_serve.kernels(run)), "", *(f"- {line}" for line in run["verdicts"])]
    return ["", "## On vLLM's own engine, with its own kernels", *lines] if lines else []


def served_section(data: Path) -> list[str]:
    """Writes what the files are worth to the kernels that servers launch; nothing where that has not been measured."""
    lines: list[str] = []
    for run in map(read, sorted(data.glob("served-*.json"))):
        plan = run.about["plan"]
        serving, kernel = plan["serving"], run.studies[0].spec.kernel.partition("@")[2]
        columns, rows = make_plan.before_after(plan, run.studies)
        lines += [
            "",
            f"### {plan['model']['name']} on the kernels of {kernel}",
            "",
            f"TP {serving['tp']}, rank {serving['rank']}, {serving['max_loras']} adapters; {len(run.studies)} studies "
            f"in {run.about['wall_s']:.0f} s. Machine: {machine_text(run.studies[0])}. Default → tuned, us a launch:",
            "",
            *markdown(list(columns), rows),
            "",
            f"- {make_served.against_no_folder(run.about['never_slower'])}",
            f"- {make_served.against_the_best(run.about['regret'])}",
        ]
    title = "## The servers' own kernels: files tuned on what the server launches"
    return ["", title, *lines] if lines else []


def dense_lines(run: Run) -> list[str]:
    """Makes one GPU's tables."""
    studies = run.studies
    bandwidth = next(study.result.bandwidth_bytes_per_s or 0.0 for study in studies if study.result) / 1e12
    note = f" {run.about['note']}" if "note" in run.about else ""
    lines = ["", f"### {studies[0].spec.environment.gpu}", ""]
    lines += [f"Machine: {machine_text(studies[0])}, device-to-device copy {bandwidth:.2f} TB/s.{note}"]
    return [*lines, "", *tuned_table(studies), "", *wall_table(studies), *recorded_table(studies)]


def csgmv_section(data: Path) -> list[str]:
    """Writes the section on SGLang's kernels, on every GPU where they have been measured."""
    files = sorted(data.glob("csgmv-*.json"), reverse=True)
    if not files:
        return []
    lines = [line for file in files for line in csgmv_lines(data, read(file))]
    return ["", "## SGLang's csgmv kernels", "", make_csgmv.MEANING, *lines]


def csgmv_lines(data: Path, run: Run) -> list[str]:
    """Makes one GPU's tables."""
    studies = run.studies
    layers, saved = (markdown(list(columns), rows) for columns, rows in make_csgmv.tables(studies))
    listed = ["", make_csgmv.LISTED] if make_csgmv.listed(studies) else []
    heading = f"### {studies[0].spec.environment.gpu}, {make_csgmv.whose(studies)}"
    lines = ["", heading, "", f"Machine: {machine_text(studies[0])}."]
    lines += ["", *layers, *listed, "", *saved, "", make_csgmv.took(run.about, studies)]
    if "never_slower" in run.about:
        lines += ["", make_served.against_no_folder(run.about["never_slower"])]
    if len(run.about.get("regret", ())) > 1:
        lines += ["", make_served.against_the_best(run.about["regret"])]
    gpu = run.name.removeprefix("csgmv-")
    return [*lines, *plain_lines(data / f"prototype-{gpu}.json", studies)]


def plain_lines(file: Path, studies: list[StudySummary]) -> list[str]:
    """Compares expands with a kernel without SGLang's semantics; nothing where that has not been measured."""
    if not file.exists():
        return []
    columns, rows = make_csgmv.beside_plain(studies, json.loads(file.read_text()))
    note = (
        "What the full semantics cost: a plain expand (`docs/run_prototype.py`: one adapter, full chunks, no "
        "permutation, masks or scaling), at the best of its configs, timed the same way on the same GPU."
    )
    return ["", note, "", *markdown(list(columns), rows)]


def moe_section(data: Path) -> list[str]:
    """Writes the section on groups of MoE ops; nothing where none has been measured."""
    if not (data / "moe.json").exists():
        return []
    members = read(data / "moe.json").studies
    table = markdown(list(make_moe.COLUMNS), make_moe.rows(members))
    return ["", "## Fused MoE LoRA", "", f"{make_moe.NOTE} Machine: {machine_text(members[0])}.", "", *table]


def plan_section(data: Path) -> list[str]:
    """Writes the section on whole models; nothing where none has been tuned."""
    runs = [read(file) for file in sorted(data.glob("plan-*.json"), reverse=True)]
    if not runs:
        return []
    model, serving = runs[0].about["plan"]["model"]["name"], runs[0].about["plan"]["serving"]
    lines = [
        "",
        "## A whole model in one command",
        "",
        f"{model}, TP {serving['tp']}, rank {serving['rank']}, {serving['max_loras']} adapters, from nothing to "
        f"checked files (`bash docs/run_plan.sh`). Machine: {machine_text(runs[0].studies[0])}.",
        "",
        *markdown(list(make_plan.SUMMARY_COLUMNS), [make_plan.summary(run.about, run.studies) for run in runs]),
    ]
    for run in runs:
        plan = run.about["plan"]
        columns, rows = make_plan.before_after(plan, run.studies)
        server = plan["serving"]["runtime"]
        lines += ["", f"{server}, default → tuned, us a launch:", "", *markdown(list(columns), rows)]
    return lines


def finished(studies: list[StudySummary]) -> list[tuple[StudySummary, StudyResult]]:
    """Returns the studies that have a result, with it."""
    return [(study, study.result) for study in studies if study.result]


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
                speedup(decision),
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


def machine_text(study: StudySummary) -> str:
    environment = study.spec.environment
    versions = ", ".join(f"{name} {value}" for name, value in environment.known.items() if name != "gpu")
    return f"{environment.gpu} ({versions})"


def speedup(decision: Decision) -> str:
    return f"{decision.speedup:.2f}x"


def label(study: StudySummary) -> str:
    """Names the study without its GPU."""
    gpu = study.spec.environment.gpu.replace(" ", "_").replace("-", "_")
    return study.name.split(f"-{gpu}")[0]


def markdown(columns: list[str], rows: list[list[str]]) -> list[str]:
    """Makes a table; columns of numbers are aligned to the right."""
    rule = ["---" if index == 0 or column == "config" else "---:" for index, column in enumerate(columns)]
    return ["| " + " | ".join(cells) + " |" for cells in [columns, rule, *rows]]


if __name__ == "__main__":
    main()
