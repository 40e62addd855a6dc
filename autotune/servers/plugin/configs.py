"""Finds the config that one of our kernels launches with: a tuned one by the server's lookup rule, if it was tuned for
this GPU and this kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from autotune.contract import Call, Config
from autotune.contract.gpu import underscored
from autotune.contract.source import BUILTIN
from autotune.errors import InputError, one_of
from autotune.servers import provenance, stand_back
from autotune.servers.lookup import Lookup
from autotune.servers.plugin.notices import one_line, warn_once
from autotune.servers.provenance import Record

_MOST_KEPT = 16_384
"""How many lookups are kept: batches of prompts are of any size."""

_Place = tuple[Path | None, tuple[str, ...]]


@dataclass(frozen=True)
class Tuner:
    """On what a config must have been tuned, to be launched here.

    Attributes:
        gpu: The GPU's name, as the driver spells it.
        fingerprint: The kernel's, as side-cars have it.
    """

    gpu: str
    fingerprint: str

    def refuses(self, record: Record) -> str:
        """Tells why a config is not for here; empty if it is, or if nobody measured it."""
        if record.source is None:
            return ""
        about = record.provenance
        environment = about.get("environment")
        gpu = environment.get("gpu") if isinstance(environment, Mapping) else None
        if record.source != BUILTIN:
            return f"was tuned on the kernel of {record.source}"
        if not isinstance(gpu, str):
            return "does not tell its GPU"
        if underscored(gpu) != underscored(self.gpu):
            return f"was tuned on {gpu}"
        if about.get("kernel_fingerprint") != self.fingerprint:
            return "was tuned on another version of the kernel"
        return ""


class TunedConfigs:
    """The tuned configs of one of our kernels in a folder. Nothing here raises: what is wrong is warned of, once.

    Args:
        look_up: What the server's rule comes to in the folder.
        required: What a config must hold, as positive integers.
    """

    def __init__(self, folder: Path, look_up: Callable[[Call], Lookup], here: Tuner, required: tuple[str, ...]) -> None:
        self._folder = folder
        self._look_up = look_up
        self._here = here
        self._required = required
        self._rejected: set[_Place] = set()
        self._kept: dict[tuple[object, ...], Config | None] = {}

    def find(self, call: Call, workload: str | None = None) -> Config | None:
        """Returns the config of a call; None where there is none to use.

        One that leaves the call to the server's own kernel (`autotune.servers.stand_back`) is returned as any other.

        Args:
            workload: The kind of the call's batch, if what was timed on the other kind alone has no say for it.
        """
        key = (workload, call.op, *call.dims.items())
        if key not in self._kept:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[key] = self._found_for(call, workload)
        return self._kept[key]

    def reject(self, call: Call, why: str) -> None:
        """Leaves the config that a call finds out from now on, since it does not run."""
        found = self._look_up(call)
        self._rejected.add((found.path, found.key_path))
        self._kept.clear()
        warn_once(f"{found.path}: the entry {_spelled(found)} does not run ({why}); its calls run as without an entry")

    def _found_for(self, call: Call, workload: str | None) -> Config | None:
        try:
            found = self._look_up(call)
        except OSError as error:  # of a folder that may be listed and not searched, say
            warn_once(f"{self._folder}: cannot be read ({one_line(error)}): calls run as without an entry")
            return None
        return self._found(found, workload)

    def _found(self, found: Lookup, workload: str | None) -> Config | None:
        if found.origin == "default" and found.path is not None and found.path.exists():
            return None
        if (found.path, found.key_path) in self._rejected:
            return None
        if why := self._unusable(found):
            warn_once(f"{why}: calls run as without an entry")
            return None
        record = self._record(found)
        return found.config if record is None or record.has_say(workload) else None

    def _unusable(self, found: Lookup) -> str:
        """Tells why nothing that a lookup comes to can be launched; empty if it can."""
        if found.failure is not None:
            return f"{found.path}: {found.failure.message}"
        if found.path is None or not found.path.exists():
            name = "no file" if found.path is None else f"no {found.path.name}"
            return f"{self._folder}: has {name} of this GPU, {self._here.gpu}"
        config = found.config or {}
        if stand_back.is_one(config):
            return ""
        if bad := [name for name in self._required if not _is_size(config.get(name))]:
            return f"{found.path}: the entry {_spelled(found)} has no positive {one_of(bad)}"
        why = self._refused(found)
        return f"{found.path}: an entry {why}; tune again for it" if why else ""

    def _refused(self, found: Lookup) -> str:
        """Tells why the side-car says that the entry found is not for here."""
        record = self._record(found)
        return self._here.refuses(record) if record else ""

    def _record(self, found: Lookup) -> Record | None:
        """Returns what the side-car says of the entry found; None if it says nothing."""
        return None if found.path is None else self._records.get((found.path, found.key_path))

    @cached_property
    def _records(self) -> dict[tuple[Path, tuple[str, ...]], Record]:
        try:
            return provenance.by_place(self._folder)
        except InputError as error:
            warn_once(str(error))
            return {}


def _is_size(value: object) -> bool:
    return type(value) is int and value > 0


def _spelled(found: Lookup) -> str:
    return "/".join(found.key_path)
