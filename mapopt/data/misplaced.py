"""Finds out when boxes as a whole are not what their file should hold: fractions for pixels, corners for sizes.

One function for annotations of every format and for results. A few boxes over the edge are a matter of policy (see
`mapopt.data.invalid`) or a detector's own; many have been written in another form, and nothing made of them is right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Form = Literal["corners", "sizes", "fractions", "relative"]
"""How a file gives boxes: left, top, right, bottom; left, top, width, height; the center, width and height as fractions
of the image; or left, top, width and height as fractions."""

_FAR = 0.1
"""Fraction of its image by which a box must reach over the edge to be far outside: detectors overshoot by less."""
_MANY = 0.25
"""Fraction of boxes that must be wrong for their form to be doubted."""
_FITS = 0.99
"""Fraction of boxes that another form must explain."""

_EXPECTED = {
    "corners": "pixels: left, top, right and bottom",
    "sizes": "pixels: left, top, width and height",
    "fractions": "x and y of the center, width and height as fractions of the image",
    "relative": "left, top, width and height as fractions of the image",
}


def misplaced(
    boxes: NDArray[np.float64],
    widths: NDArray[np.int64],
    heights: NDArray[np.int64],
    *,
    name: Callable[[int], str],
    form: Form = "sizes",
    few: int = 0,
) -> str:
    """Says how boxes as a whole cannot be in their images, and which form explains it; empty where they can.

    Args:
        boxes: ``[n, 4]`` corners in pixels, made of what the file holds; finite.
        widths: ``[n]`` of each box's image.
        heights: ``[n]`` of each box's image.
        name: what to call box ``i``.
        form: how the file gives boxes.
        few: as many boxes may be far outside of their image before the form is doubted.
    """
    if not len(boxes):
        return ""
    size = np.stack([widths, heights], axis=1).astype(np.float64)
    sides = boxes[:, 2:] - boxes[:, :2]
    expected = _EXPECTED[form]
    if form in ("corners", "sizes") and (np.abs(boxes[:, :2]) <= 1).all() and (sides <= 1).all() and (size > 2).all():
        return (
            f"all boxes lie between 0 and 1, as fractions of the image. Expected {expected}, "
            "each multiplied by the image's width or height."
        )
    far = ((boxes[:, 2:] > (1 + _FAR) * size) | (boxes[:, :2] < -_FAR * size)).any(axis=1)
    if form == "corners":
        # Sizes taken for corners are mostly to the left of or above the other corner.
        far |= (sides <= 0).any(axis=1)
    if far.sum() <= few:
        return ""
    first = int(np.argmax(far))
    shown = _as_given(boxes[first], size[first], form)
    entry = (
        f"{far.sum()} of {len(boxes)} boxes {'have no area or ' if form == 'corners' else ''}end far outside of their "
        f"image; the first is {name(first)}, {shown} in {widths[first]} x {heights[first]} pixels. "
    )
    if far.mean() > _MANY:
        for reading, advice in _READINGS[form]:
            if reading(boxes, size).all(axis=1).mean() > _FITS:
                return f"{entry}{advice}"
    if far.mean() > 0.5 and form != "corners":
        return (
            f"{entry}Expected {expected}, of the original image; check that these boxes are not in pixels of the "
            "network's input, and that annotations and images belong together."
        )
    return ""


def _as_given(box: NDArray[np.float64], size: NDArray[np.float64], form: Form) -> str:
    low, high = box[:2], box[2:]
    given = {
        "corners": box,
        "sizes": np.concatenate([low, high - low]),
        "fractions": np.concatenate([(low + high) / 2 / size, (high - low) / size]),
        "relative": np.concatenate([low / size, (high - low) / size]),
    }[form]
    return "(" + ", ".join(f"{number:.7g}" for number in given) + ")"


def _sizes_are_corners(boxes: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.bool_]:
    # The last two numbers may be the right and bottom edge.
    sides = boxes[:, 2:] - boxes[:, :2]
    return (sides >= boxes[:, :2]) & (sides <= (1 + _FAR) * size)


def _corners_are_sizes(boxes: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (boxes[:, 2:] > 0) & (boxes[:, :2] >= 0) & (boxes[:, :2] + boxes[:, 2:] <= (1 + _FAR) * size)


def _fractions_are_pixels(boxes: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.bool_]:
    center, sides = (boxes[:, :2] + boxes[:, 2:]) / 2 / size, (boxes[:, 2:] - boxes[:, :2]) / size
    return (center <= (1 + _FAR) * size) & (sides <= (1 + _FAR) * size) & (sides > 1).any(axis=1, keepdims=True)


def _fractions_are_corners(boxes: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.bool_]:
    center, sides = (boxes[:, :2] + boxes[:, 2:]) / 2 / size, (boxes[:, 2:] - boxes[:, :2]) / size
    return (sides >= center) & (sides <= 1 + _FAR)


def _relative_are_pixels(boxes: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.bool_]:
    low, sides = boxes[:, :2] / size, (boxes[:, 2:] - boxes[:, :2]) / size
    return (low + sides <= (1 + _FAR) * size) & (low >= 0) & (sides > 1).any(axis=1, keepdims=True)


def _relative_are_corners(boxes: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.bool_]:
    low, sides = boxes[:, :2] / size, (boxes[:, 2:] - boxes[:, :2]) / size
    return (sides >= low) & (sides <= 1 + _FAR)


_Reading = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]

_READINGS: dict[str, tuple[tuple[_Reading, str], ...]] = {
    "sizes": (
        (
            _sizes_are_corners,
            "Read as left, top, right and bottom they fit. Expected left, top, width and height: subtract left from "
            "right, and top from bottom.",
        ),
    ),
    "corners": (
        (
            _corners_are_sizes,
            "Read as left, top, width and height they fit. Expected left, top, right and bottom: add left to width, "
            "and top to height.",
        ),
    ),
    "fractions": (
        (
            _fractions_are_corners,
            "Read as left, top, right and bottom they fit. Expected x and y of the center, width and height, as "
            "fractions of the image.",
        ),
        (
            _fractions_are_pixels,
            "Read as pixels they fit. Expected x and y of the center, width and height, as fractions of the image: "
            "divide by its width or height.",
        ),
    ),
    "relative": (
        (
            _relative_are_corners,
            "Read as left, top, right and bottom they fit. Expected left, top, width and height, as fractions of the "
            "image: subtract left from right, and top from bottom.",
        ),
        (
            _relative_are_pixels,
            "Read as pixels they fit. Expected left, top, width and height, as fractions of the image: divide by its "
            "width or height.",
        ),
    ),
}
