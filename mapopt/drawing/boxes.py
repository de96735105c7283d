"""Draws boxes on a picture, so that a person can see what a detector predicts."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mapopt.data.palette import category_color

_SMALLEST = 320
"""Pictures are enlarged by a whole factor until their longer side has so many pixels: text needs room."""


def draw_boxes(
    picture: Image.Image,
    boxes: NDArray,
    labels: NDArray,
    scores: NDArray,
    names: Sequence[str],
) -> Image.Image:
    """Returns a copy of a picture with boxes, each with its name and score; small pictures are enlarged.

    Args:
        picture: RGB.
        boxes: ``[n, 4]`` corners in pixels, the first on top of the others.
        labels: ``[n]`` positions in `names`.
        scores: ``[n]``.
        names: of the categories; each has its color.
    """
    factor = max(1, -(-_SMALLEST // max(picture.size)))
    drawn = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    brush = ImageDraw.Draw(drawn)
    for box, label, score in reversed(list(zip(boxes.tolist(), labels.tolist(), scores.tolist(), strict=True))):
        left, top, right, bottom = (value * factor for value in box)
        brush.rectangle((left, top, right, bottom), outline=category_color(label), width=2)
        text = f"{names[label]} {score:.2f}"
        frame = brush.textbbox((left, max(0.0, top - 12)), text)
        brush.rectangle(frame, fill=category_color(label))
        brush.text(frame[:2], text, fill="black", anchor="la")
    return drawn
