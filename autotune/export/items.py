"""Turns finished studies into what is exported: results, the calls that they answer, and where they come from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from autotune import __version__, servers
from autotune.contract import Call, Config, config_key, groups
from autotune.contract.converter import to_json
from autotune.contract.source import BUILTIN
from autotune.errors import InputError, one_of
from autotune.export.file import ExportItem
from autotune.export.timings import Timings
from autotune.servers import stand_back
from autotune.study.result import Decision, GroupDecision, StudyResult
from autotune.study.serving_notes import serving_note
from autotune.study.spec import StudySpec
from autotune.study.stored_study import StoredStudy


def export_items(finished: Sequence[StoredStudy], with_timings: bool = False) -> list[ExportItem]:
    """Returns one item for each entry that the studies decided.

    Args:
        with_timings: Tell what was timed, so that token counts which need no entry can be dropped. The files of a
            group need one set of m with one common value each, and stay as they are.

    Raises:
        InputError: If a kernel has no server to export to, or a member of a group comes without the others.
    """
    _check_groups(finished)
    by_name = {study.name: study for study in finished}
    items = [item for study in finished for item in _items(study)]
    by_shape = defaultdict[Hashable, list[ExportItem]](list)
    for item in items:
        by_shape[_shape(item)].append(item)
    items = [_for_larger_m(item, by_shape[_shape(item)], by_name) for item in items]
    if not with_timings:
        return items
    return [_timed(item, by_name[item.study]) for item in items]


def calls(spec: StudySpec) -> list[Call]:
    """Lists the lookups that a study's result will answer.

    Raises:
        InputError: If no server loads configs for the kernel, or none but those of a whole group.
    """
    return [answered for answered, _ in spec.load_kernel().answers(_own_call(spec), {})]


def shards(spec: StudySpec) -> int:
    """Returns over how many GPUs the study's server splits the op (`autotune.servers.Shards`)."""
    kernel = spec.load_kernel()
    return kernel.shards(kernel.problem_type.from_json(spec.problem))


def is_builtin(spec: StudySpec) -> bool:
    """Returns whether a study times a built-in kernel, or replays times of one."""
    return spec.source == BUILTIN


def _own_call(spec: StudySpec) -> Call:
    """Returns the lookup of a study's problem.

    Raises:
        InputError: If no server loads configs for the kernel, or none but those of a whole group.
    """
    if (call := spec.server_call) is None:
        raise InputError(f"kernel {spec.kernel}: no server loads configs for it, so there is nothing to export")
    if spec.group is None and (family := servers.get(call.server).family(call.op)):
        raise InputError(f"kernel {spec.kernel}: a study of it alone cannot be exported, since {family.why_together}")
    return call


def _check_groups(finished: Iterable[StoredStudy]) -> None:
    there: dict[str, set[str]] = {}
    for study in finished:
        if study.spec.group is not None:
            there.setdefault(study.spec.group, set()).add(study.name)
    for study in finished:
        if study.spec.group is not None:
            members = group.members if (group := study.group_result) else {}
            if missing := [name for name in members if name not in there[study.spec.group]]:
                raise InputError(
                    f"group {study.spec.group}: {one_of(missing)} is missing or unfinished, and the files are only "
                    f"correct together; run the group again: study run {study.name}"
                )


def _items(study: StoredStudy) -> list[ExportItem]:
    if (result := study.result) is None:
        return []
    decision = result.decision
    return [
        ExportItem(
            study=study.name,
            call=call,
            config=config,
            is_incumbent=decision.outcome == "default" and _is_the_folders(study, call),
            gpu_name=study.spec.gpu.name,
            provenance=_provenance(study, result),
            shards=shards(study.spec),
            is_builtin=is_builtin(study.spec),
            stands_back=_stands_back(study, decision),
        )
        for call, config in study.kernel.answers(_own_call(study.spec), decision.config)
    ]


def _is_the_folders(study: StoredStudy, call: Call) -> bool:
    """Tells whether the study's default is what the server has in a folder without an entry: what only the plug-in
    launches has a default by more than its lookup tells."""
    return not servers.get(call.server).replaces(call) and not study.kernel.other_defaults(study.problem, study.gpu)


def _stands_back(study: StoredStudy, decision: Decision) -> bool:
    """Tells whether the server's own kernel is the faster one: as timed against ours, or where the study that has not
    met it keeps a default that runs nowhere without an entry."""
    if (met := study.head_to_head) is not None:
        return not met.is_ours
    return decision.outcome == "default" and study.kernel.is_left_without_entry(study.problem)


