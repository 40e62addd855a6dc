"""What docstrings, comments and pages refer to exists: sections of the contracts, laws, names of modules, files."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("autotune", "kernels", "tests", "docs")
PAGES = (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("kernels/*/*.md"))

SECTION = re.compile(r"\b[A-C][1-9]\d?\b")
LAW = re.compile(r"\blaw (\d+)", re.IGNORECASE)
DOTTED = re.compile(r"`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)`")
PATH = re.compile(r"`((?:[\w.-]+/)+[\w-]+\.(?:py|md|sh|toml))`")
SUFFIXES = {"cfg", "csv", "json", "md", "py", "sh", "toml", "typed"}
SERVERS = ("vllm/", "sglang/")


def test_every_section_cited_is_in_the_contracts() -> None:
    missing = [f"{place}: {name}" for place, name in cited(SECTION) if name not in sections()]
    assert not missing


@pytest.mark.parametrize(("server", "section"), [("vllm", "A"), ("sglang", "B")])
def test_the_facts_are_of_the_release_that_the_contracts_name(server: str, section: str) -> None:
    page = (ROOT / "docs" / "contracts.md").read_text()
    facts = importlib.import_module(f"autotune.servers.{server}.facts")
    heading = re.search(rf"^## {section}\. (\w+ \d+\.\d+\.\d+)", page, re.MULTILINE)
    told = re.search(r"\w+ \d+\.\d+\.\d+", facts.__doc__ or "")
    assert heading
    assert told
    assert told[0] == heading[1]
    assert heading[1].split()[0].lower() == server


def test_every_constant_of_a_server_cites_the_contracts() -> None:
    """In the text below it, or below the next one that has such a text."""
    assert not list(uncited())


def test_every_law_cited_is_in_the_contributing_guide() -> None:
    missing = [f"{place}: law {number}" for place, number in cited(LAW) if int(number) not in laws()]
    assert not missing


def test_every_dotted_name_is_a_module_or_in_one() -> None:
    missing = [f"{place}: {name}" for place, name in cited(DOTTED) if is_ours(name) and not resolves(name, place)]
    assert not missing


def test_every_file_named_exists() -> None:
    missing = [
        f"{place}: {name}"
        for place, name in cited(PATH)
        if not name.startswith((*SERVERS, "OUT/")) and not any((base / name).is_file() for base in bases(place))
    ]
    assert not missing


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('"""As contracts A6, B4 say."""', ["A6", "B4"]),
        ('X = 1\n"""The A100 of contracts\nA1 to A3."""', ["A1", "A3"]),
        ("x = 1  # (B2)", ["B2"]),
        ("x = 'A9'", []),
    ],
)
def test_citations_are_found_in_docstrings_and_comments_alone(text: str, found: list[str]) -> None:
    assert SECTION.findall(prose(text)) == found


def uncited() -> Iterator[str]:
    for file in sorted(ROOT.glob("autotune/servers/*/facts.py")):
        waiting: list[str] = []
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                waiting.append(node.target.id)
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and waiting:
                yield from () if SECTION.search(str(node.value.value)) else (f"{file.parent.name}.{waiting[-1]}",)
                waiting = []
        yield from (f"{file.parent.name}.{name}" for name in waiting)


def cited(pattern: re.Pattern[str]) -> Iterator[tuple[Path, str]]:
    for place, text in texts().items():
        for found in pattern.findall(text):
            yield place, found


@cache
def texts() -> dict[Path, str]:
    """Returns everything that is written for readers, by file."""
    code = {file: prose(file.read_text()) for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))}
    return {**code, **{file: file.read_text() for file in PAGES}}


def prose(code: str) -> str:
    """Returns a module's docstrings (of constants, too) and comments."""
    docstrings = [
        node.value.value
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return "\n".join([*docstrings, *(token.string for token in tokens if token.type == tokenize.COMMENT)])


@cache
def sections() -> frozenset[str]:
    return frozenset(re.findall(r"^### ([A-C]\d+)\. ", (ROOT / "docs" / "contracts.md").read_text(), re.MULTILINE))


@cache
def laws() -> frozenset[int]:
    _, _, rest = (ROOT / "CONTRIBUTING.md").read_text().partition("\n## Laws\n")
    listed, _, _ = rest.partition("\n## ")
    return frozenset(map(int, re.findall(r"^(\d+)\. ", listed, re.MULTILINE)))


def is_ours(name: str) -> bool:
    first, last = name.split(".")[0], name.rpartition(".")[2]
    return last not in SUFFIXES and (first == "autotune" or first in rooms())


@cache
def rooms() -> frozenset[str]:
    folders = (path for path in (ROOT / "autotune").iterdir() if path.is_dir() or path.suffix == ".py")
    return frozenset(path.stem for path in folders) - {"__init__", "__main__", "__pycache__"}


def resolves(name: str, place: Path) -> bool:
    """Tells whether a name is one from the package, from our top or from the module's own folder."""
    here = ".".join(place.parent.relative_to(ROOT).parts)
    return any(is_name(full) for full in (name, f"autotune.{name}", f"{here}.{name}") if full.startswith("autotune."))


def is_name(full: str) -> bool:
    parts = full.split(".")
    for count in range(len(parts), 0, -1):
        module = ".".join(parts[:count])
        if not is_module(module):
            continue
        # A module is looked for and not loaded: some change the process that loads them.
        if count == len(parts):
            return True
        found = importlib.import_module(module)
        for attribute in parts[count:]:
            if not hasattr(found, attribute):
                return False
            found = getattr(found, attribute)
        return True
    return False


def is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def bases(place: Path) -> tuple[Path, ...]:
    """Returns where a path may start: at the top, in the package, among the kernels, or beside what names it."""
    return ROOT, ROOT / "autotune", ROOT / "kernels", place.parent
