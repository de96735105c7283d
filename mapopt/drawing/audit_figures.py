"""Draws what is counted in an audit: the objects of each class, and how large they are, in every set."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from mapopt.data.auditing.audit import Audit
from mapopt.data.auditing.classes import objects_by_class, size_statistics
from mapopt.drawing.pages import new_page, png, styled
from mapopt.drawing.styles import TASK_COLORS

_ROWS = 40
"""Classes that have a row."""


def draw_counts(audit: Audit) -> dict[str, bytes]:
    """Returns ``classes.png`` and ``sizes.png``."""
    with styled():
        return {"classes.png": png(_classes(audit), dpi=130), "sizes.png": png(_sizes(audit), dpi=130)}


def _classes(audit: Audit) -> Figure:
    counts = objects_by_class(audit.sets)
    names = sorted(counts, key=lambda name: -sum(counts[name].values()))
    shown = names[:_ROWS]
    parts = [raw.part for raw in audit.sets]
    more = f" The {_ROWS} most frequent of {len(names)} classes are shown." if len(names) > len(shown) else ""
    figure = new_page(
        width=8.5,
        height=1.0 + 0.28 * len(shown),
        title="Objects of each class",
        caption=f"On a logarithmic axis, crowds not counted; no bar is no object.{more}",
    )
    axes = figure.subplots()
    thick = 0.8 / len(parts)
    for place, part in enumerate(parts):
        values = np.array([counts[name][part] for name in shown], dtype=np.float64)
        rows = np.arange(len(shown)) + (place - (len(parts) - 1) / 2) * thick
        axes.barh(rows, values, height=thick, color=TASK_COLORS[place], label=part)
    axes.set_xscale("log")
    axes.set_xlim(left=0.8)
    axes.set_yticks(range(len(shown)), shown)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("objects")
    if len(parts) > 1:
        axes.legend(loc="lower right", frameon=True, framealpha=0.9, edgecolor="none")
    return figure


def _sizes(audit: Audit) -> Figure:
    statistics = size_statistics(audit.sets)
    total = {part: sum(values[size] for size in ("small", "medium", "large")) for part, values in statistics.items()}
    said = "; ".join(
        f"{part}: {values['small']} small, {values['medium']} medium, {values['large']} large"
        for part, values in statistics.items()
    )
    figure = new_page(
        width=8.5,
        height=3.2,
        title="How large objects are",
        caption=(
            "Side of a box (the square root of its area) as a fraction of its image's side, likewise. COCO's sizes, up "
            f"to 32 and 96 pixels of the original images: {said}."
        ),
    )
    axes = figure.subplots()
    edges = np.linspace(0, 1, 21)
    for place, (part, values) in enumerate(statistics.items()):
        fractions = np.array(values["relative_side"]) / max(1, total[part])
        axes.stairs(fractions, edges, color=TASK_COLORS[place], linewidth=2, label=part)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("side of the box / side of the image")
    axes.set_ylabel("fraction of the objects")
    if len(statistics) > 1:
        axes.legend()
    return figure
