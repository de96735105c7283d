"""What the figures of `mapopt bench losses` show: how time and memory grow with the length of the list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mapopt.drawing.rows import GrowthLine, GrowthPage
from mapopt.drawing.styles import INK
from mapopt.experiments.bench.growth import PAIRS, Point

_COLORS = {"ap": "#e69f00", "alrp": "#009e73", "rank_sort": "#d55e00"}
"""Of the exact losses; the others stay in the background."""


def time_page(points: Sequence[Point], *, where: str) -> GrowthPage:
    """Returns milliseconds against the length, for the points with a fraction of positives."""
    lines = _lines(points, {point: 1e3 * point.seconds for point in points if point.seconds is not None})
    return GrowthPage(
        name="time",
        title="Time of a ranking loss, forward and backward, against the length of the list",
        caption=f"{_fraction(points)} of the scores are positives. Solid: ours, the three exact ones in color. Dashed: "
        "the published loop over the positives of the same loss. Dotted: the matrix of all pairs and plain autograd. "
        "A line ends where the next size would take too long or too much memory. Thin dashes: n log n through "
        f"AP-loss's last point. {where}; the fastest of several turns.",
        lines=lines,
        unit="milliseconds",
        guide=next((line for line in lines if line.name == "ap"), None),
    )


def memory_page(points: Sequence[Point], *, where: str) -> GrowthPage:
    """Returns megabytes against the length, for the points with a fraction of positives."""
    return GrowthPage(
        name="memory",
        title="Memory of a ranking loss beyond its input, forward and backward",
        caption=f"{_fraction(points)} of the scores are positives. The largest amount that torch's allocator held at "
        "once. Colors and dashes as in the figure of the time. A line also ends where measuring would take too long. "
        f"{where}.",
        lines=_lines(points, {point: point.bytes / 1e6 for point in points if point.bytes}),
        unit="megabytes",
    )


def _lines(points: Sequence[Point], values: Mapping[Point, float]) -> tuple[GrowthLine, ...]:
    lines = []
    for name in dict.fromkeys(point.name for point in points):
        row = sorted((point for point in values if point.name == name and point.fraction), key=lambda point: point.size)
        if row:
            lines.append(
                GrowthLine(
                    name=name,
                    sizes=tuple(point.size for point in row),
                    values=tuple(values[point] for point in row),
                    color=INK if name == PAIRS else _COLORS.get(name.split(",")[0]),
                    dash="-" if "," not in name else ":" if name == PAIRS else "--",
                    bold=name in _COLORS,
                )
            )
    return tuple(lines)


def _fraction(points: Sequence[Point]) -> str:
    fraction = next((point.fraction for point in points if point.fraction), 0.0)
    return f"{fraction:.2%}".replace(".00%", " %")
