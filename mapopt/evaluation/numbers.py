"""How numbers are printed: AP without its zero, signs where they matter, durations in words."""

from __future__ import annotations

import math

from mapopt.stopwatch import duration as duration

UNKNOWN = "–"
"""Stands for a number that is undefined."""


def short(value: float, *, signed: bool = False, digits: int = 3) -> str:
    """Returns a number of 0 to 1 with few decimals and no leading zero.

    >>> short(0.25), short(-0.0301, signed=True), short(1.0, digits=2)
    ('.250', '−.030', '1.00')
    """
    if math.isnan(value):
        return UNKNOWN
    sign = ("−" if value < 0 else "+" if signed else "") if round(abs(value), digits) else " " if signed else ""
    return sign + f"{abs(value):.{digits}f}".removeprefix("0")
