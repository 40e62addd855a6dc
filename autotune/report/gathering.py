"""Gathers what a report tells of studies, from the storage alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from autotune import servers
from autotune.contract.source import BUILTIN
from autotune.report.content import ReportContent, ReportRow, Saving
from autotune.report.results import PHASES
from autotune.report.rivals import RUNS_OURS, rivals_of
from autotune.report.served import ServedTimes
from autotune.study.membership import Membership
from autotune.study.result import WorkloadTimes
from autotune.study.serving_notes import plug_in_note
from autotune.study.spec import StudySpec
from autotune.study.stored_study import StoredStudy


def gather(studies: Sequence[StoredStudy], plan: str | None, served: ServedTimes | None = None) -> ReportContent:
    """Gathers what a report tells.

    Args:
        plan: Name of the plan that the studies belong to; None for studies that were chosen otherwise.
        served: What the server's engine took with the files of an export.
    """
    memberships = {item.name: item.membership(plan) if plan else None for item in studies}
    rows = tuple(_row(item, memberships[item.name]) for item in studies)
    levels = {level for item in studies if (level := _size(item)[0])}
    known = [found for found in memberships.values() if found is not None]
    untuned = [line for found in known for line in found.untuned]
    return ReportContent(
        title=plan or (studies[0].name if len(studies) == 1 else f"{len(studies)} studies"),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        level=levels.pop() if len(levels) == 1 else "",
        rows=rows,
        savings=_savings_of(studies, rows) if plan else (),
        spent_s=_spent_s(studies),
        untuned=tuple(dict.fromkeys([*untuned, *(f"{row.name}: {row.why}" for row in rows if row.why)])),
        advice=(*_plug_in_notes(studies), *servers.advice(item.call for item in studies)),
        machines=tuple(sorted({_machine(item) for item in studies})),
        served=served,
    )


def _plug_in_notes(studies: Sequence[StoredStudy]) -> dict[str, None]:
    """Returns what the plug-in makes of results, each note once."""
    return dict.fromkeys(note for item in studies if (note := plug_in_note(item)))


def _row(item: StoredStudy, membership: Membership | None) -> ReportRow:
    result, spec = item.result, item.spec
    decision = result.decision if result else None
    return ReportRow(
        name=item.name,
        op=spec.call.op if spec.call else spec.kernel,
        layers=", ".join(membership.layers) if membership and membership.layers else _sizes(item),
        size=_size(item)[1],
        launches=membership.launches if membership else 0,
        kernel=spec.kernel,
        source=f"{spec.source}, {spec.backend}",
        source_hash=spec.kernel_fingerprint,
        triton=spec.environment.triton,
        state=decision.outcome if decision else "unfinished",
        default_us=decision.incumbent_us if decision else None,
        tuned_us=decision.tuned_us if decision else None,
        floor_us=result.floor_us if result else None,
        p_value=decision.p_value if decision else None,
        config=decision.config if decision else None,
        trials=sum(result.counts.values()) if result else item.count_trials(),
        why=_why(item),
        rivals=rivals_of(item),
    )


def _why(item: StoredStudy) -> str:
    if (result := item.result) is None:
        return f"not finished; go on with: study run {item.name}"
    if result.decision.outcome == "tuned":
        return ""
    tried = sum(result.counts.values())
    return f"none of {tried} configs of {result.configs} beat the default beyond the noise, so it stays"


def _size(item: StoredStudy) -> tuple[str, int | None]:
    """Returns the name and the value of the level that batches choose."""
    if (call := item.spec.call) is None:
        return "", None
    return next(((level, call.dims[level]) for level in ("m", "chunk_size") if level in call.dims), ("", None))


def _sizes(item: StoredStudy) -> str:
    """Spells the sizes of a study's lookup apart from the batch's; a kernel without one has its problem's."""
    call = item.spec.call
    sizes = call.dims if call else item.spec.problem
    return ", ".join(f"{name} {value}" for name, value in sizes.items() if name not in ("m", "chunk_size", "max_loras"))


def _alternatives(studies: Sequence[StoredStudy]) -> set[str]:
    """Returns the names of the studies whose work others do as well: their times are no part of a pass of those."""
    served = {_work(item.spec) for item in studies if item.spec.source != BUILTIN}
    found = set()
    for item in studies:
        call = item.spec.call
        if item.spec.source != BUILTIN or call is None:
            continue
        if _work(item.spec) in served or servers.get(call.server).replaces(call):
            found.add(item.name)
    return found


