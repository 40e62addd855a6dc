"""Makes the commands that run vLLM's offline engine, and reads its log (contracts A11)."""

from __future__ import annotations

import re
import sys
from importlib.metadata import entry_points
from pathlib import Path

from autotune.servers.trace_line import VARIABLE
from autotune.servers.vllm import facts

_READ = re.compile(r"Using tuned LoRA kernel configs from (?P<file>.+?\.json)")
_PLUGIN_SAID = re.compile(r"lora-autotune: (?P<said>.*\S)")
_ENDINGS = {
    re.compile(r"CUDA out of memory|Free memory on device|No available memory for the cache|KV cache is needed"): (
        "not enough GPU memory; free the GPU, or time fewer layers (--set num_hidden_layers=8)"
    ),
    re.compile(r"LoRA rank \d+ is greater than max_lora_rank"): (
        "an adapter has a higher rank than --lora-rank; raise that, or give other adapters"
    ),
    re.compile(r"does not support LoRA|is not supported for LoRA|LoRA is not supported"): (
        "the model's class takes no LoRA in this release; time another model"
    ),
}
"""What the log of an engine that ended says, and what that means (contracts A11)."""

_PLUGIN_RUNS = "run this project's kernels"
_PLUGIN_GROUP, _PLUGIN_NAME = "vllm.general_plugins", "lora_autotune"


class VllmEngine:
    """vLLM's engine as `autotune.bench.serve` runs it."""

    package = "vllm"
    folder_variable = facts.CONFIG_FOLDER

    def command(self, job: Path, result: Path) -> list[str]:
        return [sys.executable, "-m", "autotune.servers.vllm.engine_process", str(job), str(result)]

    def folder_read(self, log: str) -> set[Path]:
        return {Path(match["file"]) for match in _READ.finditer(log)}

    def why_it_ended(self, log: str) -> str | None:
        return next((why for said, why in _ENDINGS.items() if said.search(log)), None)

    def plugin_installed(self) -> bool:
        return any(point.name == _PLUGIN_NAME for point in entry_points(group=_PLUGIN_GROUP))

    def plugin_said(self, log: str) -> str | None:
        lines = [line for line in _lines(log) if not line.startswith(VARIABLE)]
        return next((line for line in lines if _PLUGIN_RUNS in line), lines[0] if lines else None)

    def recorder_said(self, log: str) -> str | None:
        lines = [line for line in _lines(log) if line.startswith(VARIABLE)]
        return lines[-1] if lines else None


def _lines(log: str) -> list[str]:
    """Returns what the plug-in said, line by line."""
    return [found["said"] for found in _PLUGIN_SAID.finditer(log)]
