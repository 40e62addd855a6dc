"""Checks vLLM's nested levels: keys that cannot be looked up, empty or misplaced objects, and gaps under an m."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from autotune.errors import one_of
from autotune.servers.finding import Effect, Finding
from autotune.servers.lookup import is_integer
from autotune.servers.vllm.captures import crash
from autotune.servers.vllm.nested_lookup import descend

Key = tuple[str, ...]


@dataclass
class Walk:
    """One file, walked down to its entries.

    Attributes:
        levels: Names of its levels.
        max_loras: What the server compares with the outermost keys: it only ever reads below the one it takes. None
            where that is not known, and all may be read.
        leaves: The entries that a lookup can reach, by key.
        slices: The num_slices under each max_loras, whatever is in them.
    """

    file: str
    levels: tuple[str, ...]
    max_loras: int | None = None
    leaves: dict[Key, dict[str, Any]] = field(default_factory=dict)
    slices: dict[str, set[str]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def down(self, node: Any, key: Key = ()) -> None:
        """Notes every defect of `node` and below."""
        if len(key) == len(self.levels):
            self._leaf(node, key)
            return
        level = self.levels[len(key)]
        if not isinstance(node, dict):
            self.add(
                key,
                "no object",
                self.crash(key),
                f"got {type(node).__name__}, allowed: an object with {level} as keys: too few levels; needed: "
                f"{one_of(self.levels)}",
            )
            return
        if not node:
            if key:
                self.add(key, "empty object", self.crash(key), f"holds no {level}: the lookup fails in it; remove it")
            return
        if _is_config(node):
            self.add(
                key,
                "too few levels",
                self.crash(key),
                f"holds a config where {level} is looked up; needed levels: {one_of(self.levels)}",
            )
            return
        numbers = [name for name in node if is_integer(name)]
        for name in set(node) - set(numbers):
            self._bad_key((*key, name), level)
        self._order(key, level, [int(name) for name in numbers])
        if level == "num_slices":
            self.slices[key[0]] = set(numbers)
        for name in numbers if key else self._read(node, numbers):
            self.down(node[name], (*key, name))

    def add(self, key: Key, defect: str, effect: Effect, message: str) -> None:
        self.findings.append(Finding(self.file, key, defect, effect, message))

    def m(self, key: Key) -> int | None:
        """Returns the token count of a key; None where the key ends above it, or has no integer there."""
        place = self.levels.index("m")
        return int(key[place]) if len(key) > place and is_integer(key[place]) else None

    def grouped(self) -> list[Finding]:
        """Returns the findings; those that differ in m alone become one that lists the m."""
        place = self.levels.index("m")
        alike: dict[Finding, list[Finding]] = {}
        for finding in self.findings:
            key = finding.key
            if self.m(key) is not None and "*" not in key:
                key = (*key[:place], "*", *key[place + 1 :])
            alike.setdefault(replace(finding, key=key), []).append(finding)
        return [
            same[0]
            if len(same) == 1
            else replace(one, message=f"{one.message} (m {one_of(self.m(finding.key) for finding in same)})")
            for one, same in alike.items()
        ]

    def groups(self) -> dict[Key, dict[str, set[Key]]]:
        """Returns, for each (max_loras, num_slices), the shapes under each m."""
        found: dict[Key, dict[str, set[Key]]] = {}
        for key in self.leaves:
            found.setdefault(key[:2], {}).setdefault(key[2], set()).add(key[3:])
        return found

    def gaps(self) -> None:
        """Notes shapes that an m lacks while another m has them, and slices that one max_loras lacks (contracts A1)."""
        names = self.levels[3:]
        broken = {finding.key[:3] for finding in self.findings if finding.effect != "slower"}
        for group, by_m in self.groups().items():
            every = set().union(*by_m.values())
            for m, there in by_m.items():
                if (*group, m) in broken:
                    continue
                if lacking := sorted(every - there, key=lambda shape: [int(part) for part in shape]):
                    shapes = one_of("/".join(shape) for shape in lacking)
                    self.add(
                        (*group, m),
                        "incomplete m",
                        "silent wrong shape",
                        f"lacks {'/'.join(names)} {shapes}, which other m have: such a layer gets another's config "
                        "here; add it",
                    )
        self._lacking_slices()

    def _lacking_slices(self) -> None:
        """Notes slices that one max_loras lacks while another has them."""
        by_loras: dict[str, set[str]] = {}
        for loras, number in self.groups():
            by_loras.setdefault(loras, set()).add(number)
        every = set[str]().union(*by_loras.values())
        for loras, there in by_loras.items():
            if lacking := sorted(every - there):
                self.add(
                    (loras,),
                    "num_slices missing",
                    "crash at start",
                    f"lacks num_slices {one_of(lacking)}, which another max_loras has: KeyError; add it",
                )

    def _read(self, table: dict[str, Any], numbers: list[str]) -> list[str]:
        """Returns the max_loras that the server reads."""
        if self.max_loras is None:
            return numbers
        _, steps, _ = descend(table, self.levels[:1], {self.levels[0]: self.max_loras})
        return [step.taken for step in steps] or numbers

    def _leaf(self, node: Any, key: Key) -> None:
        if not isinstance(node, dict):
            self.add(key, "no object", self.crash(key), f"got {type(node).__name__}, allowed: an object of parameters")
        elif not node:
            self.add(key, "empty config", self.crash(key), "holds no parameters: taken for a miss; remove or tune it")
        elif all(name.isdecimal() for name in node):
            self.add(
                key,
                "too many levels",
                self.crash(key),
                f"holds a level more where the config is looked up; needed levels: {one_of(self.levels)}",
            )
        else:
            self.leaves[key] = node

    def _bad_key(self, key: Key, level: str) -> None:
        if level == "num_slices":
            self.add(key, "no integer", "ignored", "no num_slices of a layer; remove it")
            return
        effect: Effect = "crash at start" if level == "max_loras" else "crash at request"
        self.add(
            key,
            "no integer",
            effect,
            f"allowed for {level}: integers; ValueError as soon as the exact key is absent; remove it, keep notes in a "
            "file of their own",
        )

    def _order(self, key: Key, level: str, numbers: list[int]) -> None:
        if level != "num_slices" and numbers != sorted(numbers):
            self.add(
                key,
                "unordered keys",
                "slower",
                f"{level} {one_of(numbers)} do not ascend: of two keys just as near, the first one is taken; sort them",
            )

    def crash(self, key: Key) -> Effect:
        """Tells when a server dies of what stands at a key."""
        return crash(self.m(key))


def walk(file: str, data: Any, levels: tuple[str, ...], max_loras: int | None = None) -> Walk:
    """Walks a file, gaps included; as far as a server reads it that looks up this max_loras, if that is known."""
    made = Walk(file, levels, max_loras)
    if data is None or data == {}:
        made.add((), "empty file", "ignored", "holds nothing: defaults are taken")
        return made
    made.down(data)
    made.gaps()
    return made


def _is_config(node: dict[str, Any]) -> bool:
    return any(name.lower().startswith(("block_", "num_warps")) for name in node)
