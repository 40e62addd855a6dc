"""Asks the installed vLLM, in a process of its own, which token counts it captures CUDA graphs for (contracts A7)."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

from autotune.environment import gpu_of_driver
from autotune.paths import cache_dir
from autotune.servers.vllm import facts
from autotune.servers.vllm.from_server.asking import version

_TIMEOUT_S = 120.0
_MARK = "captured: "


@lru_cache
def asked(
    max_num_seqs: int, max_num_batched_tokens: int, largest: int | None, num_speculative_tokens: int = 0
) -> tuple[int, ...] | None:
    """Returns the token counts, ascending; None where no vLLM is installed, or it cannot be asked so.

    Args:
        largest: ``--max-cudagraph-capture-size``; None where it is not given.
    """
    if (installed := version()) is None:
        return None
    arguments = [str(size) for size in (max_num_seqs, max_num_batched_tokens, largest or 0, num_speculative_tokens)]
    about = hashlib.sha256(json.dumps([*arguments, gpu_of_driver()]).encode()).hexdigest()[:16]
    file = cache_dir() / "captured" / f"{facts.NAME}-{installed}" / f"{about}.json"
    if (kept := _kept(file)) is not None:
        return kept
    if (found := _run(arguments)) is not None:
        _keep(file, found)
    return found


def _run(arguments: Sequence[str]) -> tuple[int, ...] | None:
    command = [sys.executable, "-m", "autotune.servers.vllm.asked_captures", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = [line.removeprefix(_MARK) for line in done.stdout.splitlines() if line.startswith(_MARK)]
    return _sizes(lines[-1]) if lines else None


def _kept(file: Path) -> tuple[int, ...] | None:
    try:
        return _sizes(file.read_text())
    except OSError:
        return None


def _keep(file: Path, found: tuple[int, ...]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found))
    except OSError:  # it is asked again
        return


def _sizes(text: str) -> tuple[int, ...] | None:
    """Reads an answer; None if it is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    is_answer = isinstance(found, list) and found and all(type(size) is int and size > 0 for size in found)
    return tuple(sorted(found)) if is_answer else None


def _answer(max_num_seqs: int, max_num_batched_tokens: int, largest: int | None, drafted: int) -> list[int]:
    """Runs the server's own rule over what it reads of a configuration that is not made whole."""
    from vllm.config import CompilationConfig, VllmConfig

    speculative = SimpleNamespace(num_speculative_tokens=drafted, uses_dynamic_speculative_decoding=lambda: False)
    config = SimpleNamespace(
        model_config=SimpleNamespace(enforce_eager=False),
        compilation_config=CompilationConfig(max_cudagraph_capture_size=largest),
        scheduler_config=SimpleNamespace(max_num_seqs=max_num_seqs, max_num_batched_tokens=max_num_batched_tokens),
        speculative_config=speculative if drafted else None,
        num_speculative_tokens=drafted,
        parallel_config=SimpleNamespace(tensor_parallel_size=1),
        performance_mode="balanced",
        uniform_decode_query_len=1 + drafted,
    )
    VllmConfig._set_cudagraph_sizes(config)
    return list(config.compilation_config.cudagraph_capture_sizes)


if __name__ == "__main__":
    seqs, tokens, most, drafted = map(int, sys.argv[1:])
    print(_MARK + json.dumps(_answer(seqs, tokens, most or None, drafted)))
