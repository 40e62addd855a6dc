"""What a vLLM server really runs for a problem of fused MoE LoRA, where that is not obvious (contracts A6)."""

from __future__ import annotations

from autotune.kernels.fused_moe_lora.group import FUSED_MOE_LORA
from autotune.kernels.fused_moe_lora.problem import MoeProblem
from autotune.servers.vllm import facts
from autotune.servers.vllm.moe_paths import server_path, small_batch

_DEFAULT = (
    "the default compared with, block_m 64, is that of a server with a config folder: without one it takes the base "
    "model's MoE tiles"
)
"""What no file can change (contracts A2)."""

_BY_PLUG_IN = "; the plug-in launches aligned_moe_lora in the place of the one-shot kernels, which tune --model tunes"


def serving_note(problem: MoeProblem, tuned: facts.ServerPath, grouped: bool) -> str:
    """Tells which kernels the server runs, what they read, and whether a study of the tuned path is about them.

    Args:
        grouped: The study is one of a group.
    """
    p = problem
    case = (
        f"rank {p.rank}, {'fully sharded' if p.fully_sharded else 'not fully sharded'}"
        f"{f' over {p.tp} GPUs' if p.tp > 1 else ''}"
    )
    if small_batch(p.rank, p.pairs, p.naive):
        return f"vLLM 0.33 serves {case}, with its small-batch kernel for so few tokens, which reads no key at all"
    served = server_path(p.rank, p.fully_sharded)
    reads = (
        "its one-shot kernels, which read block_m alone"
        if served == facts.ONE_SHOT
        else "two kernels, which read every key"
    )
    plug_in = _BY_PLUG_IN if served == facts.ONE_SHOT else ""
    return f"vLLM 0.33 serves {case}, with {reads}; {_about(p, served, tuned, grouped)}; {_DEFAULT}{plug_in}"


def _about(problem: MoeProblem, served: facts.ServerPath, tuned: facts.ServerPath, grouped: bool) -> str:
    """Tells what the study has to do with what the server runs."""
    if tuned != served:
        # --path is of groups only, whose members find the server's by themselves.
        other = f"--path {served}" if grouped else f"--op-type {FUSED_MOE_LORA.name}"
        return f"this was tuned for the {tuned} path: for what the server runs tune with {other}"
    if tuned != facts.ONE_SHOT:
        return "this was tuned for them"
    unread = "; so few tokens are not sorted, and then not even block_m is read" if problem.naive else ""
    return f"this was tuned for them, the other keys are the defaults{unread}"
