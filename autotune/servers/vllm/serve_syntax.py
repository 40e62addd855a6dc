"""Describes how commands that start vLLM are spelled (contracts A11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from autotune.servers.serve_command import ServeFlag, ServeSyntax, count, count_with_unit, dtype, sizes_of_config
from autotune.servers.serve_words import Spelling
from autotune.servers.vllm import facts
from autotune.untrusted import reading

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
    return capture_list(found if isinstance(found, str) else ",".join(map(str, found)))


def _count(found: Any) -> int:
    return count(str(found))


def throughput(value: int) -> Callable[[str], int | None]:
    """Returns what reads a performance mode; it gives the value for the one that doubles the limits of a batch."""
    return lambda text: value if text == facts.THROUGHPUT else None


def _own_classes(text: str) -> None:
    if text not in facts.OWN_CLASSES:
        raise ValueError(f"{' or '.join(facts.OWN_CLASSES)}, as a plan goes by vLLM's own classes")


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
            found = reading.json_of(text).get(key)
            return None if found is None else read(found)
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"JSON such as {example}") from error

    return of_json


_COMPILATION = ("--compilation-config", "-cc")
_SPECULATION = ("--speculative-config", "-sc")
_OVERRIDES = "--hf-overrides"


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
        ServeFlag((_OVERRIDES,), "overrides", sizes_of_config),
        ServeFlag(("--tensor-parallel-size", "-tp"), "tp", count),
        ServeFlag(("--enable-expert-parallel", "-ep"), "ep"),
        ServeFlag(("--max-lora-rank",), "lora_rank", count),
        ServeFlag(("--max-loras",), "max_loras", count),
        ServeFlag(("--fully-sharded-loras",), "fully_sharded"),
        ServeFlag(("--lora-target-modules",), "target_modules", str, several=True, whole=True),
        ServeFlag(("--data-parallel-size", "-dp"), "data_parallel_size", count),
        ServeFlag(("--enable-mixed-moe-lora-format",), "mixed_moe_lora_format"),
        ServeFlag(("--enable-moe-shared-loras",), "moe_shared_loras"),
        ServeFlag(("--enable-tower-connector-lora",), "tower_connector_lora"),
        ServeFlag(("--max-num-seqs",), "max_num_seqs", count_with_unit),
        ServeFlag(("--max-num-batched-tokens",), "max_num_batched_tokens", count_with_unit),
        ServeFlag(("--performance-mode",), "max_num_seqs", throughput(2 * facts.DEFAULT_MAX_NUM_SEQS)),
        ServeFlag(
            ("--performance-mode",), "max_num_batched_tokens", throughput(2 * facts.DEFAULT_MAX_NUM_BATCHED_TOKENS)
        ),
        ServeFlag(("--model-impl",), "server", _own_classes),
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
        ServeFlag(("--enforce-eager",), "enforce_eager"),
        ServeFlag(
            _SPECULATION,
            "num_speculative_tokens",
            of_config("num_speculative_tokens", _count, '{"num_speculative_tokens": 3}'),
        ),
        ServeFlag(("--spec-tokens",), "num_speculative_tokens", count),
        # LoRA's own dtype counts before the model's.
        ServeFlag(("--lora-dtype",), "dtype", dtype),
        ServeFlag(("--dtype",), "dtype", dtype),
    ),
    objects=frozenset({*_COMPILATION, *_SPECULATION, _OVERRIDES}),
    switches=facts.SERVE_SWITCHES,
    refused=dict.fromkeys(("--no-enable-lora", "--disable-lora"), "the server then has no LoRA"),
    variables={facts.DUAL_STREAM: "dual_stream"},
    defaults={"lora_rank": facts.DEFAULT_RANK, "max_loras": facts.DEFAULT_MAX_LORAS},
)
