"""The colors that categories are drawn in, the same in every picture."""

from __future__ import annotations

import colorsys


def category_color(label: int) -> tuple[int, int, int]:
    """Returns a light color for a category; neighbours differ, as the golden angle lies between them."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.381966 % 1, 0.6, 1.0)
    return int(red * 255), int(green * 255), int(blue * 255)
