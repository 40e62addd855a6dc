"""Chooses among the folders of several Triton versions the file that an SGLang server takes (contracts B1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from autotune.contract import Call
from autotune.servers.sglang import csgmv, facts


def versions(folder: Path, base_name: str) -> list[Path]:
    """Lists the files of this name, whatever their Triton version, in the server's order: names descending as text."""
    files = (version / base_name for version in folder.glob(f"{facts.ROOT}/triton_*"))
    return sorted((file for file in files if file.exists()), key=lambda file: file.parent.name, reverse=True)


def newest(files: Iterable[Path]) -> Path:
    """Returns the one of the newest Triton, by its folder."""
    return max(files, key=lambda file: [int(number) for number in re.findall(r"\d+", file.parent.name)])


def order_warning(files: list[Path]) -> list[str]:
    """Tells if a server without a folder of its own takes another of these files, in its order, than the newest."""
    if not files or (last := newest(files)) == files[0]:
        return []
    return [
        f"{last.name}: servers with a Triton that has no folder here take {files[0].parent.name} before "
        f"{last.parent.name}, for SGLang compares the names as text; remove the older folder"
    ]


def file_of(folder: Path, gpu_name: str, call: Call) -> tuple[Path | None, list[Path]]:
    """Returns the file that the server reads, if any, and if it is another Triton's all that it chose among."""
    path = folder / csgmv.file_name(gpu_name, call)
    if path.exists():
        return path, []
    others = versions(folder, path.name)
    return (others[0] if others else None), others
