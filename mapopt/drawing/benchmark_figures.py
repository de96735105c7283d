"""The figures of the benchmarks: what losses cost against the length of their lists, and evaluators' times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, NullFormatter

from mapopt.drawing.pages import new_page, save, styled
from mapopt.drawing.places import spread_apart
from mapopt.drawing.rows import GrowthLine, GrowthPage, TimesPage
from mapopt.drawing.styles import FAINT, INK

_BACKGROUND = "#b9b9b9"
_HIGHLIGHT = "#d55e00"
_SIZE = 8.5  # points, of a line's name
_HEIGHT, _WIDTH = 6.6, 10.5  # inches


def save_benchmark(page: GrowthPage | TimesPage, folder: Path) -> Path:
    """Draws a page into ``<name>.png`` of a folder and returns its path.

    Raises:
        StoreError: the file cannot be written.
    """
    figure = draw_growth(page) if isinstance(page, GrowthPage) else draw_times(page)
    return save(figure, folder / f"{page.name}.png")


def draw_growth(page: GrowthPage) -> Figure:
    """Draws how time or memory grows with the length of the list: one line a loss, named at its end."""
    with styled():
        figure = new_page(width=_WIDTH, height=_HEIGHT, title=page.title, caption=page.caption)
        axes = figure.subplots()
        for line in sorted(page.lines, key=lambda line: line.color is not None):
            front = line.color is not None
            axes.plot(
                line.sizes,
                line.values,
                color=line.color or _BACKGROUND,
                linestyle=line.dash,
                linewidth=2.2 if front else 1.2,
                marker="o",
                markersize=4 if front else 2.5,
                zorder=3 + front,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        shortest, longest = min(line.sizes[0] for line in page.lines), max(line.sizes[-1] for line in page.lines)
        # Names need about a third of the width beside the last points.
        axes.set_xlim(shortest / 1.15, longest * (max(longest / shortest, 10) ** 0.34))
        low, high = min(min(line.values) for line in page.lines), max(max(line.values) for line in page.lines)
        axes.set_ylim(low / 1.5, high * 1.8)
        if page.guide is not None and len(page.guide.sizes) > 1:
            _guide(page.guide, axes)
        _name_ends(page.lines, axes)
        axes.set_xticks([size for size in (10**k for k in range(2, 9)) if shortest <= size <= longest])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.set_xlabel("scores in the list")
        axes.set_ylabel(page.unit)
    return figure


def draw_times(page: TimesPage) -> Figure:
    """Draws a panel a set and a row an evaluator, with dots on a logarithmic scale."""
    with styled():
        figure = new_page(
            width=2.6 * len(page.panels) + 2.2,
            height=0.34 * len(page.names) + 2.2,
            title=page.title,
            caption=page.caption,
        )
        panels = figure.subplots(1, len(page.panels), sharey=True, squeeze=False)[0]
        for panel, axes in zip(page.panels, panels, strict=True):
            first = next(iter(panel.times.values()))
            for evaluator, time in panel.times.items():
                place = page.names.index(evaluator)
                color = _HIGHLIGHT if evaluator in page.highlighted else FAINT
                axes.plot([time], [place], "o", color=color, markersize=7)
                axes.annotate(
                    f"{time / first:.3g}×",
                    (time, place),
                    (0, 6),
                    textcoords="offset points",
                    ha="center",
                    size=7.5,
                    color=INK,
                )
            axes.set_xscale("log")
            axes.set_xlim(min(panel.times.values()) / 2.5, max(panel.times.values()) * 2.5)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_title(panel.set)
            axes.set_yticks(range(len(page.names)), page.names)
            axes.set_ylim(len(page.names) - 0.5, -0.7)
            axes.set_xlabel("ms")
    return figure


def _guide(line: GrowthLine, axes: Axes) -> None:
    """Draws n log n through a line's last point."""
    last = line.values[-1] / (line.sizes[-1] * math.log(line.sizes[-1]))
    sizes = np.geomspace(line.sizes[0], line.sizes[-1], 50)
    values = last * sizes * np.log(sizes)
    axes.plot(sizes, values, color=FAINT, linewidth=1.0, linestyle=(0, (6, 4)), zorder=2)
    seen = np.flatnonzero(values > 1.2 * axes.get_ylim()[0])
    at = int(seen[len(seen) // 4])
    halo = [withStroke(linewidth=3, foreground="white")]
    axes.annotate(
        "n log n", (sizes[at], values[at]), (6, -12), textcoords="offset points",
        fontsize=_SIZE, color="#666666", fontstyle="italic", path_effects=halo,
    )  # fmt: skip


def _name_ends(lines: Sequence[GrowthLine], axes: Axes) -> None:
    """Writes each line's name beside its end; names of lines that end at the same size are moved apart."""
    bottom, top = (math.log(value) for value in axes.get_ylim())
    left, right = (math.log(value) for value in axes.get_xlim())
    gap = 1.28 * _SIZE / 72 / (0.86 * _HEIGHT)
    paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6}
    for size in sorted({line.sizes[-1] for line in lines}):
        group = [line for line in lines if line.sizes[-1] == size]
        ends = [(math.log(line.values[-1]) - bottom) / (top - bottom) for line in group]
        start = (math.log(size) - left) / (right - left)
        for line, end, place in zip(group, ends, spread_apart(ends, gap, low=0.0, high=1.0), strict=True):
            color = line.color or "#777777"
            axes.plot(
                [start + 0.006, start + 0.03], [end, place],
                transform=axes.transAxes, color=color, linewidth=0.7, alpha=0.8, zorder=6,
            )  # fmt: skip
            axes.text(
                start + 0.034, place, line.name, transform=axes.transAxes, va="center", fontsize=_SIZE,
                color=color, fontweight="bold" if line.bold else "normal", bbox=paper, zorder=7,
            )  # fmt: skip
