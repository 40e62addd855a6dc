"""What became of studies: one line each, a table of all, and their data as JSON."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from autotune.measure.result import COMPILE_FAILURES, FAILURES
from autotune.report.tables import config_text, percent, table, us, workload_text
from autotune.study import trials
from autotune.study.studies import KernelStudy, by_group


def result_line(name: str, result: dict[str, Any]) -> str:
    """The result of a study in one line."""
    if result["outcome"] == "default":
        slowing = " that slows no workload" if result.get("workloads") else ""
        return f"{name}: keeps the default ({us(result['tuned_us'])} us), nothing{slowing} is faster beyond the noise"
    before = f"{us(result['incumbent_us'])} -> " if result["incumbent_us"] else "the default does not run here; "
    return f"{name}: {before}{us(result['tuned_us'])} us{_speedup_text(result)}{_worst_text(result)}"


def speedup(result: Mapping[str, Any]) -> float | None:
    """Incumbent's time over the winner's, from the race that decided."""
    return result["incumbent_us"] / result["tuned_us"] if result["incumbent_us"] else None


_PARTS = {
    "compile_wait": "waiting for compilers",
    "measure": "measuring",
    "search": "choosing",
    "storage": "storing",
    "finalists": "racing finalists",
}


def time_line(studies: Sequence[KernelStudy], wall_s: float) -> str:
    """Where the wall time of a run went that finished these studies; what is no study's is mostly start-up."""
    spent: Counter[str] = Counter()
    for result in (item.result for item in studies if item.result):
        spent.update({part: result["seconds"].get(part, 0.0) for part in _PARTS})
    parts = [f"{seconds:.1f} {_PARTS[part]}" for part, seconds in spent.items()]
    return f"{len(studies)} studies in {wall_s:.1f} s: {', '.join([*parts, f'{wall_s - spent.total():.1f} all else'])}"


def before_after(studies: Sequence[KernelStudy]) -> Table:
    """Default and tuned times of finished studies."""
    rows = list[Sequence[object]]()
    for together in by_group(item for item in studies if item.result):
        rows += [_before_after_row(item, item.result) for item in together if item.result]
        if together[0].group_result:
            rows.append(_sum_row(together[0].group_result))
    columns = ("study", "default us", "tuned us", "speed-up", "of floor", "measured", "config")
    return table(machines(studies), columns, rows)


def _before_after_row(item: KernelStudy, result: dict[str, Any]) -> Sequence[object]:
    gain = speedup(result)
    return (
        item.name,
        us(result["incumbent_us"]),
        us(result["tuned_us"]),
        f"{gain:.2f}x" if gain else "-",
        percent(result["floor_us"] / result["tuned_us"] if result["floor_us"] else None),
        measured(result["counts"]),
        config_text(result["config"]) if result["outcome"] == "tuned" else "the default",
    )


def _sum_row(group: Mapping[str, Any]) -> Sequence[object]:
    """Below the members of a finished group."""
    members = group["members"].values()
    floors_us = [each["floor_us"] for each in members if each["floor_us"]]
    gain = speedup(group)
    return (
        group["group"],
        us(group["incumbent_us"]),
        us(group["tuned_us"]),
        f"{gain:.2f}x" if gain else "-",
        percent(sum(floors_us) / group["tuned_us"] if len(floors_us) == len(members) else None),
        sum(measured(each["counts"]) for each in members),
        f"sum of the {len(members)} above, {config_text(group['shared'])} in all",
    )


def listing(studies: Sequence[KernelStudy]) -> Table:
    """Where every study stands."""
    rows = []
    for together in by_group(studies):
        for item in together:
            summary = summarise(item)
            rows.append((item.name, summary["state"], summary["trials"], us(summary["best_us"]), summary["source"]))
        if group := together[0].group_result:
            state = f"{group['outcome']}, {config_text(group['shared'])}"
            rows.append((group["group"], state, "", us(group["tuned_us"]), f"sum of the {len(group['members'])} above"))
    return table("", ("study", "state", "trials", "best us", "source"), rows)


def summarise(item: KernelStudy) -> dict[str, Any]:
    """State, number of trials and best time of a study."""
    found = item.study.get_trials(deepcopy=False)
    values = [t.value for t in found if t.state.name == "COMPLETE" and t.value is not None]
    return {
        "name": item.name,
        "state": item.result["outcome"] if item.result else ("started" if found else "new"),
        "trials": len(found),
        "best_us": min(values, default=None),
        "source": f"{item.spec.source}, {item.spec.backend}",
        "gpu": item.spec.gpu["name"],
        **({"group": item.spec.group} if item.spec.group else {}),
    }


def summary_json(item: KernelStudy) -> dict[str, Any]:
    """What a study is about and what came of it; its trials, which take a while to read, are left out."""
    return {
        "name": item.name,
        "spec": asdict(item.spec),
        "result": item.result,
        **({"group_result": item.group_result} if item.spec.group else {}),
    }


def study_json(item: KernelStudy) -> dict[str, Any]:
    """Everything the storage knows of a study; `docs/results.md` is made of this."""
    return summary_json(item) | {"trials": [_trial_json(t) for t in item.study.get_trials(deepcopy=False)]}


def measured_rows(item: KernelStudy) -> list[dict[str, Any]]:
    """One flat row per trial, for a CSV file."""
    spec = {"study": item.name, "kernel": item.spec.kernel, "gpu": item.spec.gpu["name"], **item.spec.problem}
    keys = ("status", "message", "median_us", "registers", "spill_bytes", "shared_bytes", "compile_s", "measure_s")
    rows = []
    for trial in study_json(item)["trials"]:
        by_workload = {f"{name} us": time_us for name, time_us in trial.get("workloads_us", {}).items()}
        rows.append(spec | trial["params"] | {key: trial.get(key) for key in keys} | by_workload)
    return rows


def _trial_json(trial: Any) -> dict[str, Any]:
    samples = list(trial.intermediate_values.values())
    return {
        "number": trial.number,
        "status": trials.status(trial) or trial.state.name.lower(),
        "params": trial.params,
        "median_us": statistics.median(samples) if samples else None,
        "samples_us": samples,
        **{name: value for name, value in trial.user_attrs.items() if name != "status"},
    }


def machines(studies: Sequence[KernelStudy]) -> str:
    """Where finished studies were measured, one line a machine."""
    return "\n".join(sorted({_machine(item) for item in studies if item.result}))


def _machine(item: KernelStudy) -> str:
    spec = item.spec
    versions = ", ".join(f"{name} {spec.environment[name]}" for name in ("torch", "triton") if name in spec.environment)
    recorded = " (recorded times, replayed)" if spec.backend == "replay" else ""
    return f"{spec.gpu['name']}, {versions}{recorded}"


def measured(counts: Mapping[str, int]) -> int:
    """How many configs reached the GPU, given the number of trials by status."""
    return sum(n for status, n in counts.items() if status not in COMPILE_FAILURES)


def failures(counts: Mapping[str, int]) -> int:
    """How many configs failed, to compile or later."""
    return sum(n for status, n in counts.items() if status in FAILURES)


def _speedup_text(result: dict[str, Any]) -> str:
    gain = speedup(result)
    return f", {gain:.2f}x as fast" if gain else ""


def _worst_text(result: dict[str, Any]) -> str:
    worst = [times for times in result.get("workloads", []) if times["name"] == result["worst_workload"]]
    return f" (mean of {len(result['workloads'])}; worst on {workload_text(worst[0])})" if worst else ""
