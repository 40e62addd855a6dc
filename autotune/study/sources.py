"""Chooses which kernel a study times: the installed server's own, or the built-in one of the same op."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from autotune import servers
from autotune.contract import AnyKernel, Problem, registry, source
from autotune.contract.source import AUTO, BOTH, OWN_ASKED_FOR, SERVED, Origin
from autotune.errors import InputError, NotInstalledError, one_of
from autotune.study.spec import StudySpec


@dataclass(frozen=True)
class Choice:
    """Which kernel of an op is timed, and why.

    Attributes:
        source: `BUILTIN`, or the server whose own kernel it is.
        origin: The package of a server's own kernel; None of a built-in one, and of a replay.
        why: What decided it.
    """

    source: str
    origin: Origin | None
    why: str


def choose(name: str, server: str | None, wanted: str, backend: str) -> Choice:
    """Chooses whose kernel of an op is timed; loads neither torch nor the server's package.

    Args:
        name: The built-in kernel's name.
        server: The server that reads its results.
        wanted: One of `autotune.contract.source.SOURCES`.
        backend: ``cuda``, or ``replay``: a recording has the source it was recorded of.

    Raises:
        InputError: If the server's own kernel is asked for, and there is none, or it is not installed; or if its
            package is there twice.
    """
    if wanted == source.BUILTIN:
        return Choice(source.BUILTIN, None, f"--source {source.BUILTIN} asks for it")
    package = registry.served_package(name, server) if server else None
    if package is None or server is None:
        if wanted == AUTO:
            return Choice(source.BUILTIN, None, "no server has a kernel of its own of this op that is timed here")
        raise InputError(
            f"{OWN_ASKED_FOR}: got {name}, whose server's own kernel is not timed here; "
            f"allowed: {one_of(_timed())}, or --source {source.BUILTIN}"
        )
    if backend == "replay":
        return Choice(source.BUILTIN, None, "a replay times what its recording was made of")
    try:
        origin = package.origin()
    except NotInstalledError:
        if wanted == SERVED:
            raise
        return Choice(source.BUILTIN, None, f"{server} is not installed here")
    return Choice(server, origin, f"{origin} is installed here")


def reference(kernel: str, wanted: str, backend: str, allow_unknown_server: bool = False) -> str:
    """Returns the reference of the kernel to time.

    Args:
        kernel: Reference of a kernel; one that names its source is left as it is.
        wanted: One of `autotune.contract.source.SOURCES`.
        backend: ``cuda``, or ``replay``: a recording has the source it was recorded of.
        allow_unknown_server: Time a server's own kernel although its release is not known.

    Raises:
        InputError: If the server's own kernel is asked for, and there is none, or it is not installed; or if its
            release is not known.
    """
    if source.split(kernel)[1] == source.BUILTIN:
        loaded = registry.load(kernel)
        choice = choose(loaded.name, loaded.server, wanted, backend)
        if choice.source != source.BUILTIN:
            kernel = registry.load(source.join(loaded.name, choice.source)).name
    if backend != "replay" and not allow_unknown_server:
        refuse_unknown(registry.load(kernel).origin(), wanted)
    return kernel


def refuse_unknown(origin: Origin | None, wanted: str) -> None:
    """Refuses a server's own kernel whose sources no known release has.

    Raises:
        InputError: If it is one.
    """
    if origin is not None and origin.unknown:
        asked = OWN_ASKED_FOR if wanted in (SERVED, BOTH) else f"--source {wanted}"
        raise InputError(f"{asked}: {origin.unknown}")


def refuse_unrunnable(kernel: AnyKernel, problem: Problem) -> None:
    """Raises InputError if no server of the kernel's release runs the problem, whatever the config, or if its lookup is
    of a server that there is not."""
    if refusal := kernel.refusal(problem):
        raise InputError(f"{kernel.name} {problem.label}: {refusal}")
    if (call := kernel.call(problem)) is not None and call.server not in servers.names():
        raise InputError(
            f"{kernel.name}: its lookup is of server {call.server!r}, allowed: {one_of(servers.names())}; a kernel "
            "that no server loads configs for has none"
        )


def notices(specs: Iterable[StudySpec], finished: Iterable[StudySpec] = ()) -> list[str]:
    """Tells what the times of studies are of, where a user may take them for something else; one line each.

    Args:
        finished: Of studies beside them that are not run again: the server's own kernels may be timed already.
    """
    timed = [spec for spec in specs if spec.backend != "replay"]
    builtin: dict[str, set[str]] = {}
    for spec in timed:
        if spec.call is not None and spec.source == source.BUILTIN:
            builtin.setdefault(spec.call.server, set()).add(spec.kernel)
    for server in {spec.source for spec in [*timed, *finished] if spec.backend != "replay" and _is_installed(spec)}:
        builtin.pop(server, None)
    lines = [line for server, kernels in sorted(builtin.items()) for line in _who_reads(server, kernels)]
    return list(dict.fromkeys([*lines, *compiler_notes(timed)]))


def _who_reads(server: str, kernels: set[str]) -> Iterator[str]:
    """Tells who reads the files of built-in kernels that are timed while the server's own are not."""
    remedy = _remedy(server, kernels)
    unread = sorted(kernels - set(servers.get(server).plugin_kernels))
    if unread:
        yield f"nobody reads files of {one_of(unread)}, which the plug-in does not launch{remedy}"
    if len(unread) < len(kernels):
        yield (
            f"times are of the built-in kernels, whose files a {server} server reads with this project's plug-in only"
            f"{remedy}"
        )


