"""Defects of the four fused MoE LoRA files, which are only correct together (runtime contracts A3, A6 and A8)."""

from __future__ import annotations

from collections.abc import Iterable

from autotune.errors import one_of
from autotune.lint.finding import Effect
from autotune.lint.nested import Walk
from autotune.lint.values import unlaunchable
from autotune.runtimes import vllm_moe as moe

_DEFAULT_BLOCK_M = 64
"""Of an op that has no file or whose entry lacks it (contracts A2, A3)."""

W13_SHRINK, W13_EXPAND, W2_SHRINK, W2_EXPAND = moe.OPS
_PAIRS: tuple[tuple[str, str, Effect, str], ...] = (
    (
        W13_SHRINK,
        W2_SHRINK,
        "silent corruption",
        "tokens are aligned with W13_SHRINK's block_m and W2 reuses that: wrong results without an error",
    ),
    (W13_SHRINK, W13_EXPAND, "crash at request", "AssertionError where shrink and expand are two kernels"),
    (W2_SHRINK, W2_EXPAND, "crash at request", "AssertionError where shrink and expand are two kernels"),
)


def check_entries(made: Walk, op: str) -> None:
    """Note defects of single entries."""
    for key, config in made.leaves.items():
        _, failure, warnings = moe.launched(config, op)
        if failure:
            made.add(key, "bad entry", made.crash(key), failure.message)
        for warning in warnings:
            made.add(key, "missing key", "slower", warning)
        for name, problem in unlaunchable(config):
            if not (op.endswith("_expand") and name.lower() == "split_k"):
                made.add((*key, name), "bad value", made.crash(key), f"{problem}; change it")
        low = {name.lower(): value for name, value in config.items()}
        if op.endswith("_expand") and low.get("split_k") not in (None, 1):
            made.add((*key, "split_k"), "dead key", "ignored", f"got {low['split_k']}, but expand never splits")
        for name in ("max_nreg", "num_ctas"):
            if low.get(name) not in (None, 1):
                made.add((*key, name), "dead key", "ignored", f"got {low[name]}, but it is never passed to a kernel")


def check_together(family: dict[str, Walk]) -> None:
    """Note what the files of one GPU contradict each other in."""
    there = next(iter(family.values()))
    missing = [op.upper() for op in moe.OPS if op not in family]
    if missing:
        there.add(
            (),
            "incomplete set",
            "slower",
            f"stands without {one_of(missing)}, for which the server takes its defaults (block_m {_DEFAULT_BLOCK_M}); "
            "write all four together",
        )
    for first, second, effect, why in _PAIRS:
        _compare(family.get(first), family.get(second), effect, why)


def _compare(one: Walk | None, other: Walk | None, effect: Effect, why: str) -> None:
    made = one or other
    if made is None:
        return
    names = [walk.file if walk else "the default" for walk in (one, other)]
    for loras in _numbers(one, other, 0):
        for m in _numbers(one, other, 2):
            blocks = [_block_m(walk, loras, m) for walk in (one, other)]
            if len(blocks[0] | blocks[1]) > 1:
                said = " and ".join(f"{one_of(sorted(b))} in {n}" for b, n in zip(blocks, names, strict=True))
                made.add((str(loras), "*", str(m)), "block_m differs", effect, f"block_m is {said}: {why}; use one")


def _numbers(one: Walk | None, other: Walk | None, level: int) -> list[int]:
    return sorted({int(key[level]) for walk in (one, other) if walk for key in walk.leaves})


def _block_m(walk: Walk | None, loras: int, m: int) -> set[int]:
    """What the server may find in the file for a batch of m: keys are taken by least distance, the first of a tie."""
    if walk is None or not walk.leaves:
        return {_DEFAULT_BLOCK_M}
    near = _nearest((int(key[0]) for key in walk.leaves), loras)
    keys = [key for key in walk.leaves if int(key[0]) == near]
    near_m = _nearest((int(key[2]) for key in keys), m)
    found = set()
    for key in keys:
        if int(key[2]) == near_m:
            config, _, _ = moe.launched(walk.leaves[key], W13_SHRINK)
            found.add(int((config or {}).get("block_m") or _DEFAULT_BLOCK_M))
    return found


def _nearest(numbers: Iterable[int], wanted: int) -> int:
    return min(numbers, key=lambda number: abs(number - wanted))
