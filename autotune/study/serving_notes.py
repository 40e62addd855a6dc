"""Says what a server really runs with the results of studies, where that is not obvious; their kernels tell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from autotune import servers
from autotune.contract.source import BUILTIN
from autotune.errors import InputError
from autotune.servers.provenance import workload_of
from autotune.study.result import GroupResult
from autotune.study.stored_study import StoredStudy


def serving_note(study: StoredStudy) -> str | None:
    """Returns what to know of the study's result in service: what the plug-in makes of it, or else what the kernel
    tells of a server; None where there is nothing to say, or the kernel that would say it cannot be loaded here."""
    if (note := plug_in_note(study)) is not None:
        return note
    try:
        kernel = study.kernel
    except InputError:
        return None
    return kernel.serving_note(study.problem, grouped=study.spec.group is not None)


def plug_in_note(study: StoredStudy) -> str | None:
    """Returns what the plug-in makes of the study's result; None of a kernel that it does not launch, a server's own or
    a user's, or where there is nothing to say."""
    spec = study.spec
    if spec.source != BUILTIN or (call := spec.server_call) is None:
        return None
    server = servers.get(call.server)
    return server.plug_in_note(call, workload_of(spec.problem)) if spec.kernel in server.plugin_kernels else None


def serving_notes(studies: Iterable[StoredStudy]) -> list[str]:
    """Returns the notes of several studies, each once, and whether a server without a folder does as well."""
    studies = list(studies)
    notes = [note for study in studies if (note := serving_note(study))]
    return list(dict.fromkeys(notes)) + _no_folder_note([found for study in studies if (found := study.group_result)])


def _no_folder_note(groups: Sequence[GroupResult]) -> list[str]:
    """Tells where nothing beat what a server launches without a folder; another default shows that it launches
    something else with one."""
    decisions = [group.decision for group in groups if group.decision.other_default_us is not None]
    if not decisions or any(decision.outcome == "tuned" for decision in decisions):
        return []
    return [
        "experts: nothing is faster than what the server runs without a config folder, at any m here; the entries "
        "repeat that, so a folder costs nothing where they are read, and for the experts alone none is better"
    ]