def _remedy(server: str, kernels: set[str]) -> str:
    """Tells how the server's own kernels are timed instead; empty where it has none of these ops."""
    own = kernels.intersection(_timed())
    if not own:
        return ""
    here = any(_is_here(name, server) for name in own)
    remedy = f"take --source {SERVED}" if here else f"install the tool where {server} is installed"
    return f"; to time its own kernels, {remedy}"


def _is_installed(spec: StudySpec) -> bool:
    """Tells whether a study is of a server's own kernel whose package is here."""
    name, server, _ = source.split(spec.kernel)
    return server != source.BUILTIN and _is_here(name, server)


def _is_here(name: str, server: str) -> bool:
    """Tells whether the package with the server's own kernel of an op is here."""
    package = registry.served_package(name, server)
    try:
        return package is not None and package.origin() is not None
    except InputError:
        return False


def compiler_notes(specs: Iterable[StudySpec]) -> list[str]:
    """Says of which servers' own kernels times are of another compiler than their installed package asks for."""
    lines = []
    for spec in {(spec.kernel, spec.environment): spec for spec in specs if spec.backend != "replay"}.values():
        name, server, _ = source.split(spec.kernel)
        package = registry.served_package(name, server) if server != source.BUILTIN else None
        try:
            origin = package.origin() if package else None
        except InputError:
            continue  # Its own run says so; the other studies have theirs.
        lines += other_compiler(origin, spec.environment.torch, spec.environment.triton)
    return list(dict.fromkeys(lines))


def other_compiler(origin: Origin | None, torch: str | None, triton: str | None) -> list[str]:
    """Says if a server asks for another compiler than the one that times are of."""
    if origin is None or not origin.requires or _is_met(origin.requires, torch):
        return []
    return [
        f"{origin} asks for {origin.requires}, and times here are of torch {torch} with Triton {triton}: another "
        "compiler may rank configs otherwise"
    ]


def _is_met(requirement: str, version: str | None) -> bool:
    """Tells whether a version, whose local part does not count, is the one that a package asks for."""
    return version is not None and requirement.partition("==")[2] == version.partition("+")[0]


def _timed() -> list[str]:
    kernels = [registry.installed().get(name) for name in registry.installed().names()]
    return [kernel.name for kernel in kernels if kernel.server and registry.served_package(kernel.name, kernel.server)]
