"""Every figure of a comparison as a function of its table and the axes it is drawn on.

Nothing here computes a number. Lines carry their names at their ends, moved apart where they would overlap, because a
legend of seven lines is a riddle.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullLocator

from mapopt.data.palette import category_hex
from mapopt.drawing.places import spread_apart
from mapopt.drawing.rows import Curve, FinalScore, OverallScore, Picture, Trajectory
from mapopt.drawing.styles import FAINT, INK, Style
from mapopt.evaluation.numbers import short
from mapopt.metrics.statistics import Estimate

_CROWDED = 8  # boxes in a picture
_COLUMN = 118  # points between numbers beside rows
_STEPS = (1, 2, 5, 10)  # between ticks, so that they are short numbers
_NAMES = 44  # characters in a row of names of one line
_BAND = 0.4  # of the lines' height, which bands may add to the axis
_STRIPE = 3.5  # line widths that a color lasts where several lines are one


def learning_curves(table: Sequence[Curve], axes: Axes, styles: Mapping[str, Style]) -> None:
    """Draws one line with its band per method, named at its end."""
    _lines(table, styles, axes)
    lowest = min(float(np.min(curve.middle)) for curve in table)
    highest = max(float(np.max(curve.middle)) for curve in table)
    bands = max(float(np.max(np.where(np.isnan(curve.high), curve.middle, curve.high))) for curve in table)
    # Bands of few runs are so wide that they would leave no room for the lines.
    highest = min(bands, highest + _BAND * (highest - lowest))
    axes.set_ylim(max(0.0, lowest - 0.05 * (highest - lowest)), highest + 0.04 * (highest - lowest) + 1e-3)
    axes.set_xlim(0, max(float(curve.x[-1]) for curve in table))
    axes.yaxis.set_major_locator(MaxNLocator(8, steps=_STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_ylabel("val AP")
    _name_ends(table, styles, axes)


def performance_profiles(table: Sequence[Curve], axes: Axes, styles: Mapping[str, Style]) -> None:
    """Draws the fraction of runs against the fraction of the best AP that they reach, named at its end."""
    _lines(table, styles, axes)
    axes.set_ylim(0, 1.02)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.set_xlabel("fraction of the best method's test AP on the same task and seed")
    axes.set_ylabel("fraction of runs that reach it")
    _name_ends(table, styles, axes)


def knob_trajectory(table: Trajectory, axes: Axes, styles: Mapping[str, Style]) -> None:
    """Draws one knob over the images trained: a line per method, and the middle half of its runs as a band."""
    _lines(table.curves, styles, axes)
    if table.log:
        axes.set_yscale("log")
        low = min(float(np.nanmin(curve.low)) for curve in table.curves)
        high = max(float(np.nanmax(curve.high)) for curve in table.curves)
        axes.set_ylim(low / 1.12, high * 1.12)
        axes.yaxis.set_major_locator(_log_ticks(high / low))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlim(0, max(float(curve.x[-1]) for curve in table.curves))
    axes.set_title(table.knob + (" (log scale)" if table.log else ""))


def final_scores(table: Sequence[FinalScore], axes: Axes, styles: Mapping[str, Style]) -> None:
    """Draws a row per method: its runs as dots, their interquartile mean and its interval, and both in numbers."""
    shown = [value for row in table for value in (*row.values, row.ap.value, row.ap.low, row.ap.high)]
    _rows(table, shown, axes)
    _numbers(table, "mean and interval", [row.ap for row in table], axes)
    for place, row in enumerate(table):
        color = styles[row.method].color
        # Above and below the bar in turn, at three distances, so that few dots hide another.
        order = np.arange(len(row.values))
        heights = place + np.where(order % 2, 1, -1) * (0.15 + 0.06 * (order // 2 % 3))
        axes.scatter(row.values, heights, s=20, color=color, alpha=0.45, linewidth=0, zorder=3)
        _mark(row.ap, place, color, 8.4, axes, line=row.reference)
        if row.diverged:
            note = f"◂ {row.diverged} of {row.diverged + len(row.values)} diverged: AP 0"
            beside = axes.get_yaxis_transform()
            axes.text(0.012, place + 0.36, note, transform=beside, va="center", fontsize=8.5, color="#b00020")
    axes.set_xlabel("test AP")


def overall_scores(table: Sequence[OverallScore], axes: Axes, marks: Sequence[tuple[str, str]]) -> None:
    """Draws a row per method: its interquartile mean and interval on every task, and those over all in numbers."""
    shown = [number for row in table for ap in row.by_task for number in (ap.value, ap.low, ap.high)]
    _rows(table, shown, axes)
    _numbers(table, "all tasks together", [row.overall for row in table], axes)
    axes.grid(axis="y", visible=True)
    for place, row in enumerate(table):
        # Tasks stand a little below each other: on tasks that are alike marks would hide marks.
        levels = np.linspace(-0.17, 0.17, len(marks)) if len(marks) <= 6 else np.linspace(-0.36, 0.36, len(marks))
        for level, ap, (color, mark) in zip(levels, row.by_task, marks, strict=True):
            _mark(ap, place + level, color, 7.0, axes, line=row.reference, mark=mark)
    axes.set_xlabel("test AP")


def picture(table: Picture, axes: Axes) -> None:
    """Draws a picture with its boxes: a color per category, and each box's score where there is one."""
    height, width = table.pixels.shape[:2]
    # Enlarged pixels stay squares; only what has to shrink is smoothed.
    axes.imshow(table.pixels, interpolation="nearest" if max(height, width) <= 256 else "antialiased")
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    # Many boxes are drawn finer, or they hide what they frame.
    stroke, font = (1.5, 6.5) if len(table.boxes) <= _CROWDED else (1.1, 5.0)
    halo = [withStroke(linewidth=2.4 * stroke, foreground="white", alpha=0.9)]
    for box, label in zip(table.boxes, table.labels, strict=True):
        left, top, right, bottom = np.clip(box, 0, [width, height, width, height]) - 0.5
        frame = Rectangle((left, top), right - left, bottom - top, fill=False, linewidth=stroke, path_effects=halo)
        frame.set_edgecolor(category_hex(int(label)))
        axes.add_patch(frame)
    if table.scores is None:
        return
    # The surest box has its number on top.
    for place in np.argsort(table.scores, kind="stable"):
        left, top = np.clip(table.boxes[place, :2], 0, [0.87 * width, height]) - 0.5
        axes.text(
            left,
            max(top, 0.06 * height),
            short(float(table.scores[place]), digits=2),
            fontsize=font,
            color="black",
            va="bottom",
            clip_on=True,
            bbox={"facecolor": category_hex(int(table.labels[place])), "edgecolor": "none", "pad": 0.1 * font},
        )


