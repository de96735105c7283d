"""How a training went, as functions of its rounds and the axes they are drawn on: losses, AP, learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mapopt.drawing.evaluation_plots import OTHERS_LOOK, category_looks, clipped
from mapopt.drawing.styles import FAINT, INK
from mapopt.training.history import Round

LINES = 10
"""Categories that have a line in color."""
_LOSSES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#666666")
_SPREAD = 20.0
"""Highest over lowest number from which on an axis is logarithmic."""


def losses(history: Sequence[Round], axes: Axes) -> None:
    """Draws the mean loss of every round by component, and beside it that on the val split where it was measured."""
    lines = loss_lines(history)
    values: list[float] = []
    for place, (name, (train, val)) in enumerate(lines.items()):
        color = _LOSSES[place % len(_LOSSES)]
        values += _line(axes, _images(history), train, color=color, label=f"{name}, train")
        values += _line(axes, _images(history), val, color=color, linestyle=(0, (3, 2)), label=f"{name}, val")
    _scale(axes, values)
    if lines:
        axes.legend(loc="best", fontsize=8.5, handlelength=2.4)
    axes.set_title("losses, mean of each round")
    _images_below(axes)


def average_precision(history: Sequence[Round], selected: int, test: Mapping[str, float] | None, axes: Axes) -> None:
    """Draws AP, AP50 and AP75 on the val split, a dot at the selected round, and what the test said of it."""
    images = _images(history)
    for name, label, color in (("ap50", "AP50", "#56b4e9"), ("ap", "AP", INK), ("ap75", "AP75", "#d55e00")):
        values = [getattr(played.val, name) for played in history]
        _line(axes, images, values, color=color, label=f"{label}, val")
        if 0 <= selected < len(history):
            axes.scatter([images[selected]], [values[selected]], s=34, color=color, edgecolor="white", zorder=5)
        if test is not None and test.get(name, -1.0) >= 0:
            axes.scatter([images[selected]], [test[name]], s=46, marker="x", color=color, zorder=6)
    handles = axes.get_legend_handles_labels()[0]
    handles.append(Line2D([], [], color=FAINT, marker="o", linestyle="", label="selected round"))
    handles += [] if test is None else [Line2D([], [], color=FAINT, marker="x", linestyle="", label="its test AP")]
    axes.legend(handles=handles, loc="best", fontsize=8.5, handlelength=2.0)
    axes.set_ylim(0, None)
    axes.set_title("AP")
    _images_below(axes)


def category_ap(history: Sequence[Round], shown: Sequence[int], axes: Axes) -> None:
    """Draws AP on the val split of every category, those shown in color."""
    images = _images(history)
    table = np.array([played.val.per_category for played in history], dtype=np.float64)
    table[table < 0] = np.nan
    looks = category_looks(shown)
    for category in range(table.shape[1]):
        axes.plot(images, table[:, category], **(looks.get(category, OTHERS_LOOK)))
    if len(history) == 1:
        for category, look in looks.items():
            axes.scatter(images, table[:, category], s=20, color=str(look["color"]))
    axes.set_ylim(0, None)
    axes.set_title("val AP of each category")
    _images_below(axes)


def category_handles(shown: Sequence[int], categories: Sequence[str]) -> list[Line2D]:
    """Returns what a legend says of the categories' lines."""
    looks = category_looks(shown)
    handles = [Line2D([], [], **looks[place], label=clipped(categories[place])) for place in shown]
    others = len(categories) - len(shown)
    return [*handles, *([Line2D([], [], **OTHERS_LOOK, label=f"{others} others")] if others else [])]


def learning_rate(history: Sequence[Round], axes: Axes) -> None:
    """Draws the learning rate on its way through the rounds, its bends and jumps included."""
    places, rates = [], []
    for played in history:
        start = played.images - played.interval.images
        for fraction, knobs in played.points:
            places.append(start + fraction * played.interval.images)
            rates.append(float(knobs.get("lr")))
    axes.plot(places, rates, color="#0072b2")
    _scale(axes, rates)
    axes.set_title("learning rate")
    _images_below(axes)


def loss_lines(history: Sequence[Round]) -> dict[str, tuple[list[float], list[float]]]:
    """Returns name -> numbers of training and of the val split per round, NaN where there is none.

    Components are without weights, so that both can be compared. Of histories without components there are the two
    losses that are minimized, with their weights.
    """
    nothing = float("nan")
    names = dict.fromkeys(name for played in history for name in played.interval.components)
    if names:
        return {
            name: (
                [played.interval.components.get(name, nothing) for played in history],
                [played.val.components.get(name, nothing) for played in history],
            )
            for name in names
        }
    lines = {}
    for name in ("class", "box"):
        train = [float(getattr(played.interval, f"{name}_loss")) for played in history]
        # Here the loss on the val split is without its weight, which the one of training has.
        held = [(float(getattr(played.val, f"{name}_loss")), played.knobs.get(f"{name}_weight")) for played in history]
        lines[name] = (train, [value * weight if value >= 0 else nothing for value, weight in held])
    return lines


def _line(axes: Axes, images: Sequence[int], values: Sequence[float], **look: object) -> list[float]:
    """Draws a line, or a dot where there is a single round; returns the numbers that are drawn."""
    finite = np.where(np.isfinite(np.array(values, dtype=np.float64)), values, np.nan)
    if np.isnan(finite).all():
        return []
    axes.plot(images, finite, marker="o" if len(images) == 1 else "", **look)  # type: ignore[arg-type]
    return [float(value) for value in finite if not np.isnan(value)]


def _images(history: Sequence[Round]) -> list[int]:
    return [played.images for played in history]


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Makes the vertical axis logarithmic where numbers are far apart."""
    positive = [value for value in values if value > 0]
    if positive and len(positive) == len(values) and max(positive) > _SPREAD * min(positive):
        axes.set_yscale("log")
    else:
        axes.set_ylim(min(0.0, *values, 0.0), None)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _images_below(axes: Axes) -> None:
    axes.set_xlim(0, None)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value < 1e4 else f"{value / 1e3:g}k"))
    axes.set_xlabel("images trained")
