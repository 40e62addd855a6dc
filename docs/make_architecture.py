"""Writes docs/architecture.md: the rooms of the house and who imports whom, as the code has it.

python docs/make_architecture.py
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from pathlib import Path

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "autotune"
PAGE = DOCS / "architecture.md"

# Lowest first: a module imports from its own room or from lower ones.
ROOMS = (
    "errors",
    "paths",
    "untrusted",
    "contract",
    "environment",
    "model",
    "servers",
    "kernels",
    "measure",
    "study",
    "search",
    "run",
    "plan",
    "export",
    "config",
    "report",
    "bench",
    "testing",
    "api",
    "cli",
)
KERNELS_HOLD = "The built-in kernels, a folder each; found by the registry, so that no room imports them."

INTRODUCTION = """\
# The house

Written by `docs/make_architecture.py` from docstrings and imports; `tests/test_layout.py` keeps it true. A room is a
package or a module right under `autotune/`. Imports point down: a room knows those below it and none above.

"""
LEGEND = """\
## Who imports whom

The room of a row imports the rooms marked in it. A mark right of the diagonal (`\\`) would be an arrow up.

"""


def page() -> str:
    """Returns the whole document."""
    graph = imports_of_rooms()
    table = ["| | room | holds |", "| ---: | --- | --- |"]
    for number, room in reversed(list(enumerate(ROOMS, start=1))):
        table.append(f"| {number} | `{room}` | {KERNELS_HOLD if room == 'kernels' else summary(room)} |")
    drawing = ["```", *draw(graph), "```"]
    return INTRODUCTION + "\n".join(table) + "\n\n" + LEGEND + "\n".join(drawing) + "\n"


def draw(graph: Mapping[str, set[str]]) -> list[str]:
    """Returns a row for each room, the highest first, with a mark for each room that it imports."""
    lines = [" " * 15 + "".join(f"{number:3d}" for number in range(1, len(ROOMS) + 1))]
    for at, room in reversed(list(enumerate(ROOMS))):
        marks = ["\\" if column == at else "x" if other in graph[room] else "." for column, other in enumerate(ROOMS)]
        lines.append(f"{at + 1:2d} {room:12s}" + "".join(f"{mark:>3s}" for mark in marks))
    return lines


def summary(room: str) -> str:
    """Returns the first paragraph of a room's docstring, on one line."""
    path = PACKAGE / room / "__init__.py" if (PACKAGE / room).is_dir() else PACKAGE / f"{room}.py"
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(text.partition("\n\n")[0].split())


def imports_of_rooms() -> dict[str, set[str]]:
    """Returns for each room the other rooms that its modules import."""
    graph: dict[str, set[str]] = {room: set() for room in ROOMS}
    for module, imported in imports_of_modules().items():
        if (room := room_of(module)) in graph:
            graph[room] |= {room_of(name) for name in imported} - {room}
    return graph


@functools.cache
def imports_of_modules() -> dict[str, set[str]]:
    """Returns for each of our modules those of ours that it imports; names without ``autotune.``."""
    # The search follows no link, so that kernels are searched on their own.
    paths = [*PACKAGE.rglob("*.py"), *(PACKAGE / "kernels").rglob("*.py")]
    files = {module_name(path): path for path in sorted(paths)}
    graph = {}
    for module, file in files.items():
        ours = {name.removeprefix("autotune.") for name in imported_names(file) if name.startswith("autotune.")}
        found = {name if name in files else name.rpartition(".")[0] for name in ours}
        graph[module] = found - {"", module}
    return graph


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def room_of(module: str) -> str:
    return module.partition(".")[0]


def imported_names(file: Path) -> set[str]:
    """Returns everything that a file imports, as ``package.module.name``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute here"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


if __name__ == "__main__":
    PAGE.write_text(page())
