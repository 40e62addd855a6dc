"""The servers that read the results: each owns its file names and layout, its lookup rule and its defaults."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from autotune.contract import Call, Config, Value
from autotune.errors import InputError, one_of
from autotune.servers.files import KeyPath, Shards, Table
from autotune.servers.lookup import Failure, Lookup, Step
from autotune.servers.sglang import csgmv as sglang
from autotune.servers.vllm import dense as vllm

__all__ = ["Failure", "KeyPath", "Lookup", "Server", "Shards", "Step", "Table", "advice", "get", "names"]


class Server(Protocol):
    """What the tuner and the exporter need of a server; a module of functions is one (`servers.vllm.dense`)."""

    @property
    def name(self) -> str: ...

    def levels(self, call: Call) -> tuple[str, ...]:
        """The levels of the call's file, outermost first; every name is also one of the call's dims."""

    def default_config(self, call: Call) -> dict[str, Value]:
        """What the server launches with when no file says otherwise."""

    def file_name(self, gpu_name: str, call: Call) -> str:
        """The file the server reads for the call, relative to its config folder."""

    def key_path(self, call: Call) -> KeyPath:
        """Where the call's config stands in its file, outermost key first."""

    def alias_paths(self, call: Call) -> list[KeyPath]:
        """Further places to write the call's config to, unless they have a result of their own."""

    def entry(self, config: Config, call: Call) -> dict[str, Value]:
        """The JSON value for a config."""

    def needed_paths(self, paths: Collection[KeyPath]) -> set[KeyPath]:
        """All places to fill, given those a file fills, so that no lookup takes another shape's config."""

    def partners(self, op: str) -> tuple[str, ...]:
        """The ops whose files are only correct together with this op's, itself included; for most, itself alone."""

    def check_together(self, results: Mapping[str, Table], shards: Shards) -> None:
        """Refuse results of partners, by op, that make no sense together (`InputError`)."""

    def joint_fills(
        self, tables: Mapping[str, Table], shards: Shards, fills: Collection[tuple[str, KeyPath]]
    ) -> dict[str, Table]:
        """What the files of partners, by op, lack to fit together; `InputError` where they contradict each other.

        Args:
            shards: Of the results among the entries.
            fills: Entries that came from here before, and follow the others.
        """

    def resolve(self, table: Any, call: Call) -> Lookup:
        """The server's lookup in a file's parsed content; its failures are part of the result."""

    def lookup(self, folder: Path, gpu_name: str, call: Call) -> Lookup:
        """The server's lookup with this config folder on a GPU of this name; needs no GPU."""

    def thinnable_level(self, call: Call) -> str | None:
        """The level of the call's file that need not hold every value measured: the server takes the nearest."""

    def warnings(
        self, directory: Path, tables: Mapping[str, Table], looked_up: Mapping[str, Collection[KeyPath]]
    ) -> list[str]:
        """What may go wrong on a server that reads these files (by name) in this folder; one line each.

        Args:
            looked_up: By file, all that the server looks up in it, where that is known.
        """

    def advice(self, calls: Iterable[Call]) -> list[str]:
        """What to know before serving with results for these calls, whatever they are; one line each."""


_SERVERS: dict[str, Server] = {server.name: server for server in (vllm, sglang)}


def get(name: str) -> Server:
    """The server of this name.

    Raises:
        InputError: If there is none.
    """
    if name not in _SERVERS:
        raise InputError(f"server: got {name!r}, allowed: {one_of(names())}")
    return _SERVERS[name]


def advice(calls: Iterable[Call | None]) -> list[str]:
    """What to know before serving with results for these calls, server by server; one line each."""
    by_server: dict[str, list[Call]] = {}
    for call in calls:
        if call is not None:
            by_server.setdefault(call.server, []).append(call)
    return [line for name, found in sorted(by_server.items()) for line in get(name).advice(found)]


def names() -> list[str]:
    return sorted(_SERVERS)
