"""Finds the call that reads a place in a config file, and the problem that measures it.

It goes the way of `Kernel.call` back. A key has what the server compares; what else makes a problem has to be assumed,
and where nothing sensible can be, the entry cannot be measured: an `InputError` says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from autotune import servers
from autotune.contract import Call, Problem, registry
from autotune.contract.source import AUTO
from autotune.errors import InputError, one_of
from autotune.servers import KeyPath
from autotune.servers.reverse_lookup import Place
from autotune.study.sources import reference

DEFAULT_DTYPE = "float16"

# The fields of problems that no key tells, and from how many values on they are not spelled out.
_OPEN = (
    "dtype",
    "num_loras",
    "active_loras",
    "sort_by_lora_id",
    "slice_widths",
    "tokens",
    "workload",
    "decode_requests",
    "shares",
    "num_experts",
    "top_k",
    "fully_sharded",
    "tp",
    "ep",
    "routing",
    "block_m",
)
_MANY = 4


@dataclass(frozen=True)
class Assumptions:
    """What is taken for the fields of problems that keys do not tell.

    Attributes:
        flags: By the names that `Kernel.problem_from_flags` takes; absent or None where the kernel's default will do.
            Widths of slices hold for the entries that they add up to.
        path: Which kernels of a group a server runs, one of `groups.paths`.
        source: Whose kernel is measured, one of `autotune.contract.source.SOURCES`; of a file of the built-in kernels,
            ``auto`` takes those.
        allow_unknown_server: Measure a server's own kernel although its release is not known.
    """

    flags: Mapping[str, Any]
    path: str = "auto"
    source: str = AUTO
    allow_unknown_server: bool = False


@dataclass(frozen=True)
class Subject:
    """What to measure an entry by: the kernel, by name, and one problem that launches by its key."""

    kernel: str
    problem: Problem

    def to_json(self) -> dict[str, Any]:
        return {"kernel": self.kernel, "problem": self.problem.to_json()}


def place_of(path: PurePath, key: KeyPath) -> Place:
    """Finds the lookup that ends at this key of a file.

    Args:
        path: Of which the file's name counts, and where a server has them those of its folders.

    Raises:
        InputError: If no server looks there.
    """
    for server in map(servers.get, servers.names()):
        if place := server.reverse_lookup.place_of(path, key):
            if server.key_path(place.call) != key:
                raise InputError(f"{'/'.join(key)}: no server looks up a key that is spelled so")
            return place
    raise InputError(f"{path.name}: no file of a server's LoRA kernels has this name")


def subject_of(call: Call, assumptions: Assumptions) -> Subject:
    """Returns a problem that makes this call, and the kernel to time it on, whose choice is what flags are that are not
    given.

    Raises:
        InputError: If the problem cannot be known, no kernel makes the call, or the one asked for cannot be had.
    """
    reverse = servers.get(call.server).reverse_lookup
    given = {"dtype": DEFAULT_DTYPE} | {name: v for name, v in assumptions.flags.items() if v is not None}
    flags = {**given, **reverse.flags_of(call, given)}
    for name in reverse.kernels_of(call, flags, assumptions.path):
        timed = reference(name, assumptions.source, "cuda", assumptions.allow_unknown_server)
        kernel = registry.load(timed)
        problem = kernel.problem_from_flags(flags)
        found = kernel.call(problem)
        if found is not None and replace(found, triton=call.triton) == call:
            return Subject(timed, problem)
    raise InputError(f"{call.server} {call.op}: no kernel here launches by this key")


def assumed(subjects: Iterable[Subject]) -> str:
    """Returns one line with the fields that keys do not tell and what they are in these problems."""
    values: dict[str, dict[str, None]] = {}
    for subject in subjects:
        for name, text in _open_fields(subject.problem).items():
            values.setdefault(name, {})[text] = None
    return "; ".join(
        f"{name} {one_of(texts) if len(texts) < _MANY else 'as the problems say'}" for name, texts in values.items()
    )


def _open_fields(problem: Problem) -> dict[str, str]:
    """Returns what the key does not tell of a problem, to read, without fields that leave nothing to choose."""
    fields = problem.to_json()
    found = {name: fields[name] for name in _OPEN if fields.get(name) not in (None, [])}
    if found.get("active_loras") == fields.get("max_loras", fields.get("num_loras")):
        found["active_loras"] = "all"
    widths = found.get("slice_widths", [])
    if len(widths) == 1:
        del found["slice_widths"]
    elif len(set(widths)) == 1:
        found["slice_widths"] = "equal"
    return {name: "x".join(map(str, v)) if isinstance(v, list) else str(v) for name, v in found.items()}
