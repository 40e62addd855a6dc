"""Draws the plots of a report by matplotlib, as SVG that takes the page's own colours and letters."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autotune.errors import InputError
from autotune.report.content import ReportContent, ReportRow
from autotune.report.tables import us
from autotune.report.timed import TimedTrial, fastest_by_pair, in_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_INK = "#010203"
"""Stands for the text colour of the page, whether it is light or dark."""
_DEFAULT, _TUNED, _PRUNED = "#d1495b", "#1a8fc4", "#8a8f98"
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.size": 9.0,
    "font.family": "sans-serif",
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "axes.titlesize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
}


def check_plots() -> None:
    """Refuses plots where they cannot be drawn.

    Raises:
        InputError: If matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401  (takes half a second, and need not be installed)
    except ModuleNotFoundError as error:
        raise InputError(
            "--html: its plots need matplotlib; pip install 'lora-autotune[plot]', or write --md or --csv"
        ) from error


def speedups(content: ReportContent) -> str:
    """Draws the speed-up of every layer over the batch size, a panel an op."""
    rows = [row for row in content.rows if row.speedup and row.size is not None]
    ops = list(dict.fromkeys(row.op for row in rows))
    with _style():
        figure = _figure(6.4, 2.4 * max(1, len(ops)))
        panels = figure.subplots(len(ops), 1, squeeze=False).ravel()
        for panel, op in zip(panels, ops, strict=True):
            _speedup_panel(panel, [row for row in rows if row.op == op], content.level)
            panel.set_title(f"Speed-up: {op}", loc="left")
        return _svg(figure, f"Speed-up by {content.level or 'size'} and layer")


def _speedup_panel(panel: Axes, rows: Sequence[ReportRow], level: str) -> None:
    for label in dict.fromkeys(row.layers for row in rows):
        points = sorted((row.size or 0, row.speedup or 0.0) for row in rows if row.layers == label)
        panel.plot(*zip(*points, strict=True), marker="o", markersize=3.5, linewidth=1.2, label=label)
    panel.axhline(1, color=_INK, linewidth=0.8, linestyle="dotted")
    sizes = sorted({row.size for row in rows if row.size})
    panel.set_xscale("log", base=2)
    panel.set_xticks(sizes, [str(size) for size in sizes], rotation=45 if len(sizes) > 8 else 0)
    panel.set(xlabel=level, ylabel="times as fast")
    panel.minorticks_off()
    panel.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.02))


def floors(content: ReportContent) -> str:
    """Draws the times before and after against the least that memory's bandwidth allows; some study must tell them."""
    times = [(row.floor_us, row.tuned_us, row.default_us) for row in content.rows if row.floor_us and row.tuned_us]
    with _style():
        figure = _figure(6.4, 4.2)
        panel = figure.subplots()
        for floor_us, tuned_us, default_us in times:
            if default_us:
                panel.plot([floor_us, floor_us], [default_us, tuned_us], color=_PRUNED, linewidth=0.7, zorder=1)
        before = [(floor_us, default_us) for floor_us, _, default_us in times if default_us]
        if before:
            panel.plot(*zip(*before, strict=True), "o", markersize=4, color=_DEFAULT, label="default")
        floors_us = [floor_us for floor_us, _, _ in times]
        panel.plot(floors_us, [tuned_us for _, tuned_us, _ in times], "o", markersize=4, color=_TUNED, label="tuned")
        # The line is seen for a single study, too.
        ends = [min(floors_us) / 1.3, max(floors_us) * 1.3]
        panel.plot(ends, ends, color=_INK, linewidth=0.8, linestyle="dotted", label="floor")
        panel.set(xscale="log", yscale="log", xlabel="bandwidth floor, us", ylabel="time, us")
        _spell(panel.xaxis)
        _spell(panel.yaxis)
        panel.set_title("Time against the least that memory allows", loc="left")
        panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02))
        return _svg(figure, "Time against the bandwidth floor")


def study_figure(row: ReportRow, timed: Sequence[TimedTrial], importance: dict[str, float]) -> str:
    """Draws one study: its search, what each parameter is worth, and the space along the two that matter most."""
    with _style():
        figure = _figure(9.6, 2.6)
        history, bars, shape = figure.subplots(1, 3, width_ratios=(3, 2, 3))
        _history(history, row, timed)
        _bars(bars, importance)
        _shape(shape, timed, list(importance)[:2])
        return _svg(figure, f"Search, importance and space of {row.name}")


def _history(panel: Axes, row: ReportRow, timed: Sequence[TimedTrial]) -> None:
    for pruned, colour, label in ((True, _PRUNED, "given up early"), (False, _TUNED, "timed")):
        points = [(trial.number, trial.time_us) for trial in timed if trial.pruned == pruned]
        if points:
            panel.plot(*zip(*points, strict=True), "o", markersize=3, color=colour, label=label)
    best, steps = float("inf"), []
    for trial in timed:
        best = min(best, trial.time_us)
        steps.append(best)
    panel.step([trial.number for trial in timed], steps, where="post", color=_TUNED, linewidth=1)
    if row.default_us:
        panel.axhline(row.default_us, color=_DEFAULT, linewidth=1, linestyle="dashed", label="default")
    panel.set(yscale="log", xlabel="trial", ylabel="time, us", title="search")
    _spell(panel.yaxis)
    if timed:
        panel.legend(fontsize=7)


def _bars(panel: Axes, importance: dict[str, float]) -> None:
    panel.set(title="importance", xlim=(0, 1))
    if not importance:
        _say(panel, "too few configs\nwere timed to say")
        return
    names = list(importance)[::-1]
    panel.barh(names, [importance[name] for name in names], color=_TUNED)


def _shape(panel: Axes, timed: Sequence[TimedTrial], pair: Sequence[str]) -> None:
    if len(pair) < 2:
        _say(panel, "fewer than two parameters\nmake a difference")
        return
    found = fastest_by_pair(timed, *pair)
    across, up = (in_order(key[side] for key in found) for side in (0, 1))
    fastest = min(found.values())
    slower = [[found.get((x, y), float("nan")) / fastest for x in across] for y in up]
    panel.pcolormesh(slower, cmap="viridis_r", vmin=1, vmax=3)
    for (x, y), time_us in found.items():
        colour = "white" if time_us / fastest > 2 else "black"
        middle = (across.index(x) + 0.5, up.index(y) + 0.5)
        panel.text(*middle, us(time_us), ha="center", va="center", fontsize=6.5, color=colour)
    panel.set_xticks([at + 0.5 for at in range(len(across))], [str(value) for value in across])
    panel.set_yticks([at + 0.5 for at in range(len(up))], [str(value) for value in up])
    panel.set(xlabel=pair[0], ylabel=pair[1], title="fastest time, us")


def _spell(axis: Axis) -> None:
    """Writes the numbers of a log axis as people do: 200 and not a power of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _say(panel: Axes, text: str) -> None:
    panel.text(0.5, 0.5, text, ha="center", va="center", transform=panel.transAxes)
    panel.set_axis_off()


def _style() -> Any:
    import matplotlib

    return matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE, "backend": "svg"})


def _figure(width_inches: float, height_inches: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width_inches, height_inches), layout="constrained", facecolor="none")


def _svg(figure: Figure, label: str) -> str:
    """Returns a figure as the SVG element that a page holds, as wide as the page allows."""
    for panel in figure.axes:
        panel.set_facecolor("none")
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Title": label})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    # A page holds many figures, and an id must be there once.
    mark = hashlib.sha256(label.encode()).hexdigest()[:8]
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>f{mark}-", svg)
