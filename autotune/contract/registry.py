"""Finds kernels: the built-in ones, those of installed packages, and a kernel in a file of the user's.

Built-in kernels are the modules ``autotune.kernels.<folder>.kernel`` with a list `KERNELS`; a package offers its own
through the entry-point group ``autotune.kernels``, each entry naming a `Kernel` object; ``path/to/file.py:NAME`` names
an object in a file. ``NAME@SERVER`` names the installed server's own kernel of an op, which the server's folder
offers in ``autotune.servers.<server>.served`` (`NAMES`, `served_kernel`, `import_package`); what it is made of, in
``served_modules`` beside it (`MODULES`), which loads without torch.

A kernel in a file is the user's own program: it runs where the user names the file. What a storage names, which others
may write to, runs only where it is surely the same (`load_stored`).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from autotune.contract import AnyKernel, Kernel, source
from autotune.contract.source import ServedPackage
from autotune.contract.trust import distrust
from autotune.errors import InputError, one_of

ENTRY_POINT_GROUP = "autotune.kernels"


class Registry:
    """Kernels by name; a second kernel of a name is refused."""

    def __init__(self) -> None:
        self._kernels: dict[str, AnyKernel] = {}

    def register(self, kernel: AnyKernel) -> None:
        if kernel.name in self._kernels:
            raise InputError(
                f"kernel {kernel.name!r} is registered twice, by {_origin(self._kernels[kernel.name])} and "
                f"{_origin(kernel)}; rename one of them"
            )
        self._kernels[kernel.name] = kernel

    def get(self, name: str) -> AnyKernel:
        if name not in self._kernels:
            groups = [kind.name for module in folder_modules("group") for kind in module.GROUPS]
            allowed = one_of(sorted([*self.names(), *groups]))
            raise InputError(f"kernel: got {name!r}, allowed: {allowed}, or path/to/file.py:NAME")
        return self._kernels[name]

    def names(self) -> list[str]:
        return sorted(self._kernels)


@functools.cache
def installed() -> Registry:
    """Returns every kernel of this installation."""
    registry = Registry()
    for module in folder_modules("kernel"):
        for kernel in module.KERNELS:
            registry.register(kernel)
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        registry.register(entry.load())
    return registry


def load(reference: str) -> AnyKernel:
    """Returns the kernel a reference names: a registered name, or ``path/to/file.py:NAME``.

    Raises:
        InputError: If there is no such kernel, file or object.
    """
    name, server, version = source.split(reference)
    if server != source.BUILTIN:
        return _served(name, server, version)
    if (there := _file_of(reference)) is None:
        return installed().get(reference)
    _named.add(there[0])
    return _load_file(*there)


def load_stored(reference: str, fingerprint: str) -> AnyKernel:
    """Returns the kernel that a storage names.

    Args:
        fingerprint: What the storage says its file's is (`autotune.contract.fingerprint.file_fingerprint`).

    Raises:
        InputError: If it is in a file that the user has not named in this process, and that others may have written
            or changed; or as `load`.
    """
    there = _file_of(reference)
    if there is not None and there[0] not in _named and (why := distrust(there[0], fingerprint)):
        raise InputError(
            f"--kernel: the storage names {there[0]}, {why}; look at the file, and if it may run, name it: "
            f"--kernel {there[0]}"
        )
    return load(reference)


def name_file(reference: str) -> None:
    """Notes that the user names a file of kernels, ``path/to/file.py:NAME`` or without the name, without loading it.

    Raises:
        InputError: If there is no such file.
    """
    there = _file_of(reference)
    path = there[0] if there is not None and there[0].is_file() else Path(reference).resolve()
    if not path.is_file():
        raise InputError(f"--kernel: got {reference!r}, no such file; give path/to/file.py")
    _named.add(path)


def served_package(name: str, server: str) -> ServedPackage | None:
    """Returns what this server's own kernel of an op is made of; None where the tool cannot time it."""
    modules = _module_of(server, "served_modules")
    found: ServedPackage | None = modules.MODULES.get(name) if modules else None
    return found


def import_served() -> None:
    """Imports the servers' packages that are installed here; who times a kernel of one is told what is wrong."""
    servers = {kernel.server for kernel in map(installed().get, installed().names()) if kernel.server}
    for server in sorted(servers):
        if offered := _served_module(server):
            with contextlib.suppress(InputError):
                offered.import_package()


