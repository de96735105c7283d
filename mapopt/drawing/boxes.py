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
    scores: NDArray | None,
    names: Sequence[str],
) -> Image.Image:
    """Returns a copy of a picture with boxes, each with its name and score; small pictures are enlarged.

    Args:
        picture: RGB.
        boxes: ``[n, 4]`` corners in pixels, the first on top of the others.
        labels: ``[n]`` positions in `names`.
        scores: ``[n]``; None for annotated boxes, which have none.
        names: of the categories; each has its color.
    """
    factor = max(1, -(-_SMALLEST // max(picture.size)))
    drawn = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    brush = ImageDraw.Draw(drawn)
    texts = [names[label] for label in labels.tolist()]
    if scores is not None:
        texts = [f"{text} {score:.2f}" for text, score in zip(texts, scores.tolist(), strict=True)]
    weakest_first = list(zip((boxes * factor).tolist(), labels.tolist(), texts, strict=True))[::-1]
    for (left, top, right, bottom), label, _ in weakest_first:
        # Over a white line, so that the box is seen on every background.
        brush.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="white", width=5)
        brush.rectangle((left, top, right, bottom), outline=category_color(label), width=3)
    for (left, top, _, _), label, text in weakest_first:
        left, top, right, bottom = brush.textbbox((max(0.0, left), max(0.0, top - 12)), text)
        outside = max(0.0, right + 1 - drawn.width)
        brush.rectangle((left - outside, top, right - outside, bottom), fill=category_color(label))
        brush.text((left - outside, top), text, fill="black", anchor="la")
    return drawn
