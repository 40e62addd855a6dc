"""Writes a report as one HTML file, which runs no script and loads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from autotune.report.content import ReportContent
from autotune.report.sections import UNTUNED, Section, sections
from autotune.untrusted.printing import printable

_TEMPLATE = "report.html.j2"


def html(content: ReportContent, figures: Sequence[str], studies: Iterable[tuple[str, str]]) -> str:
    """Renders the page.

    Args:
        figures: Plots of all studies, as SVG.
        studies: Name and plot of each study.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else printable(str(value), keep="\n"),
    )
    return environment.get_template(_TEMPLATE).render(
        content=content,
        untuned=UNTUNED,
        tables=[_table(section) for section in sections(content)],
        figures=[Markup(figure) for figure in figures],
        studies=[(name, Markup(figure)) for name, figure in studies],
    )


def _table(section: Section) -> dict[str, object]:
    """Returns what the template needs of a table."""
    numeric = {at for at in range(len(section.columns)) if section.is_numeric(at)}
    speedup = section.columns.index("speed-up") if "speed-up" in section.columns else None
    return {
        "title": section.title,
        "note": section.note,
        "remarks": section.remarks,
        "columns": section.columns,
        "rows": section.rows,
        "numeric": numeric,
        "speedup": speedup,
    }
