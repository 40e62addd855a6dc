"""Writes data of anybody's as JSON that every reader takes: numbers that JSON lacks are spelled as text."""

from __future__ import annotations

import json
import math
from typing import Any


def json_text(data: Any) -> str:
    """Returns indented JSON, with ``"NaN"``, ``"Infinity"`` and ``"-Infinity"`` in place of such numbers."""
    return json.dumps(_spelled(data), indent=2, allow_nan=False)


def _spelled(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: _spelled(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_spelled(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return "NaN" if math.isnan(data) else "Infinity" if data > 0 else "-Infinity"
    return data
