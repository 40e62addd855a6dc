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
        by_op = {shape.op: shape for shape in shapes}
        w13, w2 = by_op.get(facts.W13_SHRINK), by_op.get(facts.W2_SHRINK)
        if w13 is None or w2 is None or not w13.occurs(size):
            return
        if all(w13.dims[level] == w2.dims[level] for level in _SHAPE_LEVELS):
            return
        one, other = (lookup(shape.call(size)) for shape in (w13, w2))
        blocks = [found.config["block_m"] for found in (one, other) if found.config]
        if len(set(blocks)) < 2 or one.path is None:
            return
        message = (
            f"{one_of(w13.layers)}: block_m is {blocks[0]}, but {blocks[1]} in {one_of(w2.labels)} of W2, which reuses "
            "W13's blocks: wrong results without an error; use one"
        )
        file = one.path.relative_to(directory).as_posix()
        yield Finding(file, w13.labels, "block_m differs", "silent corruption", message)
