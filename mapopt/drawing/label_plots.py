"""What a data set's boxes are like, as functions of the splits and axes: objects per class, sizes, positions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from mapopt.data.images import ImageSet
from mapopt.data.splits import Splits
from mapopt.drawing.evaluation_plots import SHADES, clipped
from mapopt.drawing.styles import FAINT, INK

SPLIT_COLORS = {"train": "#0072b2", "val": "#e69f00", "test": "#8a8a8a"}
MANY = 12
"""With more classes than these, the numbers of the splits stand beside each other."""
_BINS = 40
_NOTHING = "#d55e00"


def class_counts(splits: Splits, shown: Sequence[int], axes: Axes) -> None:
    """Draws how many objects each of some classes has in every split, a bar each, on a logarithmic axis."""
    notes = splits.train.annotations
    width = 0.78 / len(splits.named())
    counts = [images.annotations.counts[list(shown)] for _, images in splits.named()]
    roomy = len(shown) <= MANY
    for place, (name, _) in enumerate(splits.named()):
        levels = np.arange(len(shown)) + (place - 1) * width
        # From half an object on: a bar of a single one is to be seen.
        axes.barh(levels, np.maximum(counts[place] - 0.5, 0), left=0.5, height=0.92 * width, color=SPLIT_COLORS[name])
        for level, count in zip(levels, counts[place].tolist(), strict=True) if roomy else ():
            _write(axes, f"{count:,}", (max(count, 0.5), level), font=8.5, color=INK if count else _NOTHING)
    for level, each in enumerate(zip(*counts, strict=True)) if not roomy else ():
        color = INK if min(each) else _NOTHING
        _write(axes, "  ".join(f"{count:,}" for count in each), (max(*each, 0.5), level), font=8, color=color)
    highest = max(int(count.max()) for count in counts)
    axes.set_xscale("log")
    axes.set_xlim(0.5, max(1, highest) * (2.2 if roomy else 8))
    axes.xaxis.set_major_locator(LogLocator(10, numticks=6))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_yticks(range(len(shown)), [clipped(notes.category_names[label]) for label in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_title("objects of each class")


def box_sizes(splits: Splits, axes: Axes) -> None:
    """Draws widths against heights of the boxes of all splits, in the network's pixels, darker where there are more."""
    sides = np.concatenate([_network_boxes(images) for _, images in splits.named()])
    sides = np.maximum(sides[:, 2:] - sides[:, :2], 0.25)
    low, high = float(sides.min()) / 1.15, float(sides.max()) * 1.15
    edges = np.geomspace(low, high, _BINS + 1)
    axes.pcolormesh(edges, edges, _counts(sides, edges, edges), cmap=SHADES, rasterized=True)
    axes.plot([low, high], [low, high], color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    for axis, scale, limits in (
        (axes.xaxis, axes.set_xscale, axes.set_xlim),
        (axes.yaxis, axes.set_yscale, axes.set_ylim),
    ):
        scale("log")
        limits(low, high)
        axis.set_major_locator(LogLocator(10, subs=(1, 2, 5), numticks=9))
        axis.set_minor_formatter(NullFormatter())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_box_aspect(1)
    axes.set_title("box sizes")
    axes.set_xlabel("width, pixels")
    axes.set_ylabel("height, pixels")


def box_positions(splits: Splits, axes: Axes) -> None:
    """Draws where the centers of the boxes of all splits are in their images, darker where there are more."""
    centers = []
    for _, images in splits.named():
        notes = images.annotations
        extent = np.stack([notes.widths, notes.heights], axis=1)[notes.images].astype(np.float64)
        centers.append((notes.boxes[:, :2] + notes.boxes[:, 2:]) / 2 / np.maximum(extent, 1))
    edges = np.linspace(0, 1, _BINS // 2 + 1)
    counts = _counts(np.concatenate(centers).clip(0, 1), edges, edges)
    axes.pcolormesh(edges, edges, counts, cmap=SHADES, rasterized=True)
    axes.set_xlim(0, 1)
    axes.set_ylim(1, 0)
    axes.set_box_aspect(1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_title("box centers")
    axes.set_xlabel("x, fraction of the width")
    axes.set_ylabel("y, fraction of the height")


def _write(axes: Axes, text: str, place: tuple[float, float], *, font: float, color: str) -> None:
    """Writes beside the end of a bar."""
    axes.annotate(text, place, xytext=(4, 0), textcoords="offset points", va="center", fontsize=font, color=color)


def _network_boxes(images: ImageSet) -> NDArray[np.float64]:
    notes = images.annotations
    scaled: NDArray[np.float64] = notes.boxes * images.scale.numpy().astype(np.float64)[notes.images, None]
    return scaled


def _counts(points: NDArray[np.float64], across: NDArray[np.float64], up: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the points per cell ``[up, across]``; NaN where there is none, which stays white."""
    counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=(across, up))
    return np.where(counts > 0, counts, np.nan).T
