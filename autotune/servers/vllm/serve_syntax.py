"""How commands that start vLLM are spelled (contracts A11)."""

from __future__ import annotations

import json

from autotune.servers.serve_command import ServeFlag, ServeSyntax, count, count_with_unit, dtype
from autotune.servers.vllm import facts


def capture_list(text: str) -> tuple[int, ...]:
    """Reads token counts with commas between.

    Raises:
        ValueError: If they are none.
    """
    try:
        return tuple(sorted({count(word) for word in text.split(",")}))
    except ValueError as error:
        raise ValueError("positive integers, such as 1 8 16") from error


def captures_of_config(text: str) -> tuple[int, ...] | None:
    """Reads the token counts of a compilation config as JSON; None if it says nothing of them.

    Raises:
        ValueError: If it is no such JSON.
    """
    try:
        sizes = json.loads(text).get("cudagraph_capture_sizes")
        return None if sizes is None else capture_list(",".join(map(str, sizes)))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError('JSON such as {"cudagraph_capture_sizes": [1, 8, 16]}') from error


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
        ServeFlag(
            ("--cudagraph-capture-sizes", "--cuda-graph-sizes"), "cudagraph_capture_sizes", capture_list, several=True
        ),
        ServeFlag(("--max-cudagraph-capture-size",), "max_cudagraph_capture_size", count),
        ServeFlag(("--compilation-config", "-cc"), "cudagraph_capture_sizes", captures_of_config),
        # LoRA's own dtype counts before the model's.
        ServeFlag(("--lora-dtype",), "dtype", dtype),
        ServeFlag(("--dtype",), "dtype", dtype),
    ),
    switches=facts.SERVE_SWITCHES,
    variables={facts.DUAL_STREAM: "dual_stream"},
    defaults={"lora_rank": facts.DEFAULT_RANK, "max_loras": facts.DEFAULT_MAX_LORAS},
)
