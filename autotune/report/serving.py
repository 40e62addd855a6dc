"""What a server really runs with a result, where that is not obvious.

vLLM has two paths for fused MoE LoRA (contracts A6); SGLang looks prefill and decode up by one key (B1).
"""

from __future__ import annotations

from collections.abc import Iterable

from autotune.contract import Call, groups
from autotune.contract.groups import ONE_SHOT
from autotune.errors import InputError
from autotune.servers.vllm import moe_paths
from autotune.study.studies import KernelStudy, StudySpec

_DEFAULT = (
    "the default compared with, block_m 64, is that of a server with a config folder: without one it takes the base "
    "model's MoE tiles"
)
"""What no file can change (contracts A2)."""


def tuned_path(spec: StudySpec) -> str | None:
    """The path that a study of fused MoE LoRA is about; None for any other study."""
    try:
        return groups.kind_of(spec.kernel)[1]
    except InputError:
        return None


def serving_note(study: KernelStudy) -> str | None:
    """What to know of the study's result in service; None where there is nothing to say."""
    tuned, call = tuned_path(study.spec), study.call
    if call is not None and call.server == "sglang":
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
    naive = bool(getattr(study.problem, "naive", False))
    case = f"rank {rank}, {'fully sharded' if sharded else 'not fully sharded'}{f' over {tp} GPUs' if tp > 1 else ''}"
    if moe_paths.small_batch(rank, call.dims["m"] * problem.get("top_k", 1), naive):
        return f"vLLM 0.33 serves {case}, with its small-batch kernel for so few tokens, which reads no key at all"
    served = moe_paths.server_path(rank, sharded)
    reads = (
        "its one-shot kernels, which read block_m alone" if served == ONE_SHOT else "two kernels, which read every key"
    )
    return f"vLLM 0.33 serves {case}, with {reads}; {_about(study.spec, served, naive)}; {_DEFAULT}"


def _about(spec: StudySpec, served: str, naive: bool) -> str:
    """What the study has to do with what the server runs."""
    tuned = tuned_path(spec)
    if tuned != served:
        # --path is of groups only, whose members find the server's by themselves.
        other = f"--path {served}" if spec.group else f"--op-type {groups.FUSED_MOE_LORA.name}"
        return f"this was tuned for the {tuned} path: for what the server runs tune with {other}"
    if tuned != ONE_SHOT:
        return "this was tuned for them"
    unread = "; so few tokens are not sorted, and then not even block_m is read" if naive else ""
    return f"this was tuned for them, the other keys are the defaults{unread}"


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
