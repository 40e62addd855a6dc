"""Which kernel a study times: the installed server's own, or the built-in one of the same op."""

from __future__ import annotations

from collections.abc import Iterable

from autotune.contract import registry, source
from autotune.contract.source import AUTO, SERVED
from autotune.errors import InputError, NotInstalledError, one_of
from autotune.study.spec import StudySpec


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
    chosen = _chosen(kernel, wanted, backend)
    origin = None if backend == "replay" or allow_unknown_server else registry.load(chosen).origin()
    if origin is not None and origin.unknown:
        raise InputError(f"--source {wanted}: {origin.unknown}")
    return chosen


def _chosen(kernel: str, wanted: str, backend: str) -> str:
    if wanted == source.BUILTIN or source.split(kernel)[1] != source.BUILTIN:
        return kernel
    loaded = registry.load(kernel)
    server = loaded.server
    timed = server is not None and registry.has_served(loaded.name, server)
    if wanted == AUTO and (backend == "replay" or not timed):
        return kernel
    if not timed:
        raise InputError(
            f"--source {SERVED}: got {kernel}, whose server's own kernel is not timed here; "
            f"allowed: {one_of(_timed())}, or --source {source.BUILTIN}"
        )
    if backend == "replay":
        return kernel
    try:
        return registry.load(source.join(loaded.name, str(server))).name
    except NotInstalledError:
        if wanted == SERVED:
            raise
        return kernel


def notices(specs: Iterable[StudySpec]) -> list[str]:
    """Tells what the times of studies are of, where a user may take them for something else; one line each."""
    timed = [spec for spec in specs if spec.backend != "replay"]
    ours = sorted({spec.call.server for spec in timed if spec.call is not None and spec.source == source.BUILTIN})
    lines = [
        f"times are of the built-in kernels, whose files a {server} server reads with this project's plug-in only; to "
        f"time its own kernels, install the tool where {server} is installed"
        for server in ours
    ]
    for spec in {(spec.kernel, spec.environment): spec for spec in timed}.values():
        environment = spec.environment
        try:
            origin = spec.load_kernel().origin()
        except InputError:
            continue  # Its own run says so; the other studies have theirs.
        if origin is not None and origin.requires and not _is_met(origin.requires, environment.torch):
            lines.append(
                f"{origin} asks for {origin.requires}, and times here are of torch {environment.torch} with Triton "
                f"{environment.triton}: another compiler may rank configs otherwise"
            )
    return list(dict.fromkeys(lines))


def _is_met(requirement: str, version: str | None) -> bool:
    """Tells whether a version, whose local part does not count, is the one that a package asks for."""
    return version is not None and requirement.partition("==")[2] == version.partition("+")[0]


def _timed() -> list[str]:
    kernels = [registry.installed().get(name) for name in registry.installed().names()]
    return [kernel.name for kernel in kernels if kernel.server and registry.has_served(kernel.name, kernel.server)]
