"""Tells by their sources, without running them, whether an installed server's ops are those that the tool knows."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import distributions, requires
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from autotune.contract.source import OWN_ASKED_FOR, Origin
from autotune.errors import InputError, NotInstalledError
from autotune.servers.variables import variables_set

_FORKABLE = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
"""Lets a package look for a GPU without opening CUDA, which a process that others are forked from must not do."""

_NOT_IN_EVERY_PYTHON = ("type_params", "type_comment", "kind", "type_ignores")


@dataclass(frozen=True)
class ServedModules:
    """The modules that an op is made of, and the releases in which they are known.

    Attributes:
        package: The distribution, which is also the top-level module.
        compiler: The package that brings the compiler of its kernels, whose version it asks for.
        names: The modules' dotted names; several lists where releases differ in them.
        known: By version, the hash of the modules' sources.
        environment: Set while the package is imported, e.g. to keep its log lines out of stdout, where JSON may go.
    """

    package: str
    compiler: str
    names: Sequence[Sequence[str]]
    known: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)

    def version(self) -> str:
        """Returns the installed version, without importing the package.

        Raises:
            NotInstalledError: If it is not installed.
            InputError: If it is there in several versions.
        """
        versions = sorted({found.version for found in distributions(name=self.package)})
        if len(versions) > 1:
            raise InputError(
                f"{OWN_ASKED_FOR}: {self.package} is on the path in {len(versions)} versions ({', '.join(versions)}); "
                "leave one in the environment and in PYTHONPATH"
            )
        if not versions or not self._roots():
            raise NotInstalledError(
                f"{OWN_ASKED_FOR}: {self.package} is not installed here; install the tool into the environment that "
                "the server runs in, or time the built-in kernels with --source builtin"
            )
        return versions[0]

    def files(self) -> dict[str, Path]:
        """Finds the modules of the installed release, by name, and their files, without importing them.

        Raises:
            InputError: If one of them is not there.
        """
        roots = self._roots()
        for names in self.names:
            found = {name: file for name in names if (file := _file(roots, name))}
            if len(found) == len(names):
                return found
        raise InputError(
            f"{OWN_ASKED_FOR}: {self.package} {self.version()} has no module {self.names[0][0]}; "
            f"known releases: {', '.join(self.known)}; install one of these, or give --source builtin"
        )

    def file(self, *parts: str) -> Path | None:
        """Finds a file of the installed package; None where there is none."""
        found = (root.joinpath(*parts) for root in self._roots())
        return next((path for path in found if path.is_file()), None)

    def is_installed(self) -> bool:
        """Tells whether the package is on the path."""
        return bool(self._roots())

    def origin(self) -> Origin:
        """Returns the package's version and the hash of the op's modules, and whether they are known.

        Raises:
            InputError: As `version` and `files`.
        """
        version, found = self.version(), source_hash(self.files().values())
        unknown = (
            ""
            if found in self.known.values()
            else f"the LoRA ops of {self.package} {version} have sources {found}, known are those of "
            f"{', '.join(self.known)}; install one of these, or give --source builtin or --allow-unknown-server"
        )
        return Origin(self.package, version, found, unknown, self._requires())

    def load(self, name: str) -> ModuleType:
        """Imports a module of the package, given by its last name where it is one of `names`, else by all of it.

        Raises:
            InputError: If it is not there, or the package cannot be imported.
        """
        full = name if "." in name else next(each for each in self.files() if each.rpartition(".")[2] == name)
        try:
            # What the package sets of its own while it is imported, its kernels are then to run with.
            with variables_set({**_FORKABLE, **self.environment}):
                return importlib.import_module(full)
        except ImportError as error:
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"{OWN_ASKED_FOR}: {self.package} cannot be imported ({reason}); repair the server's environment, or "
                "time the built-in kernels with --source builtin"
            ) from error

    def _roots(self) -> list[Path]:
        spec = find_spec(self.package)
        return [Path(root) for root in (spec.submodule_search_locations or ())] if spec else []

    def _requires(self) -> str:
        needed = [each.partition(";")[0].strip() for each in requires(self.package) or ()]
        return next((each for each in needed if each.startswith(f"{self.compiler}==")), "")


def _file(roots: list[Path], module: str) -> Path | None:
    _, *parts = module.split(".")
    files = (root.joinpath(*parts).with_suffix(".py") for root in roots)
    return next((file for file in files if file.is_file()), None)


def source_hash(files: Iterable[Path]) -> str:
    """Hashes the syntax trees of modules: a change of comments, docstrings or layout is no change."""
    return _hash_of(tuple((file, file.stat().st_mtime_ns) for file in files))


def function_hash(function: Callable[..., object]) -> str:
    """Hashes the syntax tree of one function, in the same way.

    Raises:
        OSError: If its source is not there.
    """
    return _digest([ast.parse(textwrap.dedent(inspect.getsource(function)))])


@functools.cache
def _hash_of(stamped: tuple[tuple[Path, int], ...]) -> str:
    """Hashes files once as long as they are as they were: every study of a plan asks for it."""
    return _digest(ast.parse(file.read_bytes()) for file, _ in stamped)


def method_hash(file: Path, owner: str, method: str) -> str:
    """Hashes the syntax tree of a class's method as `function_hash` does, without importing the module.

    Raises:
        LookupError: If the file has no such class, or the class no such method of its own.
        OSError: If it cannot be read.
        SyntaxError: If it is no Python.
    """
    node: ast.AST = ast.parse(file.read_bytes())
    for name in (owner, method):
        found = [each for each in getattr(node, "body", ()) if getattr(each, "name", None) == name]
        if not found:
            raise LookupError(f"{file}: has no {name}")
        node = found[-1]
    assert isinstance(node, ast.stmt)
    return _digest([ast.Module([node], [])])


def _digest(trees: Iterable[ast.AST]) -> str:
    digest = hashlib.sha256()
    for tree in trees:
        for token in _tokens(tree):
            digest.update(token.encode())
            digest.update(b"\0")
    return digest.hexdigest()[:16]


def _tokens(node: ast.AST) -> Iterator[str]:
    """Walks a tree; leaves out docstrings, empty fields, and fields that only some Python versions have."""
    yield f"({type(node).__name__}"
    for name, value in ast.iter_fields(node):
        if name in _NOT_IN_EVERY_PYTHON or value is None or value == []:
            continue
        yield f".{name}"
        for item in value if isinstance(value, list) else [value]:
            if _is_docstring(item):
                continue
            if isinstance(item, ast.AST):
                yield from _tokens(item)
            else:
                yield repr(item)
    yield ")"


def _is_docstring(item: object) -> bool:
    """Tells whether a statement is a bare string, which does nothing wherever it stands."""
    return isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and isinstance(item.value.value, str)
