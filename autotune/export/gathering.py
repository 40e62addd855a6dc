"""Sorts results and required lookups into the files that they belong to: the first step of an export."""

from __future__ import annotations

from collections.abc import Iterable

from autotune import servers
from autotune.contract import Call
from autotune.errors import InputError
from autotune.export.file import ConfigFile, ExportItem, FileIdentity


class Gathering:
    """The files of an export, while results and required lookups come in.

    Args:
        is_builtin: They are for the built-in kernels.

    Attributes:
        files: By the server's name and the file's; in the order of the results.
    """

    def __init__(self, is_builtin: bool) -> None:
        self.is_builtin = is_builtin
        self.files: dict[tuple[str, str], ConfigFile] = {}

    def file(self, call: Call, gpu_name: str) -> ConfigFile:
        """Returns the file that answers a call; it is added if it is new."""
        identity = FileIdentity.of(call, servers.get(call.server), gpu_name, self.is_builtin)
        return self.files.setdefault((call.server, identity.name), ConfigFile(identity, identity.name))

    def add(self, item: ExportItem) -> None:
        """Adds a result.

        Raises:
            InputError: If another result has its key, and another config.
        """
        file, server = self.file(item.call, item.gpu_name), servers.get(item.call.server)
        key = server.key_path(item.call)
        first = file.wanted.results.setdefault(key, item)
        if first.entry(server) != item.entry(server):
            raise InputError(
                f"{file.name}: at {'/'.join(key)}: got different configs from studies {first.study!r} and "
                f"{item.study!r}, which the server cannot tell apart; export one of them{_tuned_together(first, item)}"
            )

    def require(self, call: Call, gpu_names: Iterable[str]) -> None:
        """Notes a lookup to answer as well, on each of the GPUs."""
        server = servers.get(call.server)
        for gpu_name in gpu_names:
            if self.is_builtin and server.family(call.op) and not self._has(call, gpu_name):
                continue  # Without a result nobody reads such files of ours.
            self.file(call, gpu_name).wanted.required |= {server.key_path(call), *server.alias_paths(call)}

    def _has(self, call: Call, gpu_name: str) -> bool:
        """Tells whether a call's file has a result."""
        name = FileIdentity.of(call, servers.get(call.server), gpu_name, self.is_builtin).name
        return (call.server, name) in self.files


def gather(items: Iterable[ExportItem], required: Iterable[Call], is_builtin: bool = False) -> list[ConfigFile]:
    """Returns the files to write. A required lookup is one on every GPU that has a result for the same server.

    Raises:
        InputError: If there is no result, or two results claim one key.
    """
    gathering = Gathering(is_builtin)
    for item in items:
        gathering.add(item)
    if not gathering.files:
        raise InputError("export: got no finished study, needs at least one; run the studies first")
    gpus = {(file.identity.server.name, file.identity.gpu_name) for file in gathering.files.values()}
    for call in required:
        gathering.require(call, sorted(gpu for server, gpu in gpus if server == call.server))
    return list(gathering.files.values())


def _tuned_together(*items: ExportItem) -> str:
    """Names a way out where kinds of batches tell results apart."""
    workloads = {item.provenance.get("problem", {}).get("workload") for item in items}
    if len(workloads) == 1:
        return ""
    both = next((item.study for item in items if item.provenance.get("problem", {}).get("workload") == "mixed"), None)
    return ", or tune one study for both: --workload mixed" if both is None else f": {both!r} is for both kinds"
