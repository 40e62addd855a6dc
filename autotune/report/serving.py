"""What a server really runs with a result, where that is not obvious.

vLLM has two paths for fused MoE LoRA (contracts A6); SGLang looks prefill and decode up by one key (B1).
"""

from __future__ import annotations

from collections.abc import Iterable

from autotune import groups
from autotune.errors import InputError
from autotune.groups import ONE_SHOT
from autotune.kernel import Call
from autotune.runtimes import vllm_moe
from autotune.study import KernelStudy, StudySpec


def tuned_path(spec: StudySpec) -> str | None:
    """The path that a study of fused MoE LoRA is about; None for any other study."""
    try:
        return groups.kind_of(spec.kernel)[1]
    except InputError:
        return None


def serving_note(study: KernelStudy) -> str | None:
    """What to know of the study's result in service; None where there is nothing to say."""
    tuned, call = tuned_path(study.spec), study.call
    if call is not None and call.runtime == "sglang":
        return _workload_note(study.spec)
    if tuned is None or call is None:
        return None
    return _path_note(study, tuned, call)


def serving_notes(studies: Iterable[KernelStudy]) -> list[str]:
    """The notes of several studies, each once."""
    return list(dict.fromkeys(note for study in studies if (note := serving_note(study))))


def _path_note(study: KernelStudy, tuned: str, call: Call) -> str:
    """Which kernels vLLM runs for the study's problem, what they read, and whether the study is about them."""
    problem = study.spec.problem
    rank, sharded, tp = problem.get("rank", call.dims["k"]), bool(problem.get("fully_sharded")), problem.get("tp", 1)
    served = vllm_moe.server_path(rank, sharded)
    case = f"rank {rank}, {'fully sharded' if sharded else 'not fully sharded'}{f' over {tp} GPUs' if tp > 1 else ''}"
    reads = (
        "its one-shot kernels, which read block_m alone" if served == ONE_SHOT else "two kernels, which read every key"
    )
    note = f"vLLM 0.33 serves {case}, with {reads}; "
    if tuned != served:
        note += f"this was tuned for the {tuned} path: for what the server runs tune with --path {served}"
    elif tuned == ONE_SHOT:
        note += "this was tuned for them, the other keys are the defaults"
        if getattr(study.problem, "naive", False):
            note += "; so few tokens are not sorted, and then not even block_m is read"
    else:
        note += "this was tuned for them"
    return note


def _workload_note(spec: StudySpec) -> str | None:
    """Which batches of SGLang's were not measured though they are looked up by the same key."""
    workload = spec.problem.get("workload")
    if other := {"prefill": "decode", "decode": "prefill"}.get(str(workload)):
        return (
            f"measured on {workload} only; SGLang uses these entries for {other}, too: --workload mixed tunes for both"
        )
    if workload == "mixed" and not spec.problem.get("decode_requests"):
        chunk = spec.problem["chunk_size"]
        return f"chunk size {chunk}: measured on prefill only; none of --decode-requests is a batch that gets it"
    return None
