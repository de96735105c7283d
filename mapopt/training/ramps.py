"""The way of the knobs through a round: a straight line between its ends, or one with bends and jumps in it.

A round is how often AP is measured, and what moves during a run need not know of it: a warm-up that is shorter than a
round bends inside it, and steps of a learning rate jump.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Any

from mapopt.errors import ConfigError
from mapopt.training.knobs import Knobs, blend

Via = tuple[tuple[float, Knobs], ...]
"""Fractions of a round, each with the knobs there; two points at the same fraction are a jump."""

TOLERANCE = 1e-9
"""What separates two fractions at the least; closer ones are the same, however they were rounded."""


def checked_via(via: Any, ramp_from: Knobs | None) -> Via:
    """Returns the points inside a round as tuples.

    Args:
        via: pairs of a fraction and of the knobs there.
        ramp_from: the knobs at the round's beginning; points without it have nothing to begin from.

    Raises:
        ConfigError: a point is no such pair or not inside the round, they do not rise, or three are at one fraction.
    """
    points = []
    if not isinstance(via, tuple | list):
        raise ConfigError(f"via is of type {type(via).__name__}: expected pairs of a fraction of the round and Knobs")
    for point in via:
        fraction, knobs = point if isinstance(point, tuple | list) and len(point) == 2 else (None, None)
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not isinstance(knobs, Knobs):
            raise ConfigError(f"via has a point of type {_shown(point)}: expected (fraction of the round, Knobs)")
        if not (math.isfinite(fraction) and 0 < fraction < 1):
            raise ConfigError(
                f"via has the fraction {fraction:g}: expected fractions inside the round, between 0 and 1"
            )
        points.append((float(fraction), knobs))
    fractions = [fraction for fraction, _ in points]
    if fractions != sorted(fractions) or any(fractions.count(fraction) > 2 for fraction in fractions):
        raise ConfigError(
            f"via has the fractions {', '.join(f'{fraction:g}' for fraction in fractions)}: expected them to rise; "
            "two at the same are a jump"
        )
    if points and ramp_from is None:
        raise ConfigError("via is given without ramp_from: give the knobs at the round's beginning, too")
    return tuple(points)


def _shown(point: Any) -> str:
    kinds = [type(part).__name__ for part in point] if isinstance(point, tuple | list) else [type(point).__name__]
    return ", ".join(kinds) or "an empty tuple"


def points_of(ramp_from: Knobs | None, via: Via, knobs: Knobs) -> Via:
    """Returns the whole way through a round, its ends included; `knobs` alone where they stand still."""
    return ((0.0, ramp_from), *via, (1.0, knobs)) if ramp_from is not None else ((0.0, knobs), (1.0, knobs))


def knobs_at(points: Via, fraction: float) -> Knobs:
    """Returns the knobs at a fraction of a round, linear between two points; at a jump those after it.

    Args:
        points: as `points_of` returns them.
        fraction: 0 to 1.

    >>> way = points_of(Knobs(lr=0.1), ((0.5, Knobs(lr=0.3)),), Knobs(lr=0.3))
    >>> round(knobs_at(way, 0.25).lr, 3), knobs_at(way, 0.75).lr
    (0.2, 0.3)
    """
    place = bisect_right(points, fraction + TOLERANCE, key=lambda point: point[0])
    place = min(max(place, 1), len(points) - 1)
    (before, start), (after, end) = points[place - 1], points[place]
    return blend(start, end, max(0.0, (fraction - before) / (after - before)))
