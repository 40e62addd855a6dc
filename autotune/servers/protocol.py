"""Defines what the tool asks of a server: a small core that every server has, and capabilities that it may lack."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from autotune.contract import Call, Config, Gpu, Value
from autotune.errors import InputError
from autotune.servers.checking import Checker
from autotune.servers.command_line import CommandLine
from autotune.servers.engine import Engine
from autotune.servers.files import KeyPath, ReadJson, Shards, Table, read_json
from autotune.servers.lookup import Lookup
from autotune.servers.planning import Planner
from autotune.servers.plugin.state import PluginState
from autotune.servers.reverse_lookup import ReverseLookup


class FileFamily(Protocol):
    """Files of several ops that are only correct together."""

    @property
    def ops(self) -> tuple[str, ...]:
        """The ops, one file each."""

    @property
    def why_together(self) -> str:
        """Why a result of one op alone cannot be written, and what to do instead."""

    def check(self, results: Mapping[str, Table], shards: Shards) -> None:
        """Makes sure that results, by op, make sense together.

        Raises:
            InputError: Naming what is missing or differs.
        """

    def joint_fills(
        self, tables: Mapping[str, Table], shards: Shards, fills: Collection[tuple[str, KeyPath]]
    ) -> dict[str, Table]:
        """Finds the entries that the files, by op, lack to fit together.

        Args:
            shards: Of the results among the entries.
            fills: Entries that came from here before, and follow the others.

        Raises:
            InputError: If what the files hold contradicts itself.
        """


class Server(ABC):
    """One server that reads results: its files, its lookup rule and its defaults.

    The abstract methods are the core. The others tell of capabilities; a server that lacks one leaves it alone.
    """

    name: ClassVar[str]
    """What the user calls it."""
    command_line: ClassVar[CommandLine]
    """Its flags, and what its users are told."""

    @abstractmethod
    def levels(self, call: Call) -> tuple[str, ...]:
        """Names the levels of the call's file, outermost first; every name is also one of the call's dims."""

    @abstractmethod
    def default_config(self, call: Call) -> dict[str, Value]:
        """Returns what the server launches with when no file says otherwise."""

    def no_folder_config(self, call: Call, gpu_name: str) -> dict[str, Value]:
        """Returns what the server launches with while no config folder is set, as far as the call tells: a folder hides
        what the server's own package brings."""
        return self.default_config(call)

    @abstractmethod
    def file_name(self, gpu_name: str, call: Call) -> str:
        """Names the file that the server reads for the call, relative to its config folder."""

    def key_path(self, call: Call) -> KeyPath:
        """Returns the place of the call's config in its file, outermost key first."""
        return tuple(str(call.dims[level]) for level in self.levels(call))

    @abstractmethod
    def entry(self, config: Config, call: Call) -> dict[str, Value]:
        """Returns the JSON value for a config.

        Raises:
            InputError: If the config lacks a key that the server needs, or has one that it does not know.
        """

    @abstractmethod
    def needed_paths(self, paths: Collection[KeyPath]) -> set[KeyPath]:
        """Finds all places to fill, given those that a file fills, so that no lookup takes another shape's config."""

    @abstractmethod
    def resolve(self, table: Any, call: Call, by_plug_in: bool = False) -> Lookup:
        """Looks the call up in a file's parsed content, as the server does; its failures are part of the result.

        Args:
            by_plug_in: The server's plug-in does it, by the same rule: what our kernels alone read counts, too.
        """

    @abstractmethod
    def lookup(
        self, folder: Path, gpu_name: str, call: Call, read: ReadJson = read_json, by_plug_in: bool = False
    ) -> Lookup:
        """Looks the call up in a config folder, as the server does on a GPU of this name; needs no GPU.

        Args:
            read: Reads the file that the server opens.
            by_plug_in: As of `resolve`.
        """

    @abstractmethod
    def warnings(
        self, directory: Path, tables: Mapping[str, Table], looked_up: Mapping[str, Collection[KeyPath]]
    ) -> list[str]:
        """Tells what may go wrong on a server that reads these files (by name) in this folder; one line each.

        Args:
            looked_up: By file, all that the server looks up in it, where that is known.
        """

    def alias_paths(self, call: Call) -> list[KeyPath]:
        """Lists further places to write the call's config to, unless they have a result of their own."""
        return []

    def family(self, op: str) -> FileFamily | None:
        """Returns the family of files that the op's file belongs to; None where it depends on no other file."""
        return None

    @property
    def reverse_lookup(self) -> ReverseLookup:
        """The way back from the server's files to calls and problems."""
        return ReverseLookup()

    @property
    def checker(self) -> Checker:
        """The server's side of checking files."""
        return Checker()

    @property
    def planner(self) -> Planner:
        """The server's side of a plan.

        Raises:
            InputError: If no model can be planned for the server.
        """
        raise InputError(f"--runtime: got {self.name}, for which no model can be planned; tune single problems")

    def thinnable_level(self, call: Call) -> str | None:
        """Names the level of the call's file that need not hold every value measured, if there is one: a lookup takes
        the nearest."""
        return None

    def engine(self) -> Engine | None:
        """Returns what runs the server's own engine offline; None where the tool does not know how."""
        return None

    plugin_kernels: ClassVar[tuple[str, ...]] = ()
    """The built-in kernels that the plug-in launches, in place of the server's own, with configs of its folder."""

    def replaces(self, call: Call) -> list[Call]:
        """Returns the calls whose work a call does that only the plug-in makes; none for the server's own calls."""
        return []

    def started_config(self, call: Call, flags: Mapping[str, Any], gpu: Gpu) -> Config:
        """Returns what a server that is started in this environment launches a call with.

        Args:
            flags: Of the kernel that does the call's work: they say more of the model than the call.
        """
        return self.no_folder_config(call, gpu.name)

    def following_flags(self, call: Call, theirs: Config) -> dict[str, Any] | None:
        """Returns the flags of our kernel that follow from what the server launches, for a call that only the plug-in
        makes; None where the plug-in then leaves the call to the server.

        Args:
            theirs: The config of the one call that this one replaces.
        """
        return {}

    def plug_in_note(self, call: Call, workload: str | None) -> str | None:
        """Tells what the plug-in makes of a call's entry that was timed on one kind of batches alone, where it does not
        launch the other kind with it; None where it does.

        Args:
            workload: That kind (`autotune.servers.provenance.workload_of`).
        """
        return None

    def plugin_state(self) -> PluginState | None:
        """Returns what the plug-in would do in a process of the server's that has this environment; None where there
        is no plug-in for the server."""
        return None

    def advice(self, calls: Iterable[Call]) -> list[str]:
        """Tells what to know before serving with results for these calls, whatever they are; one line each."""
        return []
