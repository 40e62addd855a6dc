"""Keeps the side-car of an output folder, which says where every entry that we wrote comes from.

It stands beside the config files because a config file may hold integer keys only. That is safe: a server opens its
own file names and nothing else in the folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from autotune.errors import InputError, one_of
from autotune.servers import stand_back
from autotune.servers.files import KeyPath, Table, read_json
from autotune.servers.launchable import unlaunchable
from autotune.untrusted.names import check_relative
from autotune.untrusted.reading import integer

FILE_NAME = "autotune-provenance.json"
PROOF_NAME = "autotune-served.json"
"""The file beside it with what the server's own engine took with the folder and without."""

SIDE_CARS = frozenset({FILE_NAME, PROOF_NAME})
SCHEMA_VERSION = 1

Kind = Literal["own", "alias", "default-fill", "pin", "dropped"]


@dataclass(frozen=True)
class Record:
    """One entry that we wrote.

    Attributes:
        file: Its file, relative to the folder.
        key: Its place in the file, outermost key first.
        kind: ``own`` for a study's result under its own key, ``alias`` for the same result under a further key,
            ``default-fill`` for the server's default, written so that no neighbour's config is taken; ``pin`` for an
            entry beside a change of the default, so that none of the other side's is taken (`export.pinning`);
            ``dropped`` for any of these that the file does without, since what the server takes instead serves as well.
        study: The study it is the result of; None for a default without one.
        config: The entry, as written, or as it would be.
        replaced: The entry that stood there before, if any.
        provenance: What the export was told of the study: GPU, versions, times, date, backend. Of a pin, under
            ``taken``, the key whose config it repeats. And of what was dropped, under ``dropped``: the kind it was of,
            the key taken instead and what stands there, and how much slower that is, for this shape and at most for
            any at this m.
    """

    file: str
    key: KeyPath
    kind: Kind
    study: str | None
    config: dict[str, Any]
    replaced: dict[str, Any] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def found(self) -> dict[str, Any]:
        """What the server is to find at the key."""
        found: dict[str, Any] = self.provenance["dropped"]["config"] if self.kind == "dropped" else self.config
        return found

    @property
    def shards(self) -> tuple[int, ...]:
        """Over how many GPUs servers, earlier ones included, split what it is for (`autotune.servers.Shards`)."""
        return tuple(self.provenance.get("shards", (1,)))

    @property
    def source(self) -> str | None:
        """Whose kernel it was timed on; None of an entry without a study."""
        source = self.provenance.get("source")
        return source if isinstance(source, str) else None

    @property
    def workload(self) -> str | None:
        """The one kind of batches that it was timed on (`workload_of`); None of what nobody timed or tells of."""
        about = self.provenance.get("problem")
        return workload_of(about) if isinstance(about, Mapping) else None

    def has_say(self, workload: str | None) -> bool:
        """Tells whether the plug-in launches batches of a kind, or of any (None), with the entry. Its kernels have
        defaults of their own: what nobody timed is the server's, and what was timed on the other kind alone says
        nothing of this one."""
        return self.study is not None and (workload is None or self.workload in (None, workload))

    def undropped(self) -> Record:
        """Returns the record as it was, or would be, with the entry in the file."""
        if self.kind != "dropped":
            return self
        about = {name: value for name, value in self.provenance.items() if name != "dropped"}
        return replace(self, kind=self.provenance["dropped"]["kind"], provenance=about)

    def matches(self, table: Table) -> bool:
        """Tells whether the file still holds what we wrote; else somebody edited it, and it is no longer ours.

        The side-car is written first: after a crash right behind it a file still holds what was to be replaced.
        """
        return self.key in table and table[self.key] in (self.config, self.replaced)


def workload_of(problem: Mapping[str, Any]) -> str | None:
    """Returns the one kind of batches that a problem, as side-cars have it, stands for, ``prefill`` or ``decode``: some
    servers look both up by one key. None if it stands for both, or does not tell."""
    kind = problem.get("workload")
    if kind == "mixed" and problem.get("decode_requests") == []:
        return "prefill"  # its sizes are those of prompts alone
    return kind if kind in ("prefill", "decode") else None


def read(directory: Path) -> list[Record]:
    """Returns the records of a folder; none if it has no side-car.

    Raises:
        InputError: If the side-car is malformed or of a newer version.
    """
    path = directory / FILE_NAME
    if not path.exists():
        return []
    content = read_json(path)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: got schema_version {version!r}, allowed: {SCHEMA_VERSION}; move the file or upgrade the tool"
        )
    try:
        return [_record(entry) for entry in content["entries"]]
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: got a malformed entry ({error}); repair or move the file") from error


def by_place(directory: Path) -> dict[tuple[Path, KeyPath], Record]:
    """Returns the records of the entries that stand in a folder's files, by file and key.

    Raises:
        InputError: As `read` does.
    """
    return {(directory / each.file, each.key): each for each in read(directory) if each.kind != "dropped"}


def _record(entry: dict[str, Any]) -> Record:
    """Makes a record of what stands in a side-car, which anybody may have edited.

    Raises:
        Exception: One of several, if it is not what `text` writes.
    """
    record = Record(**(entry | {"key": tuple(str(integer(str(key))) for key in entry["key"])}))
    objects = [record.config, record.provenance, {} if record.replaced is None else record.replaced]
    texts = [record.file, record.kind, "" if record.study is None else record.study]
    if not all(isinstance(each, dict) for each in objects) or not all(isinstance(each, str) for each in texts):
        raise TypeError("config, replaced and provenance are objects; file, kind and study are names")
    check_relative(record.file, "file")
    if any(int(key) < 0 for key in record.key):
        raise ValueError("keys are sizes, none below 0")
    kinds: list[object] = [record.kind]
    if record.kind == "dropped":
        kinds.append(_dropped_kind(record))
    for kind in kinds:
        if kind not in get_args(Kind):
            raise ValueError(f"kind is {kind!r}, allowed: {one_of(get_args(Kind))}")
    if not all(type(count) is int and 0 < count < 1 << 16 for count in record.shards):
        raise ValueError("shards are numbers of GPUs")
    return record


def _dropped_kind(record: Record) -> object:
    """Returns the kind of a dropped entry, which an export may write back.

    Raises:
        Exception: One of several, if what is said of it cannot be used so.
    """
    dropped = record.provenance["dropped"]
    if not isinstance(dropped["config"], dict) or dropped["kind"] == "dropped":
        raise TypeError("a dropped entry has the config that is taken for it, and the kind that it was of")
    for name, problem in () if stand_back.is_one(record.config) else unlaunchable(record.config):
        raise ValueError(f"{name}: {problem}")
    return dropped["kind"]


def text(records: Iterable[Record]) -> str:
    """Returns the side-car's content, in the order of the files."""
    ordered = sorted(records, key=lambda record: (record.file, [int(key) for key in record.key]))
    content = {"schema_version": SCHEMA_VERSION, "entries": [asdict(record) for record in ordered]}
    return json.dumps(content, indent=2) + "\n"
