"""Answers what the command line asks of vLLM."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from autotune.contract import Call
from autotune.errors import InputError
from autotune.servers.command_line import CommandLine, OwnFlags, sizes_given
from autotune.servers.shapes import Shape
from autotune.servers.vllm import facts
from autotune.servers.vllm.serve_syntax import SERVE_SYNTAX


class VllmCommandLine(CommandLine):
    """vLLM's flags, and what its users are told."""

    label = "vLLM"
    serve_syntax = SERVE_SYNTAX
    ops = ("shrink", "expand", facts.LINEAR, *facts.ALIGNED_OPS, *facts.MOE_OPS)
    sizes = "m"
    start = "vllm serve ..."
    folder_variable = facts.CONFIG_FOLDER
    # Contracts A2.
    costs_of_variable = "moves the LoRA kernels of experts from the base MoE's tiles to the folder's default of 64 rows"
    own_flags = OwnFlags(
        problem=(
            "sort_by_lora_id",
            "expand_add_inputs",
            "num_experts",
            "top_k_num",
            "moe_intermediate_size",
            "fully_sharded",
            "routing",
            "topk_ids",
            "block_m",
            "path",
        ),
        plan=(
            "m_values",
            "max_num_seqs",
            "max_num_batched_tokens",
            "cudagraph_capture_sizes",
            "max_cudagraph_capture_size",
            "enforce_eager",
            "num_speculative_tokens",
            "data_parallel_size",
            "mixed_moe_lora_format",
            "moe_shared_loras",
            "tower_connector_lora",
        ),
        lookup=("max_loras", "m", "n", "intermediate", "expand_add_inputs"),
    )

    def call(self, op: str, flags: Mapping[str, Any]) -> Call:
        wanted = {name: name for name in facts.DENSE_LEVELS}
        if op == facts.LINEAR:
            wanted["rank"] = "lora_rank"
        elif "lora_rank" in flags:
            raise InputError(f"--lora-rank: no lookup of {op} with --runtime vllm has it; leave it out")
        if op in (*facts.MOE_OPS, *facts.ALIGNED_OPS):
            return Call(facts.NAME, op, sizes_given({**wanted, "i": "intermediate"}, flags))
        dims = sizes_given(wanted, flags)
        # The dense ops look up one more than the flag says (contracts A1).
        dims["max_loras"] += 1
        if op == "expand":
            dims["add_inputs"] = flags.get("expand_add_inputs", 1)
        return Call(facts.NAME, op, dims)

    def gpu_of_file(self, file: PurePath) -> str | None:
        match = facts.FILE.fullmatch(file.as_posix())
        return match["gpu"] if match and len(file.parts) == 1 else None

    def file_of(self, shape: Shape) -> str:
        return f"EXPAND_{str(bool(shape.dims['add_inputs'])).upper()}" if shape.op == "expand" else shape.op.upper()


COMMAND_LINE = VllmCommandLine()