def _for_larger_m(item: ExportItem, alike: Iterable[ExportItem], by_name: Mapping[str, StoredStudy]) -> ExportItem:
    """Returns an item as larger batches need it, if servers read no config at its own m.

    Batches between its m and the next one of the file do read its entry, where it is the nearest to them. So it gets
    the config that was chosen for the nearest larger m at which servers read one.

    Args:
        alike: The items of its shape, at all m.
    """
    if _is_read(study := by_name[item.study]):
        return item
    m = item.call.dims["m"]
    larger = [other for other in alike if other.call.dims["m"] > m and _is_read(by_name[other.study])]
    if not larger:
        return item
    nearest = min(larger, key=lambda other: other.call.dims["m"])
    group = groups.membership(study.kernel.name)
    source = f"{group[0].shared}_of" if group else "config_of"
    about = {"m": nearest.call.dims["m"], "study": nearest.study, "why": "read by batches between the two m only"}
    return replace(
        item,
        config=servers.get(item.call.server).default_config(item.call) if nearest.is_incumbent else nearest.config,
        is_incumbent=False,
        provenance={**item.provenance, source: about},
    )


def _shape(item: ExportItem) -> Hashable:
    """Returns what is equal for items of one shape on the same GPUs, at any m."""
    call = item.call
    without_m = replace(call, dims={name: size for name, size in call.dims.items() if name != "m"})
    return without_m.key, call.triton, item.gpu_name, item.shards, item.is_builtin


def _is_read(study: StoredStudy) -> bool:
    """Returns whether servers read the study's result at its own m."""
    return study.kernel.is_read(study.problem)


def _timed(item: ExportItem, study: StoredStudy) -> ExportItem:
    """Returns the item with what its study timed: side by side in the finalists' race, and before that one by one."""
    server = servers.get(item.call.server)
    if server.thinnable_level(item.call) is None or (result := study.result) is None:
        return item
    decision = result.decision
    kernel, problem, gpu = study.kernel, study.problem, study.gpu

    def launch(entry: Config) -> Hashable:
        if stand_back.is_one(entry):
            return stand_back
        return config_key(kernel.canonical(problem, entry, gpu))

    def key(config: Config) -> Hashable:
        return launch(server.entry(config, item.call))

    race = {key(finalist.config): finalist.median_us for finalist in decision.finalists}
    timed = [trial for trial in study.trials() if trial.was_timed_whole]
    alone = {key({**decision.incumbent, **trial.params}): trial.value for trial in timed if trial.value}
    default = None if decision.incumbent_us is None else server.default_config(item.call)
    if (own := study.own_default) is not None and key(own) in race:
        default = server.entry(own, item.call)  # what our kernel launches without a file
    return replace(item, timings=Timings((race, alone), default, launch))


_OF_SPEC = ("source", "kernel", "kernel_fingerprint", "problem", "environment", "settings")


def _provenance(study: StoredStudy, result: StudyResult) -> dict[str, Any]:
    spec, decision, about = study.spec, result.decision, to_json(study.spec)
    return {
        "autotune": __version__,
        "backend": spec.backend,
        "recording": spec.space if spec.backend == "replay" else None,
        **{key: about[key] for key in _OF_SPEC},
        **_comparison(decision),
        "counts": dict(result.counts),
        "finished": result.finished,
        **({"raced_from": list(result.raced_from)} if result.raced_from else {}),
        **({"head_to_head": to_json(met)} if (met := study.head_to_head) else {}),
        **({"workloads": to_json(decision.workloads)} if decision.workloads else {}),
        **({"advice": advice} if (advice := servers.advice([study.call])) else {}),
        **_group_provenance(study),
    }


def _comparison(decision: Decision | GroupDecision) -> dict[str, Any]:
    return {
        "outcome": decision.outcome,
        "incumbent_us": decision.incumbent_us,
        "tuned_us": decision.tuned_us,
        "p_value": decision.p_value,
    }


def _group_provenance(study: StoredStudy) -> dict[str, Any]:
    if (group := study.group_result) is None:
        return {}
    about = {"group": group.group, "path": group.path, "shared": dict(group.shared)}
    decided = {**about, **_comparison(group.decision), "sums_us": dict(group.sums_us)}
    if group.decision.other_default_us is not None:
        decided["other_default_us"] = group.decision.other_default_us
    return {"group": decided, "serving": serving_note(study)}
