"""Every figure of an evaluation as a function of the findings and the axes it is drawn on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from mapopt.data.palette import category_color, category_hex
from mapopt.drawing.styles import FAINT, INK
from mapopt.evaluation.findings import Findings
from mapopt.evaluation.numbers import short
from mapopt.evaluation.printed import CAUSE_WORDS
from mapopt.evaluation.tables import CategoryRow, CauseRow, ConfusionTable, DifferenceRow
from mapopt.metrics import RECALLS, Reliability
from mapopt.metrics.statistics import Estimate

LINES = 8
"""Categories that have a line in color."""
_DASHES = ("-", (0, (5, 1.6)), (0, (1.4, 1.4)), (0, (6, 1.5, 1.2, 1.5)))
"""Of categories with much the same color, one after the other."""
_ALIKE = 90  # distance in RGB below which two colors are hard to distinguish
_OURS, _OTHER = "#0072b2", "#b9b9b9"
SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#9ecae8", "#0072b2", "#00304d"])
"""From nothing to much."""
_IOUS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9)
OTHERS_LOOK: dict[str, Any] = {"color": "#cfcfcf", "linewidth": 0.8, "zorder": 2}
_NAME = 22  # characters of a category's name that are shown


def precision_by_iou(findings: Findings, axes: Axes) -> None:
    """Draws the mean precision-recall curve at several IoU thresholds, each named with its AP in the legend."""
    report = findings.report
    area = report.area_names.index("all")
    present = report.precision[0, 0, :, area, -1] > -1
    for place, iou in enumerate(_IOUS):
        column = int(np.argmin(np.abs(report.iou_thresholds - iou)))
        curve = report.precision[column][:, present, area, -1].mean(axis=1)
        shade = SHADES(1.0 - 0.72 * place / (len(_IOUS) - 1))
        axes.plot(RECALLS, curve, color=shade, label=f"IoU {short(iou, digits=2)}: AP {short(float(curve.mean()))}")
    axes.legend(loc="best", fontsize=8.5, handlelength=1.6)
    axes.set_title("mean over categories, by IoU")
    _unit(axes)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")


def precision_by_category(findings: Findings, shown: Sequence[CategoryRow], axes: Axes) -> None:
    """Draws the precision-recall curve of every category, those shown in color, and their mean."""
    curves = findings.analysis.precision_recall
    looks = _looks(shown)
    for place, category in enumerate(curves.categories.tolist()):
        if curves.positives[place]:
            axes.plot(RECALLS, curves.interpolated[place], **looks.get(category, OTHERS_LOOK))
    axes.plot(RECALLS, curves.mean_interpolated, color=INK, linewidth=2.6, zorder=5)
    axes.set_title(f"each category, at IoU {short(findings.questions.iou, digits=2)}")
    _unit(axes)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")


def f1_by_threshold(findings: Findings, shown: Sequence[CategoryRow], axes: Axes) -> None:
    """Draws F1 against the score threshold: a line per category with a dot at its best, and the mean."""
    curves, points = findings.analysis.precision_recall, findings.analysis.operating_points
    scores = curves.ranking.scores
    low, high = (float(scores.min()), float(scores.max())) if len(scores) else (0.0, 1.0)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0 if high > 0.5 else 1.1 * high
    best = points.best_f1.threshold
    # With the best thresholds among them, lines reach the dots.
    levels = np.union1d(np.linspace(low, high, 501), best[np.isfinite(best)])
    at_levels, looks = curves.at(levels), _looks(shown)
    for place, category in enumerate(curves.categories.tolist()):
        if not curves.positives[place]:
            continue
        look = looks.get(category, OTHERS_LOOK)
        axes.plot(levels, at_levels.f1[place], **look)
        if category in looks and math.isfinite(best[place]):
            dot = {"color": look["color"], "edgecolor": "white", "zorder": 6}
            axes.scatter([best[place]], [points.best_f1.f1[place]], s=34, **dot)
    axes.plot(levels, at_levels.mean_f1, color=INK, linewidth=2.6, zorder=5)
    axes.set_xlim(low, high)
    axes.set_ylim(0, 1.01)
    axes.set_xlabel("score threshold")
    axes.set_ylabel(f"F1 at IoU {short(findings.questions.iou, digits=2)}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def category_handles(findings: Findings, rows: Sequence[CategoryRow], shown: Sequence[CategoryRow]) -> list[Line2D]:
    """Returns what a legend says of the categories' lines."""
    handles = [Line2D([], [], color=INK, linewidth=2.6, label="mean")]
    looks = _looks(shown)
    handles += [Line2D([], [], **looks[row.category], label=clipped(row.name)) for row in shown]
    others = sum(row.objects > 0 for row in rows) - len(shown)
    if others:
        handles.append(Line2D([], [], **OTHERS_LOOK, label=f"{others} others"))
    return handles


