"""Describes how commands that start vLLM are spelled (contracts A11)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from autotune.servers.serve_command import ServeFlag, ServeSyntax, count, count_with_unit, dtype, sizes_of_config
from autotune.servers.serve_words import Spelling
from autotune.servers.vllm import facts

T = TypeVar("T")


def capture_list(text: str) -> tuple[int, ...]:
    """Reads token counts with commas between.

    Raises:
        ValueError: If they are none.
    """
    try:
        return tuple(sorted({count(word) for word in text.strip("[]").replace(" ", "").split(",")}))
    except ValueError as error:
        raise ValueError("positive integers, such as 1 8 16") from error


def eager_mode(text: str) -> bool | None:
    """Reads a mode of CUDA graphs: True for none at all; None for any other, which pads batches just the same."""
    return True if text.upper() in facts.NO_GRAPHS else None


def _captures(found: Any) -> tuple[int, ...]:
    return capture_list(",".join(map(str, found)))


def _count(found: Any) -> int:
    return count(str(found))


def _eager_mode(found: Any) -> bool | None:
    return eager_mode(str(found))


def of_config(key: str, read: Callable[[Any], T], example: str) -> Callable[[str], T | None]:
    """Returns what reads one key of a config given as JSON; it gives None where the config does not say.

    Args:
        read: Reads the key's value.
        example: Of such a config, for who gave none.
    """

    def of_json(text: str) -> T | None:
        try:
            found = json.loads(text).get(key)
            return None if found is None else read(found)
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"JSON such as {example}") from error

    return of_json


_COMPILATION = ("--compilation-config", "-cc")
_SPECULATION = ("--speculative-config", "-sc")


def _in(flags: tuple[str, ...], key: str) -> tuple[str, ...]:
    """Spells one key of a config as a flag of its own."""
    return tuple(f"{flag}.{key}" for flag in flags)


SERVE_SYNTAX = ServeSyntax(
    spelling=Spelling(
        programs=(
            ("vllm", "serve"),
            ("-m", "vllm.entrypoints.openai.api_server"),
            ("-m", "vllm.entrypoints.cli.main", "serve"),
        ),
        images=facts.SERVING_IMAGES,
    ),
    flags=(
        ServeFlag(("--model",), "model", str),
        ServeFlag(("--hf-overrides",), "overrides", sizes_of_config),
        ServeFlag(("--tensor-parallel-size", "-tp"), "tp", count),
        ServeFlag(("--enable-expert-parallel",), "ep"),
        ServeFlag(("--max-lora-rank",), "lora_rank", count),
        ServeFlag(("--max-loras",), "max_loras", count),
        ServeFlag(("--fully-sharded-loras",), "fully_sharded"),
        ServeFlag(("--lora-target-modules",), "target_modules", str, several=True),
        ServeFlag(("--data-parallel-size", "-dp"), "data_parallel_size", count),
        ServeFlag(("--enable-mixed-moe-lora-format",), "mixed_moe_lora_format"),
        ServeFlag(("--enable-moe-shared-loras",), "moe_shared_loras"),
        ServeFlag(("--enable-tower-connector-lora",), "tower_connector_lora"),
        ServeFlag(("--max-num-seqs",), "max_num_seqs", count_with_unit),
        ServeFlag(("--max-num-batched-tokens",), "max_num_batched_tokens", count_with_unit),
        ServeFlag(
            ("--cudagraph-capture-sizes", "--cuda-graph-sizes"), "cudagraph_capture_sizes", capture_list, several=True
        ),
        ServeFlag(("--max-cudagraph-capture-size",), "max_cudagraph_capture_size", count),
        ServeFlag(
            _COMPILATION,
            "cudagraph_capture_sizes",
            of_config("cudagraph_capture_sizes", _captures, '{"cudagraph_capture_sizes": [1, 8, 16]}'),
        ),
        ServeFlag(
            _COMPILATION,
            "max_cudagraph_capture_size",
            of_config("max_cudagraph_capture_size", _count, '{"max_cudagraph_capture_size": 256}'),
        ),
        ServeFlag(
            _COMPILATION, "enforce_eager", of_config("cudagraph_mode", _eager_mode, '{"cudagraph_mode": "PIECEWISE"}')
        ),
        ServeFlag(_in(_COMPILATION, "cudagraph_capture_sizes"), "cudagraph_capture_sizes", capture_list),
        ServeFlag(_in(_COMPILATION, "max_cudagraph_capture_size"), "max_cudagraph_capture_size", count),
        ServeFlag(_in(_COMPILATION, "cudagraph_mode"), "enforce_eager", eager_mode),
        ServeFlag(("--enforce-eager",), "enforce_eager"),
        ServeFlag(
            _SPECULATION,
            "num_speculative_tokens",
            of_config("num_speculative_tokens", _count, '{"num_speculative_tokens": 3}'),
        ),
        ServeFlag(("--spec-tokens", *_in(_SPECULATION, "num_speculative_tokens")), "num_speculative_tokens", count),
        # LoRA's own dtype counts before the model's.
        ServeFlag(("--lora-dtype",), "dtype", dtype),
        ServeFlag(("--dtype",), "dtype", dtype),
    ),
    switches=facts.SERVE_SWITCHES,
    variables={facts.DUAL_STREAM: "dual_stream"},
    defaults={"lora_rank": facts.DEFAULT_RANK, "max_loras": facts.DEFAULT_MAX_LORAS},
)
