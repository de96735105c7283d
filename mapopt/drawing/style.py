"""How figures look: one colour and dash per method in every figure, and a page with a title above and a caption below.

Colours are Okabe and Ito's, which people with any common colour blindness can tell apart; dashes tell methods apart
without any colour. Two dozen methods cannot have a colour each: there the colour says what family a method is of, warm
for ranking losses and cool for pointwise ones, and names beside lines and rows say which it is. Figures are built from
objects alone, so that drawing works without a display and changes nothing in the process it is called from.

Reference: M. Okabe, K. Ito, "Color Universal Design: How to make figures and presentations that are friendly to
colorblind people", 2008.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.artist import Artist
from matplotlib.figure import Figure

Dash = str | tuple[int, tuple[float, ...]]
Family = Literal["ranking", "pointwise"]
"""Kinds of class losses."""

INK = "#222222"
FAINT = "#8a8a8a"
GRID = "#e6e6e6"


@dataclass(frozen=True)
class Style:
    """How a method's lines and points are drawn."""

    color: str
    dash: Dash = "-"


_DASHED: Dash = (0, (5, 1.6))
_DOTTED: Dash = (0, (1.2, 1.4))
_DASH_DOTTED: Dash = (0, (6, 1.5, 1.2, 1.5))

STYLES: Mapping[str, Style] = {
    "constant": Style("#8a8a8a", _DOTTED),
    "baseline": Style("#000000"),
    "plateau": Style("#56b4e9", _DASH_DOTTED),
    "ap": Style("#e69f00"),
    "rank_sort": Style("#d55e00"),
    "agent": Style("#0072b2"),
    "replay": Style("#cc79a7", _DASHED),
}
"""The default comparison's methods."""

_SPARE: Mapping[Family | None, tuple[str, ...]] = {
    None: ("#009e73", "#7a5195", "#a6761d", "#66a61e", "#b2182b", "#35978f"),
    "ranking": ("#b2182b", "#f4853f", "#8c3d04", "#e7298a", "#c9a000", "#a0527a", "#ff9d8a"),
    "pointwise": ("#0b5fa5", "#009e73", "#6a51a3", "#35a0b5", "#66a61e", "#8da0e0"),
}
"""For methods without a style of their own, by family."""

TASK_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#a6761d", "#666666")
"""Where colours are tasks; they repeat from the seventh on."""

CATEGORY_COLORS = ("#ffb000", "#4cc3ff", "#ff5ca8", "#4ee07a", "#ff7f50", "#b79bff", "#f5f06a", "#ffffff")
"""Bright, because they are drawn on pictures."""

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "mapopt",
}


def styles_of(methods: Iterable[str], families: Mapping[str, Family] | None = None) -> dict[str, Style]:
    """Returns a style for every method: known ones always have their own, others get spare ones of their family.

    The spare ones are given by name among `methods`, so figures of fewer methods should take them from all.

    >>> styles_of(["agent", "mine"])["agent"] == STYLES["agent"]
    True
    """
    names = sorted(set(methods))
    dashes: tuple[Dash, ...] = ("-", _DASHED, _DOTTED, _DASH_DOTTED)
    styles = {name: STYLES[name] for name in names if name in STYLES}
    for family, colors in _SPARE.items():
        others = [name for name in names if name not in STYLES and (families or {}).get(name) == family]
        for place, name in enumerate(others):
            styles[name] = Style(colors[place % len(colors)], dashes[place // len(colors) % len(dashes)])
    return styles


@contextmanager
def styled() -> Iterator[None]:
    """Sets the look of what is drawn inside, and nothing outside."""
    with matplotlib.rc_context(_SETTINGS):
        yield


def page(*, width: float, height: float, title: str, caption: str, key: Sequence[Artist] = ()) -> Figure:
    """Returns an empty figure with its title and caption in place.

    Args:
        width: in inches.
        height: in inches, of what is drawn between title and caption.
        title: wrapped to the width, as a rule one line.
        caption: wrapped to the width.
        key: what a legend between drawing and caption explains.
    """
    # A character of the title's 13 bold points is about two thirds as wide as it is high.
    heading = textwrap.wrap(title, int(width * 72 / (13 * 0.68)))
    # A character of the caption's 8.5 points is about half as wide as it is high.
    lines = textwrap.wrap(caption, int(width * 72 / (8.5 * 0.54)))
    names = [str(one.get_label()).splitlines() for one in key]
    widest = max((len(line) for name in names for line in name), default=0)
    columns = max(1, min(len(key), int(width / (0.75 + 0.085 * widest))))
    rows = math.ceil(len(key) / columns)
    # A legend fills its columns one after the other, from the top.
    tallest = max((sum(map(len, names[first : first + rows])) for first in range(0, len(key), rows or 1)), default=0)
    text, above = 0.22 + 0.165 * len(lines), 0.18 + 0.24 * len(heading)
    below = text + 0.17 * tallest + 0.07 * rows + (0.12 if key else 0)
    total, margin = height + below + above, 0.1 / width
    figure = Figure(figsize=(width, total), layout="constrained", facecolor="white")
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(margin, below / total, 1 - 2 * margin, height / total), w_pad=0.06, h_pad=0.06)  # type: ignore[call-arg]
    figure.text(margin, 1 - 0.12 / total, "\n".join(heading), fontsize=13, fontweight="bold", va="top", in_layout=False)
    figure.text(
        margin,
        0.1 / total,
        "\n".join(lines),
        fontsize=8.5,
        color="#555555",
        va="bottom",
        linespacing=1.3,
        in_layout=False,
    )
    if key:
        legend = figure.legend(
            handles=list(key),
            loc="lower left",
            bbox_to_anchor=(0, (text - 0.02) / total),
            ncols=columns,
            handlelength=2.4,
            columnspacing=1.6,
            fontsize=9.5,
        )
        legend.set_in_layout(False)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure as PNG and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)
    return path
