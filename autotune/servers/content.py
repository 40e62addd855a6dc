"""Reads a config file as it stands, with keys that are given twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.servers.finding import Finding
from autotune.untrusted import reading


@dataclass(frozen=True)
class Content:
    """What a file holds, or why it cannot be read.

    Attributes:
        data: The parsed content; None for ``null``, and if there is no telling.
        findings: Of the reading itself.
    """

    file: str
    data: Any
    findings: tuple[Finding, ...]

    @property
    def readable(self) -> bool:
        return self.data is not None or not self.findings


LINK_TO_NOTHING = "a link to nothing: the server finds no file there; remove it"


class _Object(dict[str, Any]):
    """A JSON object that remembers which keys stand in it twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(name for name, _ in pairs) if len(self) < len(pairs) else Counter[str]()
        self.twice = [name for name, count in counts.items() if count > 1]


def read(path: Path, directory: Path) -> Content:
    """Reads a file; a server that cannot parse it stops."""
    file = path.relative_to(directory).as_posix()
    try:
        data = reading.read_json(path, _Object)
    except (OSError, ValueError) as error:
        message = f"cannot be read as JSON ({str(error) or type(error).__name__}); repair or remove it"
        return Content(file, None, (Finding(file, (), "no JSON", "crash at start", message),))
    message = "stands twice in one object: the last one counts; remove one"
    return Content(file, data, tuple(Finding(file, key, "key twice", "ignored", message) for key in _doubled(data)))


def _doubled(data: Any) -> Iterator[tuple[str, ...]]:
    """Finds the keys that stand twice, from the top; without recursion, because a file may be of any depth."""
    below: list[tuple[tuple[str, ...], Any]] = [((), data)]
    while below:
        key, node = below.pop()
        if isinstance(node, _Object):
            yield from ((*key, name) for name in node.twice)
            below += [((*key, name), child) for name, child in node.items()]