def method_handles(table: Sequence[Curve], styles: Mapping[str, Style]) -> list[Line2D]:
    """Returns what a legend shows of the methods."""
    return [
        Line2D(
            [],
            [],
            color=styles[curve.method].color,
            linestyle=styles[curve.method].dash,  # type: ignore[arg-type]
            label=textwrap.fill(curve.label, _NAMES),
        )
        for curve in table
    ]


def task_handles(tasks: Sequence[str], marks: Sequence[tuple[str, str]]) -> list[Line2D]:
    """Returns what a legend shows of the tasks."""
    return [
        Line2D([], [], color=color, linewidth=3, marker=mark, markersize=8, markeredgecolor="white", label=task)
        for task, (color, mark) in zip(tasks, marks, strict=True)
    ]


def category_handles(table: Sequence[Picture], categories: Sequence[str]) -> list[Rectangle]:
    """Returns what a legend shows of the categories that occur in pictures."""
    present = sorted({int(label) for picture in table for label in picture.labels})
    return [
        Rectangle((0, 0), 1, 1, facecolor=category_hex(label), edgecolor=FAINT, linewidth=0.6, label=categories[label])
        for label in present
    ]


def _rows(table: Sequence[FinalScore | OverallScore], shown: Sequence[float], axes: Axes) -> None:
    """Prepares axes with a row per method for the APs that are shown."""
    # Intervals of few runs go beyond what AP can be; there the axis ends, and the numbers beside it go on.
    low, high = max(0.0, float(np.nanmin(shown))), min(1.0, float(np.nanmax(shown)))
    margin = 0.06 * (high - low) + 1e-3
    axes.set_xlim(max(-0.3 * margin, low - margin), high + margin)
    axes.set_ylim(len(table) - 0.45, -0.55)
    axes.set_yticks(range(len(table)), [row.label for row in table], fontsize=10.5)
    for row, name in zip(table, axes.get_yticklabels(), strict=True):
        name.set_fontweight("bold" if row.reference else "normal")
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=_STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))


def _mark(
    estimate: Estimate, place: float, color: str, size: float, axes: Axes, *, line: bool, mark: str = "o"
) -> None:
    """Draws a number with its interval, and where it is the reference's a line through all rows."""
    low, high = estimate.low, estimate.high
    axes.plot([low, high], [place, place], color=color, linewidth=3, solid_capstyle="butt", zorder=4)
    axes.scatter(
        [estimate.value], [place], s=size**2, marker=mark, color=color, edgecolor="white", linewidth=1.4, zorder=5
    )
    if line:
        axes.axvline(estimate.value, color=color, linewidth=0.9, linestyle=(0, (3, 3)), alpha=0.6, zorder=1)


