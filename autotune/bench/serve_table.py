"""Says what an end-to-end run found: milliseconds of each variant, above LoRA off, and whether a difference is one.

A process differs from the next by more than its own repeats do, so the unit of comparison is a process's median. Two
variants differ where the medians of one are all below those of the other; of one process each that cannot be told.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from autotune.bench.rounds import FinishedProcess, names
from autotune.bench.variants import DEFAULTS, OFF, UNUSED
from autotune.servers.engine import Answer

Difference = Literal["faster", "slower", "within the spread", "one round: not known"]
_UNKNOWN: Difference = "one round: not known"
_WAITING = 0.75
"""Where the GPU is busy for a smaller part of a step, what a kernel gains may not shorten it."""


@dataclass(frozen=True)
class Cell:
    """One variant in one phase.

    Attributes:
        medians_ms: Of each of its processes.
        above_off_ms: Its median above that of LoRA off; None without that variant.
        lora_kernels_ms: GPU time of LoRA kernels in its first process's `profiled_steps`, and `launches` their number.
        gpu_ms: Of a step, how long the GPU was busy in a profile of its first process; None where that is not known.
        against_default: How it compares with the server's defaults; None for these themselves and for what is no rival.
    """

    variant: str
    phase: str
    medians_ms: tuple[float, ...]
    tokens_per_s: float
    above_off_ms: float | None
    lora_kernels_ms: float
    launches: int
    profiled_steps: int
    gpu_ms: float | None
    against_default: Difference | None

    @property
    def ms(self) -> float:
        return statistics.median(self.medians_ms)

    @property
    def launches_a_step(self) -> float:
        return self.launches / self.profiled_steps

    @property
    def lora_ms_a_step(self) -> float:
        return self.lora_kernels_ms / self.profiled_steps


@dataclass(frozen=True)
class Sameness:
    """How a variant's greedy answers compare with the defaults' of the first round.

    Attributes:
        same: Prompts answered with the same tokens.
        largest_gap: Of the prompts answered otherwise, the largest difference of log-probability between the two tokens
            at the first step that differs; None where all are the same.
    """

    variant: str
    turn: int
    same: int
    prompts: int
    largest_gap: float | None


def cells(finished: Sequence[FinishedProcess]) -> list[Cell]:
    """Returns a cell for every variant in every phase."""
    phases = [phase.name for phase in finished[0].result.phases]
    return [_cell(finished, variant, phase) for variant in names(finished) for phase in phases]


def _cell(finished: Sequence[FinishedProcess], variant: str, phase: str) -> Cell:
    own = [each.result.phase(phase) for each in finished if each.variant.name == variant]
    medians_ms = _medians(finished, variant, phase)
    off_ms, default_ms = _medians(finished, OFF, phase), _medians(finished, DEFAULTS, phase)
    profiled = own[0].lora_kernels
    is_rival = variant not in (DEFAULTS, UNUSED, OFF) and default_ms
    return Cell(
        variant=variant,
        phase=phase,
        medians_ms=medians_ms,
        tokens_per_s=statistics.median(rate for result in own for rate in result.tokens_per_s),
        above_off_ms=statistics.median(medians_ms) - statistics.median(off_ms) if off_ms else None,
        lora_kernels_ms=sum(kernel.time_us for kernel in profiled) / 1e3,
        launches=sum(kernel.launches for kernel in profiled),
        profiled_steps=own[0].profiled_steps,
        gpu_ms=own[0].gpu_ms,
        against_default=compare(medians_ms, default_ms) if is_rival else None,
    )


def _medians(finished: Iterable[FinishedProcess], variant: str, phase: str) -> tuple[float, ...]:
    return tuple(statistics.median(each.result.phase(phase).ms) for each in finished if each.variant.name == variant)


def compare(one_ms: Sequence[float], default_ms: Sequence[float]) -> Difference:
    """Tells whether the processes of one variant are all faster, or all slower, than those of the default."""
    if min(len(one_ms), len(default_ms)) < 2:
        return _UNKNOWN
    if max(one_ms) < min(default_ms):
        return "faster"
    return "slower" if min(one_ms) > max(default_ms) else "within the spread"


def answers(finished: Sequence[FinishedProcess]) -> list[Sameness]:
    """Compares the answers of every process that uses adapters with those of the defaults' first round."""
    rivals = [each for each in finished if each.variant.lora == "used"]
    first = next((each for each in rivals if each.variant.name == DEFAULTS), None)
    if first is None:
        return []
    return [_sameness(first, each) for each in rivals if each is not first]


def _sameness(first: FinishedProcess, other: FinishedProcess) -> Sameness:
    pairs = list(zip(first.result.answers, other.result.answers, strict=True))
    gaps = [gap for one, two in pairs if (gap := _gap(one, two)) is not None]
    same = sum(one.tokens == two.tokens for one, two in pairs)
    return Sameness(other.variant.name, other.turn, same, len(pairs), max(gaps, default=None))


