"""Knows the servers that read the results: each owns its file names and layout, its lookup rule and its defaults."""

from __future__ import annotations

from collections.abc import Iterable

from autotune.contract import Call
from autotune.errors import InputError, one_of
from autotune.servers import serve_command
from autotune.servers.files import KeyPath, Shards, Table
from autotune.servers.lookup import Failure, Lookup, Step
from autotune.servers.protocol import FileFamily, Server
from autotune.servers.serve_command import ServeCommand
from autotune.servers.sglang.server import SGLANG
from autotune.servers.vllm.server import VLLM

__all__ = [
    "Failure",
    "FileFamily",
    "KeyPath",
    "Lookup",
    "ServeCommand",
    "Server",
    "Shards",
    "Step",
    "Table",
    "advice",
    "get",
    "names",
    "ops",
    "owner_of_flag",
    "read_serve_command",
]

# A new server is one more name here, and a folder.
_SERVERS: dict[str, Server] = {server.name: server for server in (SGLANG, VLLM)}


def get(name: str) -> Server:
    """Returns the server of this name.

    Raises:
        InputError: If there is none.
    """
    if name not in _SERVERS:
        raise InputError(f"server: got {name!r}, allowed: {one_of(names())}")
    return _SERVERS[name]


def names() -> list[str]:
    """Lists the names of all servers."""
    return sorted(_SERVERS)


def advice(calls: Iterable[Call | None]) -> list[str]:
    """Tells what to know before serving with results for these calls, server by server; one line each."""
    by_server: dict[str, list[Call]] = {}
    for call in calls:
        if call is not None:
            by_server.setdefault(call.server, []).append(call)
    return [line for name, found in sorted(by_server.items()) for line in get(name).advice(found)]


def ops() -> list[str]:
    """Lists the ops that some server looks configs up for."""
    return list(dict.fromkeys(op for name in reversed(names()) for op in get(name).command_line.ops))


def owner_of_flag(kind: str, flag: str) -> str | None:
    """Returns the one server that a flag belongs to; None where it belongs to all.

    Args:
        kind: One of the attributes of `OwnFlags`.
    """
    return next((name for name in names() if flag in getattr(get(name).command_line.own_flags, kind)), None)


def read_serve_command(text: str) -> ServeCommand:
    """Reads the shell command that starts one of the servers.

    Raises:
        InputError: If it starts none, or cannot be read.
    """
    return serve_command.read(text, {name: get(name).command_line.serve_syntax for name in names()})
