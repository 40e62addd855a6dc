"""The tool's entry points for a process that finds packages on its path, as where the checkout is not installed."""

from __future__ import annotations

import configparser
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def put_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has this process and its children find the checkout with the plug-ins that it declares."""
    declared = configparser.ConfigParser()
    declared.read(ROOT / "setup.cfg")
    about = folder / "lora_autotune-0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lora-autotune\nVersion: 0\n")
    groups = ((group, declared["options.entry_points"][group]) for group in declared["options.entry_points"])
    text = "".join(f"[{group}]{points}\n" for group, points in groups if group.endswith("plugins"))
    (about / "entry_points.txt").write_text(text)
    monkeypatch.syspath_prepend(folder)
    known = [path for path in (os.environ.get("PYTHONPATH"),) if path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((*known, str(folder), str(ROOT))))
