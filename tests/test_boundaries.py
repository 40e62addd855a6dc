"""What is known of a server stands in its folder: nothing else names it, imports from it, or copies its facts."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune import servers

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "autotune"


def sources() -> Iterator[Path]:
    """All files of the tool and of its kernels."""
    linked = {PACKAGE / "kernels", PACKAGE / "studies"}
    yield from (file for file in sorted(PACKAGE.rglob("*.py")) if not linked & set(file.parents))
    yield from sorted((ROOT / "kernels").rglob("*.py"))


def outside() -> Iterator[Path]:
    """Those in which no server may be named."""
    yield from (file for file in sources() if not file.is_relative_to(ROOT / "kernels") and not in_servers(file))


def in_servers(file: Path) -> bool:
    return file.is_relative_to(PACKAGE / "servers")


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


def collections(tree: ast.AST) -> Iterator[Any]:
    """Every tuple, list, set and dict that is written out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict):
            try:
                yield plain(ast.literal_eval(node))
            except ValueError:
                continue


def plain(value: Any) -> Any:
    """A collection such that copies in another type are equal to it."""
    if isinstance(value, dict):
        return tuple((key, plain(each)) for key, each in value.items())
    if isinstance(value, set | frozenset):
        return tuple(sorted(value, key=repr))
    return tuple(map(plain, value)) if isinstance(value, tuple | list) else value


def facts() -> Iterator[tuple[str, Any]]:
    """The constants of all servers, by name."""
    for name in servers.names():
        module = importlib.import_module(f"autotune.servers.{name}.facts")
        yield from ((f"{name}.{key}", value) for key, value in vars(module).items() if key.isupper())


def telling_facts() -> dict[str, Any]:
    """Those that no other constant equals by chance: patterns, environment variables, lists of names, long lists."""
    return {name: value for name, value in facts() if isinstance(value, re.Pattern) or is_telling(value)}


def is_telling(value: Any) -> bool:
    if isinstance(value, str):
        return value.isupper()
    few_numbers = isinstance(value, Collection) and len(value) <= 4 and all(isinstance(each, int) for each in value)
    return isinstance(value, Collection) and len(value) > 2 and not few_numbers


def test_each_server_has_its_facts_in_one_module() -> None:
    found = dict(facts())
    assert {name.partition(".")[0] for name in found} == set(servers.names())
    assert len(found) > 2 * len(servers.names())


def test_nothing_else_imports_from_a_servers_folder() -> None:
    folders = tuple(f"autotune.servers.{name}" for name in servers.names())
    assert not [relative(file) for file in outside() if any(each.startswith(folders) for each in imports(parsed(file)))]


def test_nothing_else_names_a_server() -> None:
    names = set(servers.names())
    assert not [relative(file) for file in outside() if names & set(strings(parsed(file)))]


@pytest.mark.parametrize("name", telling_facts())
def test_a_fact_is_written_down_once(name: str) -> None:
    value = telling_facts()[name]
    written = collections if isinstance(value, Collection) and not isinstance(value, str) else strings
    wanted = value.pattern if isinstance(value, re.Pattern) else plain(value)
    home = f"autotune/servers/{name.partition('.')[0]}/facts.py"
    assert [relative(file) for file in sources() if wanted in set(written(parsed(file)))] in ([home], [])


def test_the_search_for_copies_finds_the_originals() -> None:
    keys = parsed(PACKAGE / "servers" / "vllm" / "facts.py")
    assert plain(telling_facts()["vllm.ENTRY_KEYS"]) in set(collections(keys))
    assert telling_facts()["vllm.CONFIG_FOLDER"] in set(strings(keys))


_PARSED: dict[Path, ast.AST] = {}


def parsed(file: Path) -> ast.AST:
    if file not in _PARSED:
        _PARSED[file] = ast.parse(file.read_text())
    return _PARSED[file]
