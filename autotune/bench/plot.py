"""Draws regret against measurements, one panel a space, one line a sampler."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autotune.bench.score import Score
from autotune.errors import InputError, one_of

_FLOOR_PERCENT = 0.05
"""What "none" is drawn as: the axis is logarithmic."""


def check(path: Path) -> None:
    """Refuses a picture that could not be written, before hours of replays rather than after.

    Raises:
        InputError: If matplotlib is not installed, the folder is not there, or the ending names no format.
    """
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise InputError("--plot: needs matplotlib; install the extra 'plot'") from error
    if not path.parent.is_dir():
        raise InputError(f"--plot: got {path}, and there is no folder {path.parent}; make it first")
    formats = FigureCanvasBase.get_supported_filetypes()
    if path.suffix.removeprefix(".") not in formats:
        raise InputError(f"--plot: got {path.name}, allowed endings: {one_of(sorted(formats))}")


def draw(scores: Sequence[Score], budget: int, path: Path) -> None:
    """Writes the picture, which has passed its `check`; its format follows the file's ending."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(score.recording.name for score in scores))
    figure = Figure(figsize=(6 * min(len(names), 2), 3.6 * ((len(names) + 1) // 2)), layout="constrained")
    panels = figure.subplots((len(names) + 1) // 2, min(len(names), 2), squeeze=False).ravel()
    steps = range(1, budget + 1)
    samplers = list(dict.fromkeys(score.sampler for score in scores))
    # Ours in black and on top; twelve rivals are told apart before colours repeat.
    colours = {name: "black" if name == "auto" else colormaps["Paired"](i % 12) for i, name in enumerate(samplers)}
    for panel, name in zip(panels, names, strict=False):
        for score in (s for s in scores if s.recording.name == name):
            spreads = [score.spread(step) for step in steps]
            middle = [max(100 * spread.median, _FLOOR_PERCENT) for spread in spreads]
            high = [max(100 * spread.quantile(0.95), _FLOOR_PERCENT) for spread in spreads]
            ours = score.sampler == "auto"
            style = {"color": colours[score.sampler], "zorder": 3 if ours else 2}
            panel.plot(steps, middle, label=score.sampler, linewidth=2.2 if ours else 1.2, **style)
            panel.plot(steps, high, linewidth=1.2 if ours else 0.6, linestyle="dotted", **style)
        panel.set(title=name, yscale="log", xlabel="evaluations", ylabel="regret, %")
        panel.title.set_fontsize(9)
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=8, ncols=6, loc="outside lower center")
    seeds = max(len(score.outcomes) for score in scores)
    figure.suptitle(f"Median over {seeds} seeds; dotted: 95th percentile", fontsize=9)
    figure.savefig(path, dpi=110)
