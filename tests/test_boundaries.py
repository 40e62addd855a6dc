"""What is known of a server stands in its folder: nothing else names it, imports from it, or copies its facts."""

from __future__ import annotations

import ast
import functools
import importlib
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune import servers

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "autotune"

# Who puts the servers together, and whose flags are those of all.
IMPORT_SERVERS = {"autotune/servers/__init__.py", "autotune/servers/batches.py"}
# An example of what a user types.
TYPED_BY_A_USER = {"autotune/api/__init__.py"}


def sources() -> Iterator[Path]:
    """All files of the tool and of its kernels."""
    linked = {PACKAGE / "kernels", PACKAGE / "studies"}
    yield from (file for file in sorted(PACKAGE.rglob("*.py")) if not linked & set(file.parents))
    yield from sorted((ROOT / "kernels").rglob("*.py"))


def outside() -> Iterator[Path]:
    """Those in which no server may be named: all but the servers' own folders and the kernels."""
    folders = {PACKAGE / "servers" / name for name in servers.names()} | {ROOT / "kernels"}
    yield from (file for file in sources() if not folders & set(file.parents))


def relative(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def strings(tree: ast.AST) -> Iterator[str]:
    yield from (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))


def integers(tree: ast.AST) -> Iterator[int]:
    yield from (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and type(node.value) is int)


def code_words(tree: ast.AST) -> Iterator[str]:
    """Names, and strings that are no sentence: keys, names of files, pieces of them."""
    yield from (text for text in strings(tree) if not re.search(r"\s", text.strip()))
    names = (getattr(node, key, None) for node in ast.walk(tree) for key in ("id", "attr", "arg", "name"))
    yield from (name for name in names if isinstance(name, str))


def collections(tree: ast.AST) -> Iterator[Any]:
    """Every tuple, list, set and dict that is written out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict):
            try:
                yield plain(ast.literal_eval(node))
            except ValueError:
                continue


def plain(value: Any) -> Any:
    """A collection such that copies in another type and order are equal to it."""
    if isinstance(value, dict):
        return tuple((key, plain(each)) for key, each in value.items())
    if isinstance(value, tuple | list | set | frozenset):
        return tuple(sorted(map(plain, value), key=repr))
    return value


def facts() -> Iterator[tuple[str, Any]]:
    """The constants of all servers, by name."""
    for name in servers.names():
        module = importlib.import_module(f"autotune.servers.{name}.facts")
        yield from ((f"{name}.{key}", value) for key, value in vars(module).items() if key.isupper())


def telling_facts() -> dict[str, Any]:
    """Those that no other constant equals by chance: patterns, variables, long names and numbers, long lists."""
    return {name: value for name, value in facts() if isinstance(value, re.Pattern) or is_telling(value)}


def is_telling(value: Any) -> bool:
    if isinstance(value, int):
        return value > 10_000
    if isinstance(value, str):
        return value.isupper() or ("_" in value and len(value) > 10)
    few_numbers = isinstance(value, Collection) and len(value) <= 4 and all(isinstance(each, int) for each in value)
    return isinstance(value, Collection) and len(value) > 2 and not few_numbers


def test_each_server_has_its_facts_in_one_module() -> None:
    found = dict(facts())
    assert {name.partition(".")[0] for name in found} == set(servers.names())
    assert len(found) > 2 * len(servers.names())


def test_nothing_else_imports_from_a_servers_folder() -> None:
    folders = tuple(f"autotune.servers.{name}" for name in servers.names())
    found = {relative(file) for file in outside() if any(each.startswith(folders) for each in imports(parsed(file)))}
    assert found == IMPORT_SERVERS


def test_no_text_but_the_command_lines_names_a_server() -> None:
    """Neither code nor docstring; the help of the command line says which flag is whose."""
    texts = [file for file in outside() if not file.is_relative_to(PACKAGE / "cli")]
    found = {relative(file) for file in texts if a_server().search(file.read_text())}
    assert found == IMPORT_SERVERS | TYPED_BY_A_USER


def test_no_code_of_the_command_line_names_a_server() -> None:
    texts = [file for file in outside() if file.is_relative_to(PACKAGE / "cli")]
    assert not [relative(file) for file in texts if any(map(a_server().search, code_words(parsed(file))))]


def a_server() -> re.Pattern[str]:
    return re.compile("|".join(servers.names()), re.IGNORECASE)


def test_nothing_else_spells_the_files_of_a_server() -> None:
    """Upper-case words of their names do for telling them."""
    patterns = [value.pattern for _, value in facts() if isinstance(value, re.Pattern)]
    words = {word for pattern in patterns for word in re.findall(r"[A-Z]{4,}(?:_[A-Z]+)*", pattern)}
    assert "SHRINK" in words
    spelled = re.compile("|".join(sorted(words)))
    assert not [relative(file) for file in outside() if any(map(spelled.search, code_words(parsed(file))))]


@pytest.mark.parametrize("name", telling_facts())
def test_a_fact_is_written_down_once(name: str) -> None:
    value = telling_facts()[name]
    written: Callable[[ast.AST], Iterator[Any]] = strings
    if isinstance(value, int):
        written = integers
    elif isinstance(value, Collection) and not isinstance(value, str):
        written = collections
    wanted = value.pattern if isinstance(value, re.Pattern) else plain(value)
    home = f"autotune/servers/{name.partition('.')[0]}/facts.py"
    assert places(written).get(wanted, []) in ([home], [])


@functools.cache
def places(written: Callable[[ast.AST], Iterator[Any]]) -> dict[Any, list[str]]:
    """Tells in which files each value of one kind is written."""
    found: dict[Any, list[str]] = {}
    for file in sources():
        for value in set(written(parsed(file))):
            found.setdefault(value, []).append(relative(file))
    return found


def test_the_search_for_copies_finds_the_originals() -> None:
    keys = parsed(PACKAGE / "servers" / "vllm" / "facts.py")
    assert plain(telling_facts()["vllm.ENTRY_KEYS"]) in set(collections(keys))
    assert telling_facts()["vllm.CONFIG_FOLDER"] in set(strings(keys))
    assert telling_facts()["vllm.MAX_LM_HEAD_COLUMNS"] in set(integers(keys))


@functools.cache
def parsed(file: Path) -> ast.AST:
    return ast.parse(file.read_text())
