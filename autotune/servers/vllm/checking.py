"""Checks files for vLLM: what its lookups of a model come to (contracts A1, A6 and A7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from autotune.contract import Call
from autotune.errors import one_of
from autotune.servers.checking import Checker, Known, Miss, Reader
from autotune.servers.finding import Effect, Finding
from autotune.servers.lookup import Failure, Lookup, Step
from autotune.servers.shapes import Shape
from autotune.servers.vllm import captures, check_folder, facts

_SHAPE_LEVELS = ("k", "n", "i")
"""The levels that tell one layer from another."""


class VllmChecker(Checker):
    """What is wrong with vLLM's files."""

    def readers(self, directory: Path) -> list[Reader]:
        names = (facts.FILE.fullmatch(path.name) for path in sorted(directory.glob("*.json")))
        return [Reader(gpu) for gpu in dict.fromkeys(match["gpu"] for match in names if match)]

    def check(self, directory: Path, known: Known) -> tuple[list[Finding], int]:
        return check_folder.check(directory, known)

    def plug_in_reads(self, op: str) -> bool:
        return op not in facts.MOE_OPS

    def miss(self, step: Step) -> Miss | None:
        what = f"looks up {step.level} {step.wanted} and takes the"
        if step.level in _SHAPE_LEVELS:
            message = f"{what} entry of {step.taken}; add its own"
            return Miss("another shape's entry", "silent wrong shape", message)
        if step.level == "max_loras":
            message = f"{what} entries of {step.taken}, measured with another grid; add its own"
            return Miss("another max_loras", "slower", message)
        return None

    def crash(self, failure: Failure, size: int) -> Effect:
        # Layers of every number of slices run before the first request, and a file is read as a whole.
        early = failure.level in (facts.EXACT_LEVEL, "file")
        return captures.crash(None if early else size)

    def contradictions(
        self, directory: Path, shapes: Sequence[Shape], size: int, lookup: Callable[[Call], Lookup]
    ) -> Iterator[Finding]:
        """Finds another block_m in w2 than in w13, where they look up different sizes and only a plan knows which."""
        for w13, w2 in _experts(shapes):
            if w13.occurs(size) and any(w13.dims[level] != w2.dims[level] for level in _SHAPE_LEVELS):
                one, other = (lookup(shape.call(size)) for shape in (w13, w2))
                yield from _other_blocks(directory, (w13, one), (w2, other))


def _experts(shapes: Sequence[Shape]) -> Iterator[tuple[Shape, Shape]]:
    """Yields the lookups of w13's and w2's shrink that the same layers make.

    A trace tells layers by their number alone: a w2 that is the only one belongs to every w13.
    """
    w13s, w2s = ([shape for shape in shapes if shape.op == op] for op in (facts.W13_SHRINK, facts.W2_SHRINK))
    for w13 in w13s:
        for w2 in w2s:
            if len(w2s) == 1 or not set(w13.layers).isdisjoint(w2.layers):
                yield w13, w2


def _other_blocks(directory: Path, w13: tuple[Shape, Lookup], w2: tuple[Shape, Lookup]) -> Iterator[Finding]:
    """Yields a finding if what w2's lookup comes to has another block_m than what w13's comes to."""
    (first, one), (second, other) = w13, w2
    blocks = [found.config["block_m"] for found in (one, other) if found.config]
    if len(set(blocks)) < 2 or one.path is None:
        return
    message = (
        f"{one_of(first.layers)}: block_m is {blocks[0]}, but {blocks[1]} in {one_of(second.labels)} of W2, which "
        "reuses W13's blocks: wrong results without an error; use one"
    )
    file = one.path.relative_to(directory).as_posix()
    yield Finding(file, first.labels, "block_m differs", "silent corruption", message)