def _work(spec: StudySpec) -> tuple[object, ...]:
    call = spec.call
    return () if call is None else (spec.gpu.name, call.key)


def _of_one_kind_us(studies: Sequence[StoredStudy]) -> dict[str, tuple[float | None, float | None]]:
    """Returns, by name, the default's and the tuned time of studies that time several kinds of batches, on the batches
    that a pass is counted by: those that our kernel was timed on beside it, if of one kind, else the first, prompts."""
    met = {_work(item.spec): item for item in studies if rivals_of(item)}
    found: dict[str, tuple[float | None, float | None]] = {}
    for item in studies:
        if not (several := _several(item)):
            continue
        ours = None if _is_own(item) else met.get(_work(item.spec))
        rivals = rivals_of(ours) if ours is not None and not _several(ours) else None
        if rivals is not None and rivals.server_tuned_us is not None:
            found[item.name] = rivals.server_default_us, rivals.server_tuned_us
        else:
            found[item.name] = several[0].incumbent_us, several[0].tuned_us
    return found


def _saved_by_ours_us(studies: Sequence[StoredStudy]) -> dict[str, float]:
    """Returns, by the name of our study, what the plug-in saves of a launch, on the batches that a pass is counted by:
    where several kinds were raced at once, whose mean that race tells, by the times of the separate studies."""
    of_server = {_work(item.spec): _of_one_kind(item) for item in studies if not _is_own(item)}
    found = dict[str, float]()
    for item in studies:
        if (rivals := rivals_of(item)) is None:
            continue
        found[item.name] = rivals.saved_us
        served_us, ours_us = of_server.get(_work(item.spec)), _of_one_kind(item)
        if _several(item) and rivals.runs == RUNS_OURS and served_us is not None and ours_us is not None:
            found[item.name] = served_us - ours_us
    return found


def _of_one_kind(item: StoredStudy) -> float | None:
    """Returns the tuned time on the first kind of batches, if a study is finished."""
    if item.result is None:
        return None
    return several[0].tuned_us if (several := _several(item)) else item.result.decision.tuned_us


def _several(item: StoredStudy) -> Sequence[WorkloadTimes]:
    """Returns the times of each kind of batches, if a study has timed several."""
    return item.result.decision.workloads if item.result else ()


def _is_own(item: StoredStudy) -> bool:
    return item.spec.source == BUILTIN


def _savings_of(studies: Sequence[StoredStudy], rows: Sequence[ReportRow]) -> tuple[Saving, ...]:
    return _savings(rows, _alternatives(studies), _of_one_kind_us(studies), _saved_by_ours_us(studies))


def _savings(
    rows: Sequence[ReportRow],
    alternatives: Collection[str],
    of_one_kind_us: Mapping[str, tuple[float | None, float | None]],
    saved_by_ours_us: Mapping[str, float],
) -> tuple[Saving, ...]:
    found = []
    for size in sorted({row.size for row in rows if row.size is not None and row.launches}):
        of_size = [row for row in rows if row.size == size]
        times = [
            (row.launches, *of_one_kind_us.get(row.name, (row.default_us, row.tuned_us)))
            for row in of_size
            if row.name not in alternatives
        ]
        default_us = sum(n * default for n, default, tuned in times if default and tuned)
        tuned_us = sum(n * tuned for n, default, tuned in times if default and tuned)
        if tuned_us:
            missing = sum(not (default and tuned) for _, default, tuned in times)
            saved = [row.launches * saved_by_ours_us[row.name] for row in of_size if row.rivals]
            found.append(Saving(size, default_us, tuned_us, missing, tuned_us - sum(saved) if saved else None))
    return tuple(found)


def _spent_s(studies: Sequence[StoredStudy]) -> dict[str, float]:
    spent: Counter[str] = Counter()
    for result in (item.result for item in studies if item.result):
        spent.update({words: result.seconds.get(phase, 0.0) for phase, words in PHASES.items()})
    return dict(spent)


def _machine(item: StoredStudy) -> str:
    known = ", ".join(f"{name} {value}" for name, value in item.spec.environment.known.items() if name != "gpu")
    recorded = "recorded on " if item.spec.backend == "replay" else ""
    return f"{recorded}{item.spec.environment.gpu} ({known})"