def _gap(one: Answer, two: Answer) -> float | None:
    """Tells how far apart the first one has the two tokens at the first step that differs; None if none does."""
    for step, (a, b) in enumerate(zip(one.tokens, two.tokens, strict=False)):
        if a != b:
            likely = one.logprobs[step]
            return likely[a] - likely[b] if b in likely else likely[a] - min(likely.values())
    return None


def verdicts(finished: Sequence[FinishedProcess], found: Sequence[Cell]) -> list[str]:
    """Returns what to know, one line each: gains, compilations while phases were timed, answers."""
    lines = []
    for variant in dict.fromkeys(cell.variant for cell in found if cell.against_default):
        lines += _variant_lines(variant, found)
    lines += waiting(found)
    lines += [_compiled_line(each) for each in finished if each.result.jit_compiles]
    if not any(each.result.jit_compiles for each in finished):
        lines.append("no Triton kernel was compiled while phases were timed")
    if unseen := [name for name in names(finished) if _uses_lora_unseen(name, finished)]:
        lines.append(f"{', '.join(unseen)}: the profile saw no LoRA kernel, so whose kernels ran is not shown")
    lines += [_sameness_line(sameness) for sameness in answers(finished)]
    return lines


def waiting(found: Sequence[Cell]) -> list[str]:
    """Says in which phases the GPU waits for the CPU, one line each."""
    lines = []
    for phase in dict.fromkeys(cell.phase for cell in found):
        seen = [(cell, cell.gpu_ms) for cell in found if cell.phase == phase and cell.gpu_ms is not None]
        if idle := [
            f"{gpu_ms:.1f} of {cell.ms:.1f} ms in {cell.variant}"
            for cell, gpu_ms in seen
            if gpu_ms < _WAITING * cell.ms
        ]:
            lines.append(f"at {phase} the GPU is busy for {', '.join(idle)}: the rest of the time it waits for the CPU")
    return lines


def _compiled_line(each: FinishedProcess) -> str:
    return (
        f"{each.variant.name}, round {each.turn + 1}: {len(each.result.jit_compiles)} kernels were compiled while "
        f"phases were timed: {', '.join(dict.fromkeys(each.result.jit_compiles))}"
    )


def _uses_lora_unseen(variant: str, finished: Iterable[FinishedProcess]) -> bool:
    own = [each for each in finished if each.variant.name == variant and each.variant.lora == "used"]
    return bool(own) and not any(each.shown.sources for each in own)


def _variant_lines(variant: str, found: Sequence[Cell]) -> list[str]:
    """Says how a variant compares with the defaults, phase by phase."""
    own, defaults = ([cell for cell in found if cell.variant == name] for name in (variant, DEFAULTS))
    by_difference: dict[Difference | None, list[str]] = {}
    for cell in own:
        by_difference.setdefault(cell.against_default, []).append(cell.phase)
    lines = []
    if slower := by_difference.get("slower"):
        lines.append(f"{variant} is slower than the defaults at {', '.join(slower)}: do not serve with it")
    if faster := by_difference.get("faster"):
        lines.append(f"{variant} is faster than the defaults at {', '.join(faster)}")
    if (within := by_difference.get("within the spread")) and (faster or slower):
        lines.append(f"{variant}: at {', '.join(within)} processes of one variant differ by more than the variants do")
    if _UNKNOWN in by_difference:
        lines.append(
            f"{variant} beside the defaults: {_differences_ms(own, defaults)}; one process of each cannot tell that "
            "from the spread of processes: give bench serve --rounds 3"
        )
    return lines or [
        f"{variant}: nothing gained beyond the rounds' spread: {_differences_ms(own, defaults)} beside the defaults, "
        f"while processes of one variant differ by up to {_largest_spread_ms([*own, *defaults]):.2f} ms"
    ]


def _largest_spread_ms(found: Iterable[Cell]) -> float:
    return max(max(cell.medians_ms) - min(cell.medians_ms) for cell in found)


def _differences_ms(own: Sequence[Cell], defaults: Sequence[Cell]) -> str:
    default_ms = {cell.phase: cell.ms for cell in defaults}
    return ", ".join(f"{cell.ms - default_ms[cell.phase]:+.2f} ms at {cell.phase}" for cell in own)


def _sameness_line(found: Sameness) -> str:
    who = f"{found.variant}, round {found.turn + 1}"
    if found.largest_gap is None:
        return f"{who}: the same greedy answers as the defaults to all {found.prompts} prompts"
    return (
        f"{who}: the same greedy answers as the defaults to {found.same} of {found.prompts} prompts; where they part, "
        f"the defaults hold the two tokens within {found.largest_gap:.3f} in log-probability"
    )
