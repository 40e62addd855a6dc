"""Folders of models and adapters, for the tests of what is read off them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write(folder: Path, name: str, content: Any) -> Path:
    """Writes a file, as JSON unless it is text, into a folder that need not exist; returns the folder."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder
