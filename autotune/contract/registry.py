"""Finds kernels: the built-in ones, those of installed packages, and a kernel in a file of the user's.

Built-in kernels are the modules ``autotune.kernels.<folder>.kernel`` with a list `KERNELS`; a package offers its own
through the entry-point group ``autotune.kernels``, each entry naming a `Kernel` object; ``path/to/file.py:NAME`` names
an object in a file. ``NAME@SERVER`` names the installed server's own kernel of an op, which the server's folder
offers in ``autotune.servers.<server>.served`` by a function `served_kernel`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from autotune.contract import AnyKernel, Kernel, source
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
            raise InputError(f"kernel: got {name!r}, allowed: {one_of(self.names())}, or path/to/file.py:NAME")
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
    path, colon, attribute = reference.rpartition(":")
    if not colon:
        return installed().get(reference)
    return _load_file(Path(path).resolve(), attribute)


def has_served(name: str, server: str) -> bool:
    """Tells whether the tool can time this server's own kernel of an op."""
    offered = _served_module(server)
    return offered is not None and name in offered.NAMES


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
    name = f"autotune.servers.{server}.served"
    return importlib.import_module(name) if server.isidentifier() and importlib.util.find_spec(name) else None


def absolute(reference: str) -> str:
    """Returns the reference as a worker process, or a later run from elsewhere, can load it."""
    if source.split(reference)[1] != source.BUILTIN:
        return load(reference).name
    path, colon, attribute = reference.rpartition(":")
    return f"{Path(path).resolve()}:{attribute}" if colon else reference


def folder_modules(name: str) -> list[ModuleType]:
    """Imports the modules of this name that stand in kernels' folders, in the order of the folders' names.

    Raises:
        InputError: If they need torch or Triton, and it is not installed.
    """
    package = importlib.import_module("autotune.kernels")
    folders = sorted({file.parent.name for place in package.__path__ for file in Path(place).glob(f"*/{name}.py")})
    try:
        return [importlib.import_module(f"{package.__name__}.{folder}.{name}") for folder in folders]
    except ModuleNotFoundError as error:
        if error.name in ("torch", "triton"):
            raise InputError(
                f"{error.name} is not installed, and kernels need it; install it with: pip install torch==2.13.0 triton"
            ) from error
        raise


@functools.cache
def _load_file(path: Path, attribute: str) -> AnyKernel:
    if not path.is_file():
        raise InputError(f"--kernel: got {path}, no such file; give path/to/file.py:NAME")
    # Two files of one name are two modules.
    name = f"autotune_user_kernel_{path.stem}_{hashlib.sha256(bytes(path)).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"--kernel: got {path}, not a Python file; give path/to/file.py:NAME")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"--kernel: cannot load {path} ({type(error).__name__}: {reason}); mend the file") from error
    kernel = getattr(module, attribute, None)
    if not isinstance(kernel, Kernel):
        raise InputError(
            f"--kernel: got {path}:{attribute}, which is {type(kernel).__name__}; allowed: a Kernel object"
        )
    return kernel


def _origin(kernel: AnyKernel) -> str:
    return f"{type(kernel).__module__}.{type(kernel).__qualname__}"
