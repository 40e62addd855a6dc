"""Reads a trace that a plug-in has written in a server's processes; anybody may have made the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from autotune.errors import InputError, one_of
from autotune.servers.trace_line import ROWS, Rows, SeenLaunches, SeenLookup
from autotune.untrusted import reading
from autotune.untrusted.printing import shortened

_MOST: Final = 1 << 30
"""Largest count that is taken."""

_MOST_ROWS: Final = 1 << 24
"""Largest batch that is taken (contracts A16): no server has so long a context."""

MOST_ADAPTERS: Final = 65_535
"""Most adapters of a launch, each of which has a place in a dimension of its grid (contracts A16, B10)."""

_MOST_NAMES: Final = 16
"""Most sizes that a lookup has."""

_HALVES: Final = ("float16", "bfloat16")


@dataclass(frozen=True)
class TracedLookup:
    """One lookup of a server, as all of its processes made it.

    Attributes:
        line: The last one of the file that tells it.
    """

    seen: SeenLookup
    launches: SeenLaunches
    line: int


@dataclass(frozen=True)
class Trace:
    """What a server looked up.

    Attributes:
        batches: By what a launch has a row for, how many batches of each size ran.
        processes: How many wrote lookups.
    """

    server: str
    release: str
    dtype: str
    lookups: tuple[TracedLookup, ...]
    batches: Mapping[Rows, Mapping[int, int]]
    processes: int
    path: Path

    def refused(self, each: TracedLookup, what: str) -> InputError:
        """Returns the error for a lookup that no server makes."""
        place = f"--trace: {self.path}: line {each.line}: lookup of {each.seen.op}"
        return InputError(f"{place}: {what}; take the line out, or trace again")

    @property
    def captured(self) -> tuple[int, ...]:
        """Sizes of tokens that CUDA graphs were captured for, ascending."""
        found = (each.launches.captured for each in self.lookups if each.seen.rows == "tokens")
        return tuple(sorted(set[int]().union(*found)))

    @property
    def largest(self) -> int:
        """The largest size of tokens that was seen in any way."""
        sizes = [max({0, each.launches.largest, *each.launches.captured}) for each in self.lookups]
        return max([*sizes, *self.batches["tokens"]])

    def one(self, what: str, values: Collection[int]) -> int:
        """Returns the one value of what is a server's alone.

        Raises:
            InputError: If there are several, so that several servers wrote the trace.
        """
        found = sorted(set(values))
        if len(found) != 1:
            raise InputError(
                f"--trace: {self.path} holds lookups of {what} {one_of(found) or 'none'}, allowed: those of one "
                "server; trace each server into a file of its own"
            )
        return found[0]

    def details(self, name: str) -> set[int]:
        """Returns the numbers that lookups tell under a name."""
        found = (dict(each.seen.details).get(name) for each in self.lookups)
        return {value for value in found if isinstance(value, int)}

    def told(self, detail: str) -> int | None:
        """Returns the number of GPUs that all lookups tell; None where none does, as of an older plug-in.

        Raises:
            InputError: If some tell none, whose layers would count twice, or they tell several.
        """
        told = {each.line: dict(each.seen.details).get(detail) for each in self.lookups}
        found = {size for size in told.values() if isinstance(size, int)}
        if found and (without := [line for line, size in told.items() if size is None]):
            raise InputError(
                f"--trace: {self.path}: line {without[0]}: lookup without {detail}, which others tell, allowed: those "
                "of one server; trace each server into a file of its own"
            )
        return self.one(f"{detail} sizes", found) if found else None


def read(path: Path, ops: Mapping[str, Collection[str]]) -> Trace:
    """Reads a trace.

    Args:
        ops: By server, the ops that are known.

    Raises:
        InputError: If the file is no trace of one server; names the line.
    """
    try:
        lines = reading.read_text(path).splitlines()
    except OSError as error:
        raise InputError(_unreadable(path, error.strerror)) from error
    except ValueError as error:
        raise InputError(_unreadable(path, error)) from error
    merged = _Merged()
    for number, line in enumerate(lines, start=1):
        _Line(path, number, ops).into(merged, line)
    return merged.trace(path)


class _Merged:
    """What all lines come to."""

    def __init__(self) -> None:
        self.by_process: dict[tuple[str, SeenLookup], SeenLaunches] = {}
        self.batches: dict[Rows, Counter[int]] = {rows: Counter() for rows in ROWS}
        self.servers: set[str] = set()
        self.lines: dict[SeenLookup, int] = {}

    def trace(self, path: Path) -> Trace:
        """Returns the trace: TP workers make the same lookups, so of layers the most of one process count."""
        lookups: dict[SeenLookup, SeenLaunches] = {}
        for (_, seen), launches in self.by_process.items():
            lookups.setdefault(seen, SeenLaunches()).add(launches)
        if not lookups:
            raise InputError(
                f"--trace: {path} holds no lookup; start the server with the plug-in and LoRA, and send it requests"
            )
        _require(path, "lookups of servers", self.servers)
        releases = {seen.release for seen in lookups}
        _require(path, "lookups of releases", releases)
        dtypes = {seen.dtype for seen in lookups}
        _require(path, "adapters of dtypes", dtypes)
        return Trace(
            server=min(self.servers),
            release=min(releases),
            dtype=min(dtypes),
            lookups=tuple(TracedLookup(seen, launches, self.lines[seen]) for seen, launches in lookups.items()),
            batches={rows: dict(sorted(found.items())) for rows, found in self.batches.items()},
            processes=len({process for process, _ in self.by_process}),
            path=path,
        )


def _require(path: Path, what: str, found: Collection[str]) -> None:
    if len(found) != 1:
        got = one_of(sorted(found)) or "none"
        raise InputError(f"--trace: {path} holds {what} {got}, allowed: one; trace each server into a file of its own")


@dataclass(frozen=True)
class _Line:
    """A line of the file, for messages."""

    path: Path
    number: int
    ops: Mapping[str, Collection[str]]

    def into(self, merged: _Merged, text: str) -> None:
        """Reads the line."""
        try:
            data = reading.json_of(text)
        except ValueError as error:
            self._refuse(f"is no JSON ({error})")
        if not isinstance(data, dict):
            self._refuse(f"got {shortened(data)}, allowed: an object")
        process = self._text(data, "process")
        if "lookup" in data:
            seen = self._seen(data["lookup"])
            merged.by_process[process, seen] = self._launches(data)
            merged.servers.add(seen.server)
            merged.lines[seen] = self.number
            return
        merged.servers.add(self._choice(data, "server", self.ops))
        rows: Rows = "tokens" if self._choice(data, "rows", ROWS) == "tokens" else "samples"
        merged.batches[rows].update({int(size): count for size, count in self._batches(data)})

    def _seen(self, data: Any) -> SeenLookup:
        if not isinstance(data, dict):
            self._refuse(f"lookup: got {shortened(data)}, allowed: an object")
        server = self._choice(data, "server", self.ops)
        op, dims = self._choice(data, "op", self.ops[server]), self._sizes(data, "dims")
        dtype = self._choice(data, "dtype", _HALVES)
        rows: Rows = "tokens" if self._choice(data, "rows", ROWS) == "tokens" else "samples"
        details = tuple(self._details(data))
        return SeenLookup(server, self._text(data, "release"), op, dims, details, dtype, rows)

    def _launches(self, data: Mapping[str, Any]) -> SeenLaunches:
        captured = data.get("captured")
        if not isinstance(captured, list) or not all(map(_is_rows, captured)):
            self._refuse(f"captured: got {shortened(captured)}, allowed: a list of sizes up to {_MOST_ROWS}")
        layers, largest = data.get("layers"), data.get("largest")
        if not _is_size(layers):
            self._refuse(f"layers: got {shortened(layers)}, allowed: a positive integer")
        if largest != 0 and not _is_rows(largest):
            self._refuse(f"largest: got {shortened(largest)}, allowed: an integer from 0 to {_MOST_ROWS}")
        return SeenLaunches(int(layers or 0), set(captured), int(largest or 0))

    def _batches(self, data: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
        batches = data.get("batches")
        if not isinstance(batches, dict):
            self._refuse(f"batches: got {shortened(batches)}, allowed: an object of sizes and counts")
        for size, count in batches.items():
            if not (size.isascii() and size.isdecimal() and _is_rows(int(size)) and _is_size(count)):
                self._refuse(
                    f"batches: got {shortened(size)}: {shortened(count)}, allowed: positive integers, of a size up to "
                    f"{_MOST_ROWS}"
                )
            yield size, count

    def _sizes(self, data: Mapping[str, Any], name: str) -> tuple[tuple[str, int], ...]:
        found = data.get(name)
        if not isinstance(found, dict) or not 0 < len(found) <= _MOST_NAMES:
            self._refuse(f"{name}: got {shortened(found)}, allowed: an object of sizes")
        for key, value in found.items():
            if not _is_count(value):
                self._refuse(f"{name}: got {shortened(value)} for {shortened(key)}, allowed: a size")
        return tuple(found.items())

    def _details(self, data: Mapping[str, Any]) -> Iterator[tuple[str, int | tuple[int, ...]]]:
        found = data.get("details")
        if not isinstance(found, dict) or len(found) > _MOST_NAMES:
            self._refuse(f"details: got {shortened(found)}, allowed: an object")
        for key, value in found.items():
            values = value if isinstance(value, list) else [value]
            if not 0 < len(values) <= _MOST_NAMES or not all(map(_is_count, values)):
                self._refuse(f"details: got {shortened(value)} for {shortened(key)}, allowed: sizes")
            yield key, tuple(value) if isinstance(value, list) else value

    def _text(self, data: Mapping[str, Any], name: str) -> str:
        found = data.get(name)
        if not isinstance(found, str) or not 0 < len(found) <= 200 or not found.isprintable():
            self._refuse(f"{name}: got {shortened(found)}, allowed: a short text")
        return found

    def _choice(self, data: Mapping[str, Any], name: str, allowed: Collection[str]) -> str:
        found = data.get(name)
        if not isinstance(found, str) or found not in allowed:
            self._refuse(f"{name}: got {shortened(found)}, allowed: {one_of(allowed)}")
        return found

    def _refuse(self, what: str) -> NoReturn:
        raise InputError(f"--trace: {self.path}: line {self.number} {what}; take the line out, or trace again")


def _is_count(value: object) -> bool:
    return _is_size(value) or (type(value) is int and value == 0)


def _is_rows(value: object) -> bool:
    return _is_size(value) and isinstance(value, int) and value <= _MOST_ROWS


def _is_size(value: object) -> bool:
    return type(value) is int and 0 < value <= _MOST


def _unreadable(path: Path, why: object) -> str:
    return f"--trace: cannot read {path} ({why}); give a file that a traced server wrote"
