"""Draws how time and memory grow with the length of the list: one line a loss, named at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, NullFormatter

from mapopt.drawing.style import FAINT, INK, page, styled
from mapopt.experiments.bench.growth import PAIRS, Point

_COLORS = {"ap": "#e69f00", "alrp": "#009e73", "rank_sort": "#d55e00"}
_OTHERS = "#b9b9b9"
_SIZE = 8.5  # points, of a line's name
_HEIGHT, _WIDTH = 6.6, 10.5  # inches


@dataclass(frozen=True)
class _Line:
    name: str
    sizes: list[int]
    values: list[float]

    @property
    def color(self) -> str:
        return INK if self.name == PAIRS else _COLORS.get(self.name.split(",")[0], _OTHERS)

    @property
    def dash(self) -> str:
        return "-" if "," not in self.name else ":" if self.name == PAIRS else "--"


def draw_time(points: Sequence[Point], *, where: str) -> Figure:
    """Draws milliseconds against the length, for the points with a share of positives."""
    lines = _lines(points, {one: 1e3 * one.seconds for one in points if one.seconds is not None})
    return _draw(
        lines,
        title="Time of a ranking loss, forward and backward, against the length of the list",
        caption=f"{_fraction(points)} of the scores are positives. Solid: ours, the three exact ones in colour. Dashed: "
        "the published loop over the positives of the same loss. Dotted: the matrix of all pairs and plain autograd. "
        "A line ends where the next size would take too long or too much memory. Thin dashes: n log n through "
        f"AP-loss's last point. {where}; the fastest of several turns.",
        label="milliseconds",
        guide=True,
    )


def draw_memory(points: Sequence[Point], *, where: str) -> Figure:
    """Draws megabytes against the length, for the points with a share of positives."""
    lines = _lines(points, {one: one.bytes / 1e6 for one in points if one.bytes})
    return _draw(
        lines,
        title="Memory of a ranking loss beyond its input, forward and backward",
        caption=f"{_fraction(points)} of the scores are positives. The most that torch's allocator held at once. Colours "
        f"and dashes as in the figure of the time. A line also ends where measuring would take too long. {where}.",
        label="megabytes",
        guide=False,
    )


def _lines(points: Sequence[Point], values: dict[Point, float]) -> list[_Line]:
    lines = []
    for name in dict.fromkeys(one.name for one in points):
        row = sorted((one for one in values if one.name == name and one.fraction), key=lambda one: one.size)
        if row:
            lines.append(_Line(name, [one.size for one in row], [values[one] for one in row]))
    return lines


def _draw(lines: Sequence[_Line], *, title: str, caption: str, label: str, guide: bool) -> Figure:
    with styled():
        figure = page(width=_WIDTH, height=_HEIGHT, title=title, caption=caption)
        axes = figure.subplots()
        for line in sorted(lines, key=lambda line: line.color != _OTHERS):
            ours = line.color != _OTHERS
            axes.plot(
                line.sizes,
                line.values,
                color=line.color,
                linestyle=line.dash,
                linewidth=2.2 if ours else 1.2,
                marker="o",
                markersize=4 if ours else 2.5,
                zorder=3 + ours,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        least, most = min(line.sizes[0] for line in lines), max(line.sizes[-1] for line in lines)
        # Names need about a third of the width beside the last points.
        axes.set_xlim(least / 1.15, most * (max(most / least, 10) ** 0.34))
        low, high = min(min(line.values) for line in lines), max(max(line.values) for line in lines)
        axes.set_ylim(low / 1.5, high * 1.8)
        if guide:
            _guide(lines, axes)
        _name_ends(lines, axes)
        axes.set_xticks([size for size in (10**k for k in range(2, 9)) if least <= size <= most])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.set_xlabel("scores in the list")
        axes.set_ylabel(label)
    return figure


def _guide(lines: Sequence[_Line], axes: Axes) -> None:
    """Draws n log n through AP-loss's last point."""
    ap = next((line for line in lines if line.name == "ap"), None)
    if ap is None or len(ap.sizes) < 2:
        return
    last = ap.sizes[-1] * math.log(ap.sizes[-1])
    values = [ap.values[-1] * size * math.log(size) / last for size in ap.sizes]
    axes.plot(ap.sizes, values, color=FAINT, linewidth=1.0, linestyle=(0, (6, 4)), zorder=2)
    bottom = axes.get_ylim()[0]
    at = next(i for i, value in enumerate(values) if value > 1.2 * bottom)
    halo = [withStroke(linewidth=3, foreground="white")]
    axes.annotate(
        "n log n", (ap.sizes[at], values[at]), (6, -12), textcoords="offset points",
        fontsize=_SIZE, color="#666666", fontstyle="italic", path_effects=halo,
    )  # fmt: skip


def _name_ends(lines: Sequence[_Line], axes: Axes) -> None:
    """Writes each line's name beside its end; names of lines that end at the same size are moved apart."""
    bottom, top = (math.log(value) for value in axes.get_ylim())
    left, right = (math.log(value) for value in axes.get_xlim())
    gap = 1.28 * _SIZE / 72 / (0.86 * _HEIGHT)
    paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6}
    for size in sorted({line.sizes[-1] for line in lines}):
        group = [line for line in lines if line.sizes[-1] == size]
        ends = [(math.log(line.values[-1]) - bottom) / (top - bottom) for line in group]
        start = (math.log(size) - left) / (right - left)
        for line, end, place in zip(group, ends, spread_apart(ends, gap), strict=True):
            color = line.color if line.color != _OTHERS else "#777777"
            axes.plot(
                [start + 0.006, start + 0.03], [end, place],
                transform=axes.transAxes, color=color, linewidth=0.7, alpha=0.8, zorder=6,
            )  # fmt: skip
            axes.text(
                start + 0.034, place, line.name, transform=axes.transAxes, va="center", fontsize=_SIZE,
                color=color, fontweight="bold" if line.name in _COLORS else "normal", bbox=paper, zorder=7,
            )  # fmt: skip


def spread_apart(places: Sequence[float], gap: float) -> list[float]:
    """Moves places in [0, 1] apart to at least `gap`, each little, and keeps them inside.

    >>> [round(one, 3) for one in spread_apart([0.5, 0.5, 0.1], 0.1)]
    [0.45, 0.55, 0.1]
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    blocks: list[list[float]] = []  # wanted places of neighbours that touch, each less its own offset
    for rank, i in enumerate(order):
        blocks.append([places[i] - gap * rank])
        while len(blocks) > 1 and sum(blocks[-2]) / len(blocks[-2]) > sum(blocks[-1]) / len(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    level = [sum(block) / len(block) for block in blocks for _ in block]
    # At the edges there is no place beyond.
    highest = 1.0 - gap * (len(places) - 1)
    moved = [0.0] * len(places)
    for rank, i in enumerate(order):
        moved[i] = min(max(level[rank], 0.0), max(highest, 0.0)) + gap * rank
    return moved


def _fraction(points: Sequence[Point]) -> str:
    fraction = next((one.fraction for one in points if one.fraction), 0.0)
    return f"{fraction:.3g}".rstrip("0") if fraction == 0 else f"{fraction:.2%}".replace(".00%", " %")
