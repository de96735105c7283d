"""How methods look: one color and dash per method in every figure.

Colors are Okabe and Ito's, which people with any common color blindness can distinguish; dashes distinguish methods
without any color. Two dozen methods cannot have a color each: there the color says what family a method is of, warm
for ranking losses and cool for pointwise ones, and names beside lines and rows say which it is.

Reference: M. Okabe, K. Ito, "Color Universal Design: How to make figures and presentations that are friendly to
colorblind people", 2008.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

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
    "pointwise": ("#009e73", "#6a51a3", "#35a0b5", "#66a61e", "#8da0e0", "#00366b"),
}
"""For methods without a style of their own, by family."""

TASK_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#a6761d", "#666666")
"""Where colors are tasks; they repeat from the seventh on, with other marks."""

_MARKS = "osD^vP"


def task_marks(count: int) -> list[tuple[str, str]]:
    """Returns a color and a mark of matplotlib's for so many tasks, each of the first 36 with its own.

    >>> task_marks(7)[0], task_marks(7)[6]
    (('#0072b2', 'o'), ('#0072b2', 's'))
    """
    colors = len(TASK_COLORS)
    return [(TASK_COLORS[place % colors], _MARKS[place // colors % len(_MARKS)]) for place in range(count)]


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
