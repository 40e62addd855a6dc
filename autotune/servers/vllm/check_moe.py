"""Finds defects of the four fused MoE LoRA files, which are only correct together (contracts A3, A6 and A8)."""

from __future__ import annotations

from dataclasses import replace

from autotune.contract import Call
from autotune.errors import one_of
from autotune.servers.finding import Effect, Finding
from autotune.servers.launchable import unlaunchable
from autotune.servers.resources import too_large
from autotune.servers.serving import Serving
from autotune.servers.vllm import check_block_m, check_split_k, check_variety, facts, moe
from autotune.servers.vllm.captures import crash
from autotune.servers.vllm.check_levels import Walk
from autotune.servers.vllm.check_split_k import ShrinkSize
from autotune.servers.vllm.facts import W2_EXPAND, W2_SHRINK, W13_EXPAND, W13_SHRINK
from autotune.servers.vllm.lookups import one_shot

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
    """Notes defects of single entries of the file for a GPU.

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
        dims = dict(zip(facts.MOE_LEVELS, map(int, key), strict=True))
        default = moe.default_config(op, dims)
        bad = list(unlaunchable({name: v for name, v in config.items() if v != default.get(name)}))
        for name, problem in bad:
            if name.lower() != "num_ctas" and not (op.endswith("_expand") and name.lower() == "split_k"):
                made.add((*key, name), "bad value", made.crash(key), f"{problem}; change it")
        if launched and _two_kernels(dims["k"], serving):
            compiled[key] = launched
        if not bad and key in compiled:
            if why := too_large(Call(facts.NAME, op, dims), compiled[key], gpu):
                made.add(key, "too large", made.crash(key), why)
            if op.endswith("_shrink"):
                depth = dims["n"] if op == W13_SHRINK else dims["i"]
                check_split_k.check(made, key, compiled[key], ShrinkSize(dims["m"], dims["k"], depth))
        low = {name.lower(): value for name, value in config.items()}
        if op.endswith("_expand") and low.get("split_k") not in (None, 1):
            made.add((*key, "split_k"), "dead key", "ignored", f"got {low['split_k']}, but expand never splits")
        for name in ("max_nreg", "num_ctas"):
            if low.get(name) not in (None, 1):
                made.add((*key, name), "dead key", "ignored", f"got {low[name]}, but it is never passed to a kernel")
    check_variety.check(made, compiled)


def _two_kernels(k: int, serving: Serving | None) -> bool:
    """Tells whether a server surely reads more than block_m; without its flags, that depends on the k it looks up
    alone."""
    return k > facts.ONE_SHOT_RANKS if serving is None else not one_shot(serving)


def check_slices(family: dict[str, Walk]) -> None:
    """Notes num_slices that every server with experts looks up (contracts A1): 1 for w2, and for w13 either 1 or 2."""
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
    """Notes what the files of one GPU contradict each other in.

    Args:
        serving: The server's flags, if known: they tell whether shrink and expand are two kernels.
    """
    there = next(iter(family.values()))
    missing = [op.upper() for op in facts.MOE_OPS if op not in family]
    if missing:
        there.add(
            (),
            "incomplete set",
            "slower",
            f"stands without {one_of(missing)}, for which the server takes its defaults (block_m "
            f"{check_block_m.DEFAULT}); write all four together",
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
    """Says of an assertion that surely fails that it does so at start, if its m is captured."""
    if finding.defect != "block_m differs" or finding.effect != "crash at request":
        return finding
    return replace(finding, effect=crash(int(finding.key[2])))


def _compare(one: Walk | None, other: Walk | None, effect: Effect, why: str, sharded: bool) -> None:
    made = one or other
    if made is None:
        return
    names = [walk.file if walk else "the default" for walk in (one, other)]
    for each in check_block_m.differences(one, other, sharded):
        said = " and ".join(f"{one_of(sorted(b))} in {n}" for b, n in zip((each.one, each.other), names, strict=True))
        ms = f"{each.first_m} on" if each.last_m is None else f"{each.first_m} to {each.last_m}"
        key = (str(each.max_loras), "*", str(each.m))
        made.add(key, "block_m differs", effect, f"block_m is {said}, for m from {ms}: {why}; use one")
