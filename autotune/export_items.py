"""What finished studies come to for the exporter: the results, the calls they answer, and where they come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from autotune import __version__, runtimes
from autotune.errors import InputError, one_of
from autotune.export import ExportItem
from autotune.groups import ONE_SHOT
from autotune.kernel import Call, Config
from autotune.report.serving import serving_note, tuned_path
from autotune.runtimes import vllm_moe
from autotune.study import KernelStudy, StudySpec


def export_items(finished: Sequence[KernelStudy]) -> list[ExportItem]:
    """One item for each entry that the studies decided.

    Raises:
        InputError: If a kernel has no runtime to export to, or a member of a group comes without the others.
    """
    _check_groups(finished)
    return [item for study in finished for item in _items(study)]


def calls(spec: StudySpec) -> list[Call]:
    """The lookups that a study's result answers: its own, and of a one-shot kernel those of both halves.

    Raises:
        InputError: If no runtime loads configs for the kernel, or none but those of a whole group.
    """
    if (call := spec.runtime_call) is None:
        raise InputError(f"kernel {spec.kernel}: no runtime loads configs for it, so there is nothing to export")
    if spec.group is None and len(runtimes.get(call.runtime).partners(call.op)) > 1:
        raise InputError(
            f"kernel {spec.kernel}: a study of it alone cannot be exported, since all ops of fused MoE LoRA must have "
            "one block_m; tune them together: study create --op-type fused_moe_lora ... --tag NAME, then study run"
        )
    if tuned_path(spec) == ONE_SHOT:
        return [replace(call, op=op) for op in vllm_moe.halves(call.op)]
    return [call]


def _check_groups(finished: Iterable[KernelStudy]) -> None:
    there: dict[str, set[str]] = {}
    for study in finished:
        if study.spec.group is not None:
            there.setdefault(study.spec.group, set()).add(study.name)
    for study in finished:
        if study.spec.group is not None:
            members = (study.group_result or {}).get("members", {})
            if missing := [name for name in members if name not in there[study.spec.group]]:
                raise InputError(
                    f"group {study.spec.group}: {one_of(missing)} is missing or unfinished, and the files are only "
                    f"correct together; run the group again: study run {study.name}"
                )


def _items(study: KernelStudy) -> list[ExportItem]:
    result = study.result or {}
    return [
        ExportItem(
            study=study.name,
            call=call,
            config=_config(study.spec, call, result["config"]),
            is_incumbent=result["outcome"] == "default",
            gpu_name=study.spec.gpu["name"],
            provenance=_provenance(study, result),
        )
        for call in calls(study.spec)
    ]


def _config(spec: StudySpec, call: Call, config: Config) -> Config:
    """What is written: a one-shot kernel decides on block_m only, the keys that it does not read are the defaults."""
    if tuned_path(spec) != ONE_SHOT:
        return config
    return {**runtimes.get(call.runtime).default_config(call), **config}


def _provenance(study: KernelStudy, result: dict[str, Any]) -> dict[str, Any]:
    spec = study.spec
    kept = ("outcome", "incumbent_us", "tuned_us", "p_value", "counts", "finished")
    return {
        "autotune": __version__,
        "backend": spec.backend,
        "recording": spec.space if spec.backend == "replay" else None,
        "source": spec.source,
        "kernel": spec.kernel,
        "kernel_fingerprint": spec.kernel_fingerprint,
        "problem": spec.problem,
        "environment": spec.environment,
        "settings": spec.settings,
        **{key: result[key] for key in kept},
        **({"workloads": result["workloads"]} if result.get("workloads") else {}),
        **({"advice": advice} if (advice := runtimes.advice([study.call])) else {}),
        **_group_provenance(study),
    }


def _group_provenance(study: KernelStudy) -> dict[str, Any]:
    if (group := study.group_result) is None:
        return {}
    kept = ("group", "path", "shared", "outcome", "incumbent_us", "tuned_us", "p_value", "sums_us")
    return {"group": {key: group[key] for key in kept}, "serving": serving_note(study)}
