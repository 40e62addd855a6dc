"""``doctor`` says what is here, what is missing, and how to fix it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from autotune import paths, servers
from autotune.cli.flags.command import FlagCommand, takes_flags
from autotune.contract import registry
from autotune.environment import cuda_available, current_gpu, driver_version, installed_version
from autotune.errors import InputError, one_of
from autotune.measure import recording
from autotune.paths import DEFAULT_STORAGE_URL
from autotune.report.tables import show, table
from autotune.servers.places import SWITCH
from autotune.study import overview
from autotune.untrusted.printing import say
from autotune.untrusted.secrets import without_secrets

_NEEDED = {
    "torch": "pip install torch==2.13.0",
    "triton": "pip install triton",
    "optuna": "pip install 'optuna>=5,<6'",
    "sqlalchemy": "pip install 'sqlalchemy>=2'",
}
_OPTIONAL = {"optuna-dashboard": "pip install optuna-dashboard"}


@dataclass(frozen=True)
class Observation:
    """One thing looked at.

    Attributes:
        fix: The line that fixes it; empty if there is nothing to fix.
    """

    what: str
    found: str
    fix: str = ""


@click.command(cls=FlagCommand)
@takes_flags
def doctor(storage: str = DEFAULT_STORAGE_URL, as_json: bool = False) -> None:
    """Check this machine, and say how to fix what is missing.

    Looks at GPU, driver, versions, storage, cache, kernel sources, plug-ins and recorded spaces.
    """
    findings = list(_findings(storage))
    if as_json:
        say(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        show(table("", ("what", "found", "how to fix it"), [(f.what, f.found, f.fix) for f in findings]))


def _findings(storage: str) -> Iterator[Observation]:
    yield from _gpu()
    for package, line in _NEEDED.items():
        version = installed_version(package)
        yield Observation(package, version or "not installed", "" if version else line)
    for package, line in _OPTIONAL.items():
        version = installed_version(package)
        yield Observation(package, version or "not installed (optional)", "" if version else line)
    yield _storage(storage)
    yield _cache()
    yield from _kernels()
    for engine in reversed(servers.names()):
        yield Observation(f"engine {engine}", installed_version(engine) or "not installed (not needed to tune)")
    yield from _plugins()
    yield from _recorded_spaces()


def _plugins() -> Iterator[Observation]:
    """Tells what a server that is started in this environment would run."""
    for name in reversed(servers.names()):
        if (state := servers.get(name).plugin_state()) is not None:
            yield Observation(
                f"plug-in {name}", state.line or f"off, since {SWITCH} does not ask for it", state.ignored
            )


def _recorded_spaces() -> Iterator[Observation]:
    names = [path.name.removesuffix(recording.SUFFIX) for path in recording.find()]
    for kernel, group in itertools.groupby(names, key=lambda name: "_".join(name.split("_")[:2])):
        yield Observation(f"recorded {kernel}", one_of(name.removeprefix(f"{kernel}_") for name in group))


def _gpu() -> Iterator[Observation]:
    yield Observation("NVIDIA driver", driver_version() or "not found (nvidia-smi)")
    if not cuda_available():
        yield Observation(
            "GPU", "none that torch can use", "tune on a machine with a CUDA GPU, or try --backend replay"
        )
        return
    gpu = current_gpu()
    capability = ".".join(map(str, gpu.capability))
    yield Observation("GPU", f"{gpu.name}, compute capability {capability}, {gpu.sms} SMs, L2 {gpu.l2_bytes >> 20} MiB")


def _storage(url: str) -> Observation:
    try:
        count = len(overview.of(url).ours)
    except InputError as error:
        found, _, fix = str(error).removeprefix("--storage: ").partition("; ")
        return Observation("storage", found, fix)
    return Observation("storage", f"{without_secrets(url)}, {count} studies")


def _cache() -> Observation:
    folder = paths.cache_dir()
    size_bytes = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    return Observation("cache", f"{folder}, {size_bytes / 1e6:.0f} MB")


def _kernels() -> Iterator[Observation]:
    """Loads none of them: that takes torch, and seconds."""
    yield Observation("kernels (builtin)", one_of(registry.folders("kernel")))
