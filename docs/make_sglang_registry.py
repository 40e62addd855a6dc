"""Writes which architectures SGLang has a class of its own for.

    PYTHONPATH=. python docs/make_sglang_registry.py DIR...

Each DIR holds the package of one release, such as an unpacked wheel. Its model registry takes the classes that a module
of `sglang/srt/models` binds to `EntryClass`; those of `transformers.py` stand in for Transformers' and are left out.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from autotune.errors import one_of

TARGET = Path(__file__).parents[1] / "autotune" / "servers" / "sglang" / "registry.json"
_BOUND = "EntryClass"
_STAND_INS = "transformers.py"


def main(folders: list[Path]) -> None:
    models = [file for folder in folders for file in (folder / "sglang" / "srt" / "models").rglob("*.py")]
    classes = sorted({name for file in models if file.name != _STAND_INS for name in entries(file)})
    if not classes:
        raise SystemExit(f"got {one_of(folders)}, without sglang/srt/models; give folders with the package")
    about = {"of": f"SGLang {', '.join(map(_version, folders))}", "classes": classes}
    TARGET.write_text(json.dumps(about, indent=1) + "\n")


def entries(file: Path) -> Iterator[str]:
    """Yields the classes that a module gives to the registry."""
    for statement in ast.parse(file.read_text("utf-8-sig")).body:
        if isinstance(statement, ast.Assign) and _BOUND in map(ast.unparse, statement.targets):
            yield from (node.id for node in ast.walk(statement.value) if isinstance(node, ast.Name))


def _version(folder: Path) -> str:
    (about,) = folder.glob("sglang-*.dist-info")
    return about.name.removeprefix("sglang-").removesuffix(".dist-info")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
