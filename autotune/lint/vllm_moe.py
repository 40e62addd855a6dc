"""Defects of the four fused MoE LoRA files, which are only correct together (runtime contracts A3, A6 and A8)."""

from __future__ import annotations

from autotune.errors import one_of
from autotune.lint import block_m
from autotune.lint.finding import Effect
from autotune.lint.nested import Walk
from autotune.lint.values import unlaunchable
from autotune.runtimes import vllm_moe as moe

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
        # A rank of 8 has a default block_n of 8: small, but servers launch it.
        default = moe.default_config(op, dict(zip(moe.LEVELS, map(int, key), strict=True)))
        for name, problem in unlaunchable({name: v for name, v in config.items() if v != default.get(name)}):
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
            f"stands without {one_of(missing)}, for which the server takes its defaults (block_m {block_m.DEFAULT}); "
            "write all four together",
        )
    for first, second, effect, why in _PAIRS:
        # Only w13 and w2 have different ranks on a fully sharded server.
        _compare(family.get(first), family.get(second), effect, why, sharded=second == W2_SHRINK)


def _compare(one: Walk | None, other: Walk | None, effect: Effect, why: str, sharded: bool) -> None:
    made = one or other
    if made is None:
        return
    names = [walk.file if walk else "the default" for walk in (one, other)]
    for each in block_m.differences(one, other, sharded):
        said = " and ".join(f"{one_of(sorted(b))} in {n}" for b, n in zip((each.one, each.other), names, strict=True))
        ms = f"{each.first_m} on" if each.last_m is None else f"{each.first_m} to {each.last_m}"
        key = (str(each.max_loras), "*", str(each.m))
        made.add(key, "block_m differs", effect, f"block_m is {said}, for m from {ms}: {why}; use one")
