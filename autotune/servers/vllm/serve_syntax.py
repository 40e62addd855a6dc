"""How commands that start vLLM are spelled (contracts A11)."""

from __future__ import annotations

from autotune.servers.serve_command import ServeFlag, ServeSyntax, count, count_with_unit, dtype
from autotune.servers.vllm import facts

SERVE_SYNTAX = ServeSyntax(
    programs=(
        ("vllm", "serve"),
        ("-m", "vllm.entrypoints.openai.api_server"),
        ("-m", "vllm.entrypoints.cli.main", "serve"),
    ),
    flags=(
        ServeFlag(("--model",), "model", str),
        ServeFlag(("--tensor-parallel-size", "-tp"), "tp", count),
        ServeFlag(("--enable-expert-parallel",), "ep"),
        ServeFlag(("--max-lora-rank",), "lora_rank", count),
        ServeFlag(("--max-loras",), "max_loras", count),
        ServeFlag(("--fully-sharded-loras",), "fully_sharded"),
        ServeFlag(("--lora-target-modules",), "target_modules", str, several=True),
        ServeFlag(("--max-num-seqs",), "max_num_seqs", count_with_unit),
        ServeFlag(("--max-num-batched-tokens",), "max_num_batched_tokens", count_with_unit),
        # LoRA's own dtype counts before the model's.
        ServeFlag(("--lora-dtype",), "dtype", dtype),
        ServeFlag(("--dtype",), "dtype", dtype),
    ),
    switches=facts.SERVE_SWITCHES,
    variables={facts.DUAL_STREAM: "dual_stream"},
    defaults={"lora_rank": facts.DEFAULT_RANK, "max_loras": facts.DEFAULT_MAX_LORAS},
)