def of_server(reference: str, server: str | None) -> str:
    """Returns the reference that a kernel has for a server, which may be given by an alias that is only clear within
    it.

    Without a server an alias will do that a single kernel has.

    Raises:
        InputError: If there is no such kernel, or it is another server's.
    """
    if ":" in reference and (server is None or load(reference).server in (server, None)):
        return reference
    kernels = [installed().get(name) for name in installed().names()]
    if server is None:
        found = [kernel.name for kernel in kernels if reference in kernel.aliases]
        return found[0] if len(found) == 1 and reference not in installed().names() else reference
    ours = [kernel for kernel in kernels if kernel.server in (server, None)]
    for kernel in sorted(ours, key=lambda kernel: kernel.name != reference):
        if reference in (kernel.name, *kernel.aliases):
            return kernel.name
    owner = next((f", a kernel of {kernel.server}" for kernel in kernels if kernel.name == reference), "")
    raise InputError(
        f"--op-type: got {reference!r}{owner}, allowed with --runtime {server}: {one_of(k.name for k in ours)}"
    )


@functools.cache
def _served(name: str, server: str, version: str) -> AnyKernel:
    offered = _served_module(server)
    if offered is None or name not in offered.NAMES:
        allowed = f"allowed: {one_of(offered.NAMES)}" if offered else "a server whose own kernels are not timed"
        raise InputError(f"kernel: got {name!r} of {server}, {allowed}; or leave the server out for the built-in one")
    kernel: AnyKernel = offered.served_kernel(installed().get(name), version)
    return kernel


def _served_module(server: str) -> ModuleType | None:
    return _module_of(server, "served")


def _module_of(server: str, module: str) -> ModuleType | None:
    """Imports a module of a server's folder; None where there is none."""
    name = f"autotune.servers.{server}.{module}"
    try:
        there = server.isidentifier() and importlib.util.find_spec(name)
    except ModuleNotFoundError:  # of the folder
        return None
    return importlib.import_module(name) if there else None


def absolute(reference: str) -> str:
    """Returns the reference as a worker process, or a later run from elsewhere, can load it."""
    if source.split(reference)[1] != source.BUILTIN:
        return load(reference).name
    there = _file_of(reference)
    return f"{there[0]}:{there[1]}" if there else reference


def folders(name: str) -> list[str]:
    """Lists the kernels' folders that have a module of this name."""
    package = importlib.import_module("autotune.kernels")
    return sorted({file.parent.name for place in package.__path__ for file in Path(place).glob(f"*/{name}.py")})


def folder_modules(name: str) -> list[ModuleType]:
    """Imports the modules of this name that stand in kernels' folders, in the order of the folders' names.

    Raises:
        InputError: If they need torch or Triton, and it is not installed.
    """
    try:
        return [importlib.import_module(f"autotune.kernels.{folder}.{name}") for folder in folders(name)]
    except ModuleNotFoundError as error:
        if error.name in ("torch", "triton"):
            raise InputError(
                f"{error.name} is not installed, and kernels need it; install it with: pip install torch==2.13.0 triton"
            ) from error
        raise


_named: set[Path] = set()
"""Files that the user has named in this process."""


class _Source(SourceFileLoader):
    """Compiles the file itself: it takes no bytecode, which anybody may have put beside it, and leaves none there."""

    def path_stats(self, path: str) -> Mapping[str, Any]:
        raise OSError("bytecode is neither read nor written")


def _file_of(reference: str) -> tuple[Path, str] | None:
    """Returns the file, and the name in it, that a reference is of; None for one of a registered kernel."""
    path, colon, attribute = reference.rpartition(":")
    return (Path(path).resolve(), attribute) if colon else None


@functools.cache
def _load_file(path: Path, attribute: str) -> AnyKernel:
    if not path.is_file():
        raise InputError(f"--kernel: got {path}, no such file; give path/to/file.py:NAME")
    # Two files of one name are two modules.
    name = f"autotune_user_kernel_{path.stem}_{hashlib.sha256(bytes(path)).hexdigest()[:8]}"
    loader = _Source(name, str(path))
    module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, loader, origin=str(path)))
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"--kernel: cannot load {path} ({type(error).__name__}: {reason}); fix the file") from error
    kernel = getattr(module, attribute, None)
    if not isinstance(kernel, Kernel):
        found = type(kernel).__name__ if hasattr(module, attribute) else "not defined there"
        raise InputError(f"--kernel: got {path}:{attribute}, which is {found}; allowed: a Kernel object")
    return kernel


def _origin(kernel: AnyKernel) -> str:
    return f"{type(kernel).__module__}.{type(kernel).__qualname__}"
