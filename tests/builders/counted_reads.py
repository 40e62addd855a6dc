"""Counts how often files are read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from autotune.untrusted import reading


def counted_reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Returns how often each file is read from now on, by its name."""
    reads: Counter[str] = Counter()
    read_bytes = reading.read_bytes

    def counted(path: Path, most_bytes: int = reading.MOST_BYTES) -> bytes:
        reads[path.name] += 1
        return read_bytes(path, most_bytes)

    monkeypatch.setattr(reading, "read_bytes", counted)
    return reads