def _numbers(table: Sequence[FinalScore | OverallScore], head: str, numbers: Sequence[Estimate], axes: Axes) -> None:
    """Writes numbers beside the rows, and the differences to the reference, gray where their interval includes 0."""

    def write(place: float, column: int, text: str, **look: Any) -> None:
        axes.annotate(
            text,
            (1, place),
            xycoords=axes.get_yaxis_transform(),
            xytext=(10 + _COLUMN * column, 0),
            textcoords="offset points",
            va="center",
            annotation_clip=False,
            **look,
        )

    reference = next((row.label for row in table if row.reference), None)
    write(-0.78, 0, head, fontsize=8.5, color=FAINT)
    if reference is not None:
        write(-0.78, 1, "difference to the reference", fontsize=8.5, color=FAINT)
    for place, (row, number) in enumerate(zip(table, numbers, strict=True)):
        write(place, 0, _interval(number), fontsize=9.5)
        if row.difference is not None:
            sure = row.difference.low > 0 or row.difference.high < 0
            write(place, 1, _interval(row.difference, signed=True), fontsize=9.5, color=INK if sure else FAINT)


def _interval(estimate: Estimate, *, signed: bool = False) -> str:
    numbers = (estimate.value, estimate.low, estimate.high)
    value, low, high = (short(number, signed=signed) for number in numbers)
    return f"{value}  [{low}, {high}]"


def _lines(table: Sequence[Curve], styles: Mapping[str, Style], axes: Axes) -> None:
    """Draws lines and bands, the first on top; lines that coincide become one, in stripes of their colors."""
    drawn: list[list[Curve]] = []
    for curve in table:
        same = next((group for group in drawn if _coincide(group[0], curve)), None)
        if same is None:
            drawn.append([curve])
        else:
            same.append(curve)
    for layer, group in enumerate(reversed(drawn)):
        for place, curve in enumerate(group):
            style, depth = styles[curve.method], 3 + 0.01 * layer
            dash = style.dash if len(group) == 1 else (place * _STRIPE, (_STRIPE, (len(group) - 1) * _STRIPE))
            axes.fill_between(curve.x, curve.low, curve.high, color=style.color, alpha=0.11, linewidth=0, zorder=2)
            axes.plot(curve.x, curve.middle, color=style.color, linestyle=dash, dash_capstyle="butt", zorder=depth)


def _coincide(first: Curve, second: Curve) -> bool:
    """Says whether two lines are one as far as both go."""
    both = min(len(first.x), len(second.x))
    return np.allclose(first.x[:both], second.x[:both]) and np.allclose(
        first.middle[:both], second.middle[:both], rtol=1e-3, atol=1e-9
    )


def _log_ticks(span: float) -> Locator:
    """Returns ticks for a logarithmic axis over a factor of `span`; decades alone leave short ones without a number."""
    if span < 1.6:
        return MaxNLocator(5)
    if span < 6:
        return LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0), numticks=20)
    return LogLocator(subs=(1.0,) if span > 300 else (1.0, 3.0) if span > 20 else (1.0, 2.0, 5.0), numticks=20)


def _name_ends(table: Sequence[Curve], styles: Mapping[str, Style], axes: Axes) -> None:
    """Writes each line's name beside its end."""
    bottom, top = axes.get_ylim()
    right = axes.get_xlim()[1]
    ends = [(float(curve.middle[-1]) - bottom) / (top - bottom) for curve in table]
    # Of a page's height the axes have about four fifths; a line of text wants 1.3 of its 9.5 points.
    gap = 1.3 * 9.5 / 72 / (0.8 * axes.get_figure().get_size_inches()[1])  # type: ignore[union-attr]
    for curve, end, place in zip(table, ends, spread_apart(ends, gap), strict=True):
        color = styles[curve.method].color
        start = float(curve.x[-1]) / right
        axes.plot(
            [start, 1.012, 1.035, 1.042],
            [end, end, place, place],
            transform=axes.transAxes,
            color=color,
            linewidth=0.8,
            alpha=0.7,
            clip_on=False,
        )
        axes.text(1.05, place, curve.label, transform=axes.transAxes, va="center", fontsize=9.5, color=_darker(color))


def _darker(color: str) -> str:
    """Returns a color that text can be read in."""
    channels = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
    brightness = (0.299 * channels[0] + 0.587 * channels[1] + 0.114 * channels[2]) / 255
    factor = min(1.0, 0.45 / max(brightness, 1e-6))
    return "#" + "".join(f"{int(channel * factor):02x}" for channel in channels) if factor < 1 else color


def _plain(value: float, _: object) -> str:
    return f"{value:g}".replace("-", "−")


def _thousands(value: float, _: object) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if abs(value) >= 1e3 else f"{value:g}"
