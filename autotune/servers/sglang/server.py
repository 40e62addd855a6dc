"""Makes SGLang one object, as the tool sees it, from the modules beside it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune.contract import Call, Config, Value
from autotune.errors import InputError, one_of
from autotune.servers.files import KeyPath, ReadJson, Table, read_json
from autotune.servers.lookup import Failure, Lookup
from autotune.servers.plugin.state import PluginState
from autotune.servers.protocol import Server
from autotune.servers.sglang import chunks, csgmv, facts, workloads
from autotune.servers.sglang.checking import SglangChecker
from autotune.servers.sglang.command_line import COMMAND_LINE
from autotune.servers.sglang.packaged import hidden, packaged_config
from autotune.servers.sglang.planning import SglangPlanner
from autotune.servers.sglang.plugin import state
from autotune.servers.sglang.reverse_lookup import SglangReverseLookup
from autotune.servers.sglang.split_k import LOSES_SPLIT_K, split_k_entry
from autotune.servers.sglang.versions import file_of, order_warning, versions


class Sglang(Server):
    """SGLang with its csgmv backend: two ops, one file for each shape and Triton version."""

    name = facts.NAME
    planner = SglangPlanner()
    command_line = COMMAND_LINE
    checker = SglangChecker()
    reverse_lookup = SglangReverseLookup()
    plugin_kernels = tuple(op for ops in state.OPS.values() for op in ops)

    def levels(self, call: Call) -> tuple[str, ...]:
        csgmv.check(call)
        return facts.LEVELS

    def default_config(self, call: Call) -> dict[str, Value]:
        return csgmv.default_config(call)

    def no_folder_config(self, call: Call, gpu_name: str) -> dict[str, Value]:
        return packaged_config(call, gpu_name) or self.default_config(call)

    def file_name(self, gpu_name: str, call: Call) -> str:
        return csgmv.file_name(gpu_name, call)

    def entry(self, config: Config, call: Call) -> dict[str, Value]:
        return csgmv.entry(config, call)

    def needed_paths(self, paths: Collection[KeyPath]) -> set[KeyPath]:
        """Returns every chunk size: one without an entry takes the nearest one's config, which was measured on other
        tiles."""
        return set(paths) | {(str(chunk),) for chunk in facts.CHUNK_SIZES} if paths else set()

    def resolve(self, table: Any, call: Call, by_plug_in: bool = False) -> Lookup:
        return csgmv.resolve(table, call, by_plug_in)

    def lookup(
        self, folder: Path, gpu_name: str, call: Call, read: ReadJson = read_json, by_plug_in: bool = False
    ) -> Lookup:
        """Looks the call up in the file of the server's Triton version, else in that of another, the last by name."""
        path, others = file_of(folder, gpu_name, call)
        if path is None:
            return Lookup("default", self.default_config(call), path=folder / self.file_name(gpu_name, call))
        notes = order_warning(others)
        if others:
            version = path.parent.name
            wanted = csgmv.version_folder(call)
            notes = [f"{path.name}: none for {wanted}, the server takes that of {version}", *notes]
        try:
            found = self.resolve(read(path), call, by_plug_in)
        except InputError as error:
            cause = type(error.__cause__).__name__
            found = Lookup("file", None, (), Failure(cause, "file", None, str(error)))
        return replace(found, path=path, warnings=tuple(notes))

    def warnings(
        self, directory: Path, tables: Mapping[str, Table], looked_up: Mapping[str, Collection[KeyPath]]
    ) -> list[str]:
        found = _hides(directory, tables, known=any(looked_up.values()))
        for base_name in sorted({Path(file).name for file in tables}):
            found += order_warning(versions(directory, base_name))
        for file, table in tables.items():
            if (key := split_k_entry({key: config for (key,), config in table.items()}, file)) is not None:
                found.append(f"{file}: at {key}: {LOSES_SPLIT_K}")
        return found

    def plug_in_note(self, call: Call, workload: str | None) -> str | None:
        return workloads.note(call.op, workload)

    def plugin_state(self) -> PluginState:
        return state.current()

    def advice(self, calls: Iterable[Call]) -> list[str]:
        """Tells which of the tuned chunk sizes a server reads, and what is worth more (contracts B2)."""
        return chunks.advice(call.dims["chunk_size"] for call in calls)


SGLANG = Sglang()


def _hides(directory: Path, tables: Mapping[str, Table], known: bool) -> list[str]:
    """Says what a server no longer sees once its variable names the folder.

    Args:
        known: All lookups of a server are: none of another rank is among them.
    """
    files = [match for file in tables if (match := facts.FILE.match(Path(file).name))]
    ranks = {match["R"] for match in files}
    lost = [name for gpu in sorted({match["device"] for match in files}) for name in hidden(directory, gpu)]
    if known:
        lost = [name for name in lost if (match := facts.FILE.match(name)) and match["R"] in ranks]
        if not lost:
            return []
    brought = f"; of what the installed one brings, no file here answers {one_of(lost)}" if lost else ""
    return [
        f"{directory}: with {facts.CONFIG_FOLDER} set to it, a server no longer sees the configs that SGLang "
        f"brings (rank 64 on an H200): tune every shape it serves{brought}"
    ]
