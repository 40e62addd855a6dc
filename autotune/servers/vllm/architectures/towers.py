"""Tells whether towers of multimodal models can be shared out, by what `docs/make_vllm_towers.py` read off vLLM."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from autotune.errors import InputError

_FILE = Path(__file__).parent / "towers.json"


def check_towers(config: Mapping[str, Any], architecture: str, tp: int, origin: str) -> None:
    """Makes sure that each GPU gets as much of a tower as any other, which counts whether LoRA is on it or not.

    Raises:
        InputError: If it does not.
    """
    for part, names in _towers().get(architecture, {}).items():
        found: Any = config
        for step in part.split("."):
            found = found.get(step, {}) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            continue
        # A part of another class than the usual one has other sizes where it leaves them out.
        same = found.get("model_type", own := names.get("model_type")) == own
        for name, usual in names.items():
            size = found.get(name, usual if same else None)
            if type(size) is int and size % tp:
                raise InputError(
                    f"--tp: got {tp}, which does not divide {part}.{name} {size} of {origin}, and vLLM shares this "
                    f"tower out ({size} is not divisible by {tp}); give another one, or, for a server with "
                    f"--mm-encoder-tp-mode data, a copy of the config with null for {part}"
                )


@cache
def _towers() -> Mapping[str, Mapping[str, Mapping[str, int | str | None]]]:
    """Returns the sizes that must divide, by architecture and by part of its config, each with its class's own; and
    the type of that class."""
    return dict(json.loads(_FILE.read_text(encoding="utf-8"))["towers"])
