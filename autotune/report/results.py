"""Says what became of finished studies: in one line each, in a table of all, and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from autotune import servers
from autotune.contract.converter import to_json
from autotune.measure.result import COMPILE_FAILURES, FAILURES
from autotune.report.dimensions import columns_of
from autotune.report.tables import TextTable, config_text, percent, ratio, table, us, workload_text
from autotune.report.trials import trial_rows
from autotune.study.grouping import by_group
from autotune.study.result import Decision, GroupResult, StudyResult
from autotune.study.stored_study import StoredStudy

_OF_BEST = ("outcome", "config", "incumbent_us", "tuned_us", "p_value")
"""What `study best --json` prints of a result."""

PHASES = {
    "compile_wait": "waiting for compilers",
    "measure": "measuring",
    "search": "choosing",
    "storage": "storing",
    "finalists": "racing finalists",
}
"""The phases of a run, as people read them."""


def result_line(name: str, result: StudyResult) -> str:
    """Tells the result of a study in one line."""
    decision = result.decision
    if not result.was_searched:
        measured = f"{sum(result.counts.values())} of {result.configs} configs measured"
        kept = "keeps the default" if decision.outcome == "default" else "takes the kernel's own default"
        return f"{name}: was not searched ({measured}), {kept} ({us(decision.tuned_us)} us)"
    if decision.outcome == "default":
        slowing = " that slows no workload" if decision.workloads else ""
        return f"{name}: keeps the default ({us(decision.tuned_us)} us), nothing{slowing} is faster beyond the noise"
    before = f"{us(decision.incumbent_us)} -> " if decision.incumbent_us else "the default does not run here; "
    gain = f", {decision.speedup:.2f}x as fast" if decision.speedup else ""
    return f"{name}: {before}{us(decision.tuned_us)} us{gain}{_worst_text(decision)}"


def time_line(studies: Sequence[StoredStudy], wall_s: float) -> str:
    """Says in one line where the wall time of a run went that finished these studies; what is no study's is mostly
    start-up."""
    spent: Counter[str] = Counter()
    for result in (item.result for item in studies if item.result):
        spent.update({part: result.seconds.get(part, 0.0) for part in PHASES})
    parts = [f"{seconds:.1f} {PHASES[part]}" for part, seconds in spent.items()]
    count = "1 study" if len(studies) == 1 else f"{len(studies)} studies"
    return f"{count} in {wall_s:.1f} s: {', '.join([*parts, f'{wall_s - spent.total():.1f} all else'])}"


def unsearched_lines(studies: Sequence[StoredStudy], left_out: str) -> list[str]:
    """Says how many of these studies found no time, or kept their default because time or trials were over, and what
    to do.

    Args:
        left_out: Which those are that find no time.
    """
    results = [item.result for item in studies]
    lines = []
    if left := sum(result is None for result in results):
        lines.append(
            f"{left} of {len(results)} studies found no time, {left_out}: their lookups keep the default; "
            "study run NAMES searches them; give a longer --timeout, or fewer m"
        )
    if cut := sum(result is not None and not result.was_searched for result in results):
        lines.append(
            f"{cut} of {len(results)} studies were not searched, time or trials were over when their default was "
            "measured: study run NAMES --more 50 searches them on; give a longer --timeout, or fewer m"
        )
    return lines


def before_after_by_size(studies: Sequence[StoredStudy]) -> TextTable:
    """Makes the table of default and tuned times of finished studies for a narrow terminal, by their sizes."""
    finished = [(item.spec, result) for item in studies if (result := item.result)]
    names, sizes = columns_of([spec for spec, _ in finished])
    rows = []
    for cells, (_, result) in zip(sizes, finished, strict=True):
        decision = result.decision
        times = (us(decision.incumbent_us), us(decision.tuned_us), ratio(decision.speedup))
        rows.append((*cells, *times, percent(result.of_floor)))
    return table(machines(studies), (*names, "default us", "tuned us", "speed-up", "of floor"), rows)


def before_after(studies: Sequence[StoredStudy]) -> TextTable:
    """Makes the table of default and tuned times of finished studies."""
    rows = list[Sequence[object]]()
    for together in by_group(item for item in studies if item.result):
        rows += [_before_after_row(item.name, result) for item in together if (result := item.result)]
        if group := together[0].group_result:
            rows.append(_sum_row(group))
    columns = ("study", "default us", "tuned us", "speed-up", "of floor", "measured", "config")
    return table(machines(studies), columns, rows)


def _before_after_row(name: str, result: StudyResult) -> Sequence[object]:
    decision = result.decision
    return (
        name,
        us(decision.incumbent_us),
        us(decision.tuned_us),
        ratio(decision.speedup),
        percent(result.of_floor),
        measured(result.counts),
        config_text(decision.config) if decision.outcome == "tuned" else "the default",
    )


def _sum_row(group: GroupResult) -> Sequence[object]:
    """Makes the row below the members of a finished group."""
    decision, members = group.decision, group.members.values()
    floors_us = [member.floor_us for member in members if member.floor_us]
    return (
        group.group,
        us(decision.incumbent_us),
        us(decision.tuned_us),
        ratio(decision.speedup),
        percent(sum(floors_us) / decision.tuned_us if len(floors_us) == len(members) else None),
        sum(measured(member.counts) for member in members),
        f"sum of the {len(members)} above, {config_text(group.shared)} in all",
    )


def study_json(item: StoredStudy) -> dict[str, Any]:
    """Tells everything the storage knows of a study; `docs/results.md` is made of this."""
    summary: dict[str, Any] = to_json(item.summary)
    if item.spec.group is None:
        del summary["group_result"]
    return summary | {"trials": [row.to_json() for row in trial_rows(item)]}


def best_json(item: StoredStudy, result: StudyResult) -> dict[str, Any]:
    """Tells which config a finished study decided for, and what the server's users should know."""
    data: dict[str, Any] = to_json(result)
    advice = servers.advice([item.call])
    spec = item.spec
    timed: dict[str, Any] = {"kernel": spec.kernel, "source": spec.source, "source_hash": spec.kernel_fingerprint}
    timed |= {"environment": spec.environment.known}
    return timed | {key: data[key] for key in _OF_BEST} | ({"advice": advice} if advice else {})


def machines(studies: Sequence[StoredStudy]) -> str:
    """Says where finished studies were measured, one line a machine."""
    return "\n".join(sorted({_machine(item) for item in studies if item.result}))


def _machine(item: StoredStudy) -> str:
    spec = item.spec
    known = spec.environment.known
    versions = ", ".join(f"{name} {known[name]}" for name in ("torch", "triton") if name in known)
    recorded = " (recorded times, replayed)" if spec.backend == "replay" else ""
    return f"{spec.gpu.name}, {versions}{recorded}"


def measured(counts: Mapping[str, int]) -> int:
    """Counts the configs that reached the GPU, given the number of trials by status."""
    return sum(n for status, n in counts.items() if status not in COMPILE_FAILURES)


def failures(counts: Mapping[str, int]) -> int:
    """Counts the configs that failed, to compile or later."""
    return sum(n for status, n in counts.items() if status in FAILURES)


def _worst_text(decision: Decision) -> str:
    if (worst := decision.worst_workload) is None:
        return ""
    return f" (mean of {len(decision.workloads)}; worst on {workload_text(worst)})"