def confusion(table: ConfusionTable, axes: Axes) -> None:
    """Draws counts as a grid shaded by the fraction of each row."""
    counts = table.counts
    size = len(counts)
    fraction = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(fraction, cmap=SHADES, vmin=0, vmax=1.12, aspect="equal")
    names = [clipped(name) for name in table.names] + ([f"{table.others} others"] if table.others else [])
    axes.set_xticks(range(size), [*names, "nothing"], rotation=90 if size > 6 else 0)
    axes.set_yticks(range(size), [*names, "background"])
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("detected as", fontweight="bold")
    axes.set_ylabel("ground truth", fontweight="bold")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    # Lines set off what is no category.
    for line in (axes.axhline, axes.axvline):
        line(size - 1.5, color=INK, linewidth=1.0)
    font = 10 if size <= 8 else 8 if size <= 14 else 6.5
    for row, column in np.argwhere(counts > 0):
        color = "white" if fraction[row, column] > 0.5 else INK
        axes.text(column, row, _compact(counts[row, column]), ha="center", va="center", fontsize=font, color=color)


def causes(table: Sequence[CauseRow], other: Sequence[CauseRow] | None, axes: Axes) -> None:
    """Draws a bar for the price of every cause, with the number of its mistakes, beside those of another detector."""
    # The two sums stand apart from the six causes.
    places = np.array([place + 0.6 * row.special for place, row in enumerate(table)])
    tracks = [(table, _OURS)] if other is None else [(table, _OURS), (other, _OTHER)]
    width = 0.72 / len(tracks)
    for number, (rows, color) in enumerate(tracks):
        levels = places + (number - (len(tracks) - 1) / 2) * width
        axes.barh(levels, [row.delta_ap for row in rows], height=0.92 * width, color=color)
        for level, row in zip(levels, rows, strict=True):
            text = f"{short(row.delta_ap)}  ({row.count:,})"
            at = (max(row.delta_ap, 0.0), level)
            axes.annotate(text, at, xytext=(5, 0), textcoords="offset points", va="center", fontsize=8.5)
    axes.set_yticks(places, [CAUSE_WORDS[row.cause] for row in table])
    axes.invert_yaxis()
    highest = max(row.delta_ap for rows, _ in tracks for row in rows)
    lowest = min(0.0, *(row.delta_ap for rows, _ in tracks for row in rows))
    axes.set_xlim(1.05 * lowest, 1.25 * max(highest, 0.01))
    axes.axvline(0, color=FAINT, linewidth=0.8)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("AP that would be gained (dAP), and mistakes")


def detector_handles(ours: str, other: str) -> list[Patch]:
    """Returns what a legend says of two detectors' bars."""
    return [Patch(color=_OURS, label=ours), Patch(color=_OTHER, label=other)]


def reliability(diagram: Reliability, axes: Axes) -> None:
    """Draws how often detections are right against their scores, and the diagonal of the calibrated."""
    edges, filled = diagram.edges, diagram.counts > 0
    width = np.diff(edges)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1.2, linestyle=(0, (4, 3)), zorder=4)
    axes.bar(
        edges[:-1][filled], diagram.precision[filled], width=0.92 * width[filled], align="edge", color=_OURS, alpha=0.85
    )
    for score, precision in zip(diagram.score[filled], diagram.precision[filled], strict=True):
        axes.plot([score, score], [precision, score], color="#d55e00", linewidth=1.4, zorder=3)
    axes.scatter(diagram.score[filled], diagram.precision[filled], s=16, color=INK, zorder=5)
    _unit(axes)
    axes.set_ylabel("fraction that is right")


def score_counts(diagram: Reliability, axes: Axes) -> None:
    """Draws how many detections there are in every bin of scores."""
    axes.bar(diagram.edges[:-1], diagram.counts, width=0.92 * np.diff(diagram.edges), align="edge", color=_OTHER)
    axes.set_yscale("log")
    axes.set_ylim(0.7, 3 * max(1, int(diagram.counts.max())))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _compact(value)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel("boxes")
    axes.set_xlabel("score")


