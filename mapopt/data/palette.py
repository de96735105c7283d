"""The colors that categories are drawn in, the same in every picture and figure.

A color is used on photographs, under black letters and as a line on white paper, so all of them are of middle
brightness: a contrast of 2.8 to 1 or more with white, and of 4.7 to 1 or more with black.
"""

from __future__ import annotations

import colorsys

_FIRST = (
    (236, 112, 20),  # orange
    (40, 144, 240),  # blue
    (24, 164, 92),  # green
    (230, 74, 160),  # pink
    (192, 146, 0),  # gold
    (150, 116, 250),  # violet
    (10, 164, 172),  # teal
    (232, 80, 74),  # red
    (122, 158, 30),  # olive
    (170, 122, 92),  # brown
)
_GOLDEN = 0.381966
_LUMINANCE = 0.28


def category_color(label: int) -> tuple[int, int, int]:
    """Returns the color of a category, 0 to 255 each: the first ten are chosen by hand, the others follow a rule.

    Args:
        label: the category's position among all.
    """
    if label < len(_FIRST):
        return _FIRST[label]
    # Neighbors differ, as the golden angle lies between them.
    red, green, blue = colorsys.hsv_to_rgb(label * _GOLDEN % 1, 0.45 + 0.4 * (label % 2), 1.0)
    # Of linear light, the one that gives every hue the same brightness.
    factor = (_LUMINANCE / (0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2)) ** (1 / 2.2)
    red, green, blue = (min(1.0, factor * channel) for channel in (red, green, blue))
    return int(red * 255), int(green * 255), int(blue * 255)


def category_hex(label: int) -> str:
    """Returns the same color as matplotlib and browsers write it.

    >>> category_hex(0)
    '#ec7014'
    """
    return "#{:02x}{:02x}{:02x}".format(*category_color(label))
