"""Defects of the four fused MoE LoRA files, which are only correct together (runtime contracts A3, A6 and A8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from autotune.errors import one_of
from autotune.kernel import Call
from autotune.lint import variety
from autotune.lint.finding import Effect, Finding, crash
from autotune.lint.nested import Walk
from autotune.lint.resources import too_large
from autotune.lint.values import unlaunchable
from autotune.plan.serving import Serving
from autotune.plan.vllm import one_shot
from autotune.runtimes import vllm_moe as moe

_DEFAULT_BLOCK_M = 64
"""Of an op that has no file or whose entry lacks it (contracts A2, A3)."""

Shape = tuple[int, int, int]
"""The k, n and i of a key."""

Blocks = dict[Shape, int]
"""The block_m of each shape."""

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


def check_entries(made: Walk, op: str, gpu: str, serving: Serving | None = None) -> None:
    """Note defects of single entries of the file for a GPU.

    Args:
        serving: The server's flags, if known.
    """
    compiled = {}
    for key, config in made.leaves.items():
        launched, failure, warnings = moe.launched(config, op)
        if failure:
            made.add(key, "bad entry", made.crash(key), failure.message)
        for warning in warnings:
            made.add(key, "missing key", "slower", warning)
        # A rank of 8 has a default block_n of 8: small, but servers launch it.
        dims = dict(zip(moe.LEVELS, map(int, key), strict=True))
        default = moe.default_config(op, dims)
        bad = list(unlaunchable({name: v for name, v in config.items() if v != default.get(name)}))
        for name, problem in bad:
            if not (op.endswith("_expand") and name.lower() == "split_k"):
                made.add((*key, name), "bad value", made.crash(key), f"{problem}; change it")
        if launched and _two_kernels(dims["k"], serving):
            compiled[key] = launched
        if not bad and key in compiled and (why := too_large(Call("vllm", op, dims), compiled[key], gpu)):
            made.add(key, "too large", made.crash(key), why)
        low = {name.lower(): value for name, value in config.items()}
        if op.endswith("_expand") and low.get("split_k") not in (None, 1):
            made.add((*key, "split_k"), "dead key", "ignored", f"got {low['split_k']}, but expand never splits")
        for name in ("max_nreg", "num_ctas"):
            if low.get(name) not in (None, 1):
                made.add((*key, name), "dead key", "ignored", f"got {low[name]}, but it is never passed to a kernel")
    variety.check(made, compiled)


def _two_kernels(k: int, serving: Serving | None) -> bool:
    """Whether a server surely reads more than block_m; without its flags, that depends on the k it looks up alone."""
    return k > moe.ONE_SHOT_RANKS if serving is None else not one_shot(serving)


def check_slices(family: dict[str, Walk]) -> None:
    """Note num_slices that every server with experts looks up (contracts A1): 1 for w2, and for w13 either 1 or 2."""
    for op, made in family.items():
        allowed = ("1",) if op in (W2_SHRINK, W2_EXPAND) else ("1", "2")
        for loras, have in made.slices.items():
            if have.isdisjoint(allowed):
                _lacks_slices(
                    made, (loras,), " or ".join(allowed), f"has num_slices {one_of(sorted(have)) or 'none'} only"
                )
    for op, partner in ((W13_SHRINK, W13_EXPAND), (W13_EXPAND, W13_SHRINK)):
        if op in family and partner in family:
            have, wanted = (set[str]().union(*family[each].slices.values()) for each in (op, partner))
            if have & {"1", "2"} and (lacking := wanted & {"1", "2"} - have):
                _lacks_slices(family[op], (), one_of(sorted(lacking)), f"lacks what {family[partner].file} has")


def _lacks_slices(made: Walk, key: tuple[str, ...], number: str, what: str) -> None:
    message = f"{what}, and a server looks up {number}: KeyError; add it"
    made.add(key, "num_slices missing", "crash at start", message)


def check_together(family: dict[str, Walk], serving: Serving | None = None) -> None:
    """Note what the files of one GPU contradict each other in.

    Args:
        serving: The server's flags, if known: they tell whether shrink and expand are two kernels.
    """
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
        if serving and one_shot(serving) and second in (W13_EXPAND, W2_EXPAND):
            # One kernel does both, and reads the shrink's entry alone (contracts A6).
            continue
        # Only w13 and w2 have different ranks on a fully sharded server.
        _compare(family.get(first), family.get(second), effect, why, sharded=second == W2_SHRINK)
    if serving:
        for made in family.values():
            made.findings = [_timed(finding) for finding in made.findings]


def _timed(finding: Finding) -> Finding:
    """An assertion that surely fails does so at start, if its m is captured."""
    if finding.defect != "block_m differs" or finding.effect != "crash at request":
        return finding
    return replace(finding, effect=crash(int(finding.key[2])))


def _compare(one: Walk | None, other: Walk | None, effect: Effect, why: str, sharded: bool) -> None:
    made = one or other
    if made is None:
        return
    names = [walk.file if walk else "the default" for walk in (one, other)]
    for loras in _numbers(one, other, 0):
        for m in _numbers(one, other, 2):
            blocks = _differing(_blocks(one, loras, m), _blocks(other, loras, m), sharded)
            if blocks[0]:
                said = " and ".join(f"{one_of(sorted(b))} in {n}" for b, n in zip(blocks, names, strict=True))
                made.add((str(loras), "*", str(m)), "block_m differs", effect, f"block_m is {said}: {why}; use one")


def _differing(one: Blocks, other: Blocks, sharded: bool) -> tuple[set[int], set[int]]:
    """The block_m, in each file, of what no server could look up in both and get the same."""
    found: tuple[set[int], set[int]] = set(), set()
    for shape in one | other:
        of_one = _answers(one, shape, lambda k, there: sharded and there > 0 and k % there == 0)
        of_other = _answers(other, shape, lambda k, there: sharded and k > 0 and there % k == 0)
        if of_one.isdisjoint(of_other):
            found[0].update(of_one)
            found[1].update(of_other)
    return found


def _answers(blocks: Blocks, shape: Shape, partners: Callable[[int, int], bool]) -> set[int]:
    """The block_m for one entry of the other file: of the same shape, or of what may be the same to a sharded server.

    Args:
        partners: Whether fully sharded servers may look up this other k together with the shape's: in w13 they look up
            a fraction of w2's (contracts A7). Which fraction no file tells.
    """
    if not blocks:
        return {_DEFAULT_BLOCK_M}
    if shape in blocks:
        return {blocks[shape]}
    if found := {b for (k, n, i), b in blocks.items() if (n, i) == shape[1:] and partners(shape[0], k)}:
        return found
    near = list(blocks)
    for level, wanted in enumerate(shape):
        taken = _nearest((there[level] for there in near), wanted)
        near = [there for there in near if there[level] == taken]
    return {blocks[near[0]]}


def _numbers(one: Walk | None, other: Walk | None, level: int) -> list[int]:
    return sorted({int(key[level]) for walk in (one, other) if walk for key in walk.leaves})


def _blocks(walk: Walk | None, loras: int, m: int) -> Blocks:
    """What is in the file for a batch of m: keys are taken by least distance, the first of a tie."""
    if walk is None or not walk.leaves:
        return {}
    near = _nearest((int(key[0]) for key in walk.leaves), loras)
    keys = [key for key in walk.leaves if int(key[0]) == near]
    near_m = _nearest((int(key[2]) for key in keys), m)
    found = {}
    for key in keys:
        if int(key[2]) == near_m:
            config, _, _ = moe.launched(walk.leaves[key], W13_SHRINK)
            k, n, i = map(int, key[3:])
            found[k, n, i] = int((config or {}).get("block_m") or _DEFAULT_BLOCK_M)
    return found


def _nearest(numbers: Iterable[int], wanted: int) -> int:
    return min(numbers, key=lambda number: abs(number - wanted))