def category_scores(rows: Sequence[CategoryRow], mean: Estimate, axes: Axes) -> None:
    """Draws a row per category with its AP and interval, and the mean as a line."""
    for place, row in enumerate(rows):
        axes.plot([row.ap.low, row.ap.high], [place] * 2, color=_OURS, linewidth=3, alpha=0.45, solid_capstyle="butt")
        axes.scatter([row.ap.value], [place], s=42, color=_OURS, edgecolor="white", linewidth=1.0, zorder=4)
        _beside(axes, place, [f"{_interval(row.ap)}", short(row.ap50), f"{row.objects:,}"])
    _beside(axes, -0.95, ["AP and interval", "AP50", "objects"], color=FAINT)
    axes.axvline(mean.value, color=INK, linewidth=1.0, linestyle=(0, (3, 3)), zorder=1)
    _rows(axes, [clipped(row.name) for row in rows])
    axes.set_xlim(0, 1)
    axes.set_xlabel("AP@[.5:.95]")


def differences(rows: Sequence[DifferenceRow], axes: Axes) -> None:
    """Draws a row per number with the difference of two detectors, gray where its interval includes 0."""
    for place, row in enumerate(rows):
        difference = row.difference
        color = "#009e73" if difference.low > 0 else "#d55e00" if difference.high < 0 else FAINT
        axes.plot(
            [difference.low, difference.high], [place] * 2, color=color, linewidth=3, alpha=0.45, solid_capstyle="butt"
        )
        axes.scatter([difference.value], [place], s=42, color=color, edgecolor="white", linewidth=1.0, zorder=4)
        _beside(axes, place, [_interval(difference, signed=True), short(row.ours), short(row.other)])
    _beside(axes, -0.95, ["difference", "this", "other"], color=FAINT)
    axes.axvline(0, color=INK, linewidth=1.0, zorder=1)
    _rows(axes, [clipped(row.name) for row in rows])
    ends = [end for row in rows for end in (row.difference.value, row.difference.low, row.difference.high)]
    limit = 1.08 * max([abs(end) for end in ends if not math.isnan(end)] + [0.01])
    axes.set_xlim(-limit, limit)
    axes.xaxis.set_major_locator(MaxNLocator(7, symmetric=True, steps=(1, 2, 5, 10)))
    axes.set_xlabel("AP, this less the other")


def clipped(name: str) -> str:
    """Returns a category's name, cut where it is too long to stand beside an axis."""
    return name if len(name) <= _NAME else name[: _NAME - 1] + "…"


def category_looks(positions: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Returns how each category's line looks: its color, and dashes where one before it has much the same."""
    looks: dict[int, dict[str, Any]] = {}
    colors: list[NDArray[np.float64]] = []
    for position in positions:
        color = np.array(category_color(position), dtype=np.float64)
        alike = sum(float(np.linalg.norm(color - other)) < _ALIKE for other in colors)
        colors.append(color)
        dash = _DASHES[alike % len(_DASHES)]
        looks[position] = {"color": category_hex(position), "linestyle": dash, "linewidth": 1.6, "zorder": 3}
    return looks


def _looks(shown: Sequence[CategoryRow]) -> dict[int, dict[str, Any]]:
    """Returns how each category's line looks, by its id."""
    looks = category_looks([row.position for row in shown])
    return {row.category: looks[row.position] for row in shown}


def _unit(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.01)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    if axes.get_xlim() != (0, 1):
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))


def _beside(axes: Axes, place: float, texts: Sequence[str], *, color: str = INK) -> None:
    """Writes texts in columns to the right of a row."""
    for offset, text in zip((10, 128, 166), texts, strict=True):
        axes.annotate(
            text,
            (1, place),
            xycoords=axes.get_yaxis_transform(),
            xytext=(offset, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=color,
            annotation_clip=False,
        )


def _interval(estimate: Estimate, *, signed: bool = False) -> str:
    numbers = (estimate.value, estimate.low, estimate.high)
    value, low, high = (short(number, signed=signed) for number in numbers)
    return value if math.isnan(estimate.low) else f"{value}  [{low}, {high}]"


def _compact(count: float) -> str:
    if count >= 1e6:
        return f"{count / 1e6:.3g}M"
    return f"{count / 1e3:.3g}k" if count >= 1e4 else f"{count:g}"
