"""Answers what the command line asks of SGLang."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from autotune.contract import Call
from autotune.environment import installed_version
from autotune.errors import InputError, one_of
from autotune.servers.command_line import BlockSizes, CommandLine, DecoderBlock, OwnFlags, sizes_given
from autotune.servers.sglang import decoder_block, facts
from autotune.servers.sglang.serve_syntax import SERVE_SYNTAX
from autotune.servers.shapes import Shape


class SglangCommandLine(CommandLine):
    """SGLang's flags, and what its users are told."""

    label = "SGLang"
    serve_syntax = SERVE_SYNTAX
    ops = ("shrink", "expand")
    sizes = "chunk sizes"
    start = "python -m sglang.launch_server --enable-lora ..."
    folder_variable = facts.CONFIG_FOLDER
    # Contracts B1.
    costs_of_variable = "hides the files that SGLang ships"
    modules_of_adapters = True
    tunes_blocks = True
    own_flags = OwnFlags(
        problem=(
            "output_dim",
            "chunk_sizes",
            "max_lora_chunk_size",
            "total_tokens",
            "workload",
            "decode_requests",
            "adapter_ranks",
            "adapter_shares",
        ),
        plan=("chunk_sizes", "disable_shared_experts_fusion", "max_lora_chunk_size", "workload"),
        lookup=("chunk_size", "triton"),
    )

    def call(self, op: str, flags: Mapping[str, Any]) -> Call:
        if op not in self.ops:
            raise InputError(f"--op: got {op}, which SGLang reads no file for; allowed: {one_of(self.ops)}")
        dims = sizes_given({"K": "k", "R": "lora_rank", "S": "num_slices", "chunk_size": "chunk_size"}, flags)
        # The name of a version's folder will do.
        triton = flags.get("triton", "").removeprefix("triton_").replace("_", ".")
        return Call(facts.NAME, op, dims, triton or installed_version("triton"))

    def gpu_of_file(self, file: PurePath) -> str | None:
        match = facts.FILE.fullmatch(file.name)
        return match["device"] if match else None

    def file_of(self, shape: Shape) -> str:
        return f"lora_{shape.op} files"

    def block(self, sizes: BlockSizes) -> DecoderBlock:
        return decoder_block.find(sizes)


COMMAND_LINE = SglangCommandLine()
