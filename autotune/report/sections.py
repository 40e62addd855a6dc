"""Writes the tables of a report as text: the terminal, Markdown and HTML show the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from autotune.report.content import ReportContent, ReportRow, Saving
from autotune.report.rivals import RUNS_SERVED, TIMED_TOGETHER
from autotune.report.served import ServedTimes
from autotune.report.tables import config_text, is_number, percent, us

_DECODE_TOKENS = 64
"""Up to so many tokens a pass is taken for a decode step, with one token a request."""

_COLUMNS = ("layers", "op", "size", "default us", "tuned us", "speed-up", "of floor", "p", "kernel", "config")

UNTUNED = "Not tuned, or not faster, and what to mind"


@dataclass(frozen=True)
class Section:
    """One table.

    Attributes:
        note: What to know to read it; may be empty.
        remarks: What follows from it, one line each.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...] = ()

    def is_numeric(self, column: int) -> bool:
        return bool(self.rows) and all(is_number(row[column]) for row in self.rows)


def sections(content: ReportContent) -> list[Section]:
    """Makes the tables of a report; those that have nothing to say are left out."""
    return [without_empty_columns(section) for section in _sections(content) if section.rows]


def markdown(content: ReportContent) -> str:
    """Writes a report as Markdown."""
    lines = [f"# {_escaped(content.title)}", "", content.headline, ""]
    lines += [f"- {_escaped(machine)}" for machine in content.machines]
    for section in sections(content):
        lines += ["", f"## {section.title}", "", *([section.note, ""] if section.note else [])]
        dashes = ["---:" if section.is_numeric(at) else "---" for at in range(len(section.columns))]
        lines += [_line(section.columns), _line(dashes), *map(_line, section.rows)]
        lines += ["", *_items(section.remarks)] if section.remarks else []
    for title, items in ((UNTUNED, content.untuned), ("Before serving", content.advice)):
        if items:
            lines += ["", f"## {title}", "", *_items(items)]
    return "\n".join(lines) + "\n"


def _sections(content: ReportContent) -> Iterator[Section]:
    level = content.level or "size"
    note = f"The layers below, each as often as a pass of this {level} launches it."
    if level == "m":
        note += " A decode step has one token a request, a prefill as many as its prompts."
    if level == "chunk_size":
        note += " The pass is one of prompts where decode batches were timed as well; a layer's times are then means."
    yield Section(
        "What a forward pass saves",
        note,
        (
            level,
            "default us",
            "tuned us",
            "saved us",
            "speed-up",
            "with the plug-in us",
            "saved with it us",
            "not counted",
        ),
        tuple(_saving(saving) for saving in content.savings),
    )
    if content.served is not None:
        yield _served(content.served)
    yield rivals_section(content)
    columns = tuple(level if name == "size" else name for name in _COLUMNS)
    yield Section("Layer by layer", "", columns, tuple(_row(row) for row in content.rows))
    total_s = sum(content.spent_s.values())
    took = [(phase, seconds) for phase, seconds in content.spent_s.items() if seconds]
    spent = tuple((phase, f"{seconds:.1f}", percent(seconds / total_s)) for phase, seconds in took)
    yield Section("Where the time went", f"{total_s:.1f} s in all studies.", ("phase", "s", "share"), spent)


def rivals_section(content: ReportContent) -> Section:
    """Makes the table of the server's kernels and ours, layer by layer."""
    compared = [(row, row.rivals) for row in content.rows if row.rivals]
    separate = any(rivals.timed != TIMED_TOGETHER for _, rivals in compared)
    note = "What runs with the plug-in on is the fastest; ours where it is no slower than the server's tuned kernel."
    if any(rivals.runs == RUNS_SERVED and rivals.server_tuned_us is None for _, rivals in compared):
        note += " Without a time the server's was tuned on other batches, and keeps the call until a run times both."
    rows = [
        (
            row.layers,
            row.op,
            "" if row.size is None else str(row.size),
            *map(us, (rivals.server_default_us, rivals.server_tuned_us, rivals.ours_us)),
            us(rivals.together_us) if rivals.together_us is not None else "",
            rivals.runs,
            rivals.timed if separate else "",
        )
        for row, rivals in compared
    ]
    columns = ("layers", "op", content.level or "size", "server's default us", "server's tuned us", "ours us")
    return Section("The server's kernels and ours", note, (*columns, "as a pair us", "runs", "timed"), tuple(rows))


def token_lines(content: ReportContent) -> list[str]:
    """Says what a token of the model saves: while decoding, and in a prompt."""
    sizes = {saving.size: saving for saving in content.savings} if content.level == "m" else {}
    decode = max((size for size in sizes if size <= _DECODE_TOKENS), default=None)
    prefill = max((size for size in sizes if size > _DECODE_TOKENS), default=None)
    lines = []
    if decode is not None:
        lines.append(f"Decoding {decode} requests, a token comes sooner by {_saved_ms(sizes[decode])}.")
    if prefill is not None:
        lines.append(f"A prefill of {prefill} tokens ends sooner by {_saved_ms(sizes[prefill])}.")
    return lines


def _saved_ms(saving: Saving) -> str:
    files = f"{saving.saved_us / 1e3:.3g} ms"
    with_plugin = saving.plugin_saved_us
    return (
        files if with_plugin is None else f"{files} with the files, and by {with_plugin / 1e3:.3g} ms with the plug-in"
    )


def without_empty_columns(section: Section) -> Section:
    kept = [at for at in range(len(section.columns)) if any(row[at] for row in section.rows)]
    columns = tuple(section.columns[at] for at in kept)
    return replace(section, columns=columns, rows=tuple(tuple(row[at] for at in kept) for row in section.rows))


def _saving(saving: Saving) -> tuple[str, ...]:
    times = (us(saving.default_us), us(saving.tuned_us), us(saving.saved_us), f"{saving.speedup:.2f}x")
    with_plugin = [us(each) if each is not None else "" for each in (saving.plugin_us, saving.plugin_saved_us)]
    return (str(saving.size), *times, *with_plugin, f"{saving.missing} studies" if saving.missing else "")


def _served(served: ServedTimes) -> Section:
    columns = ("phase", "variant", "ms", "above LoRA off, ms", "tokens/s", "against the defaults")
    rows = [
        (
            cell.phase,
            f"{cell.variant}: {served.variants.get(cell.variant, '')}",
            f"{cell.ms:.2f}",
            "" if cell.above_off_ms is None else f"{cell.above_off_ms:.2f}",
            f"{cell.tokens_per_s:.0f}",
            cell.against_default or "",
        )
        for phase in dict.fromkeys(cell.phase for cell in served.cells)
        for cell in served.cells
        if cell.phase == phase
    ]
    return Section("On the server's engine", f"{served.about}.", columns, tuple(rows), served.verdicts)


def _row(row: ReportRow) -> tuple[str, ...]:
    """Makes a row under `_COLUMNS`."""
    config = {"tuned": config_text(row.config or {}), "default": "the default"}.get(row.state, row.state)
    return (
        row.layers,
        row.op,
        "" if row.size is None else str(row.size),
        us(row.default_us),
        us(row.tuned_us),
        f"{row.speedup:.2f}x" if row.speedup else "-",
        percent(row.of_floor),
        "-" if row.p_value is None else f"{row.p_value:.1g}",
        row.source,
        config,
    )


def _items(items: tuple[str, ...]) -> list[str]:
    return [f"- {_escaped(item)}" for item in items]


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    """Spells what Markdown would take for a table's border, a tag or a new line."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
