"""Decides what happens to boxes that cannot be right: outside their image, or without area.

One policy for all formats: ``"error"`` (the default) stops and names the first such box, ``"clip"`` cuts boxes at the
edge of the image and leaves out what has no area then, ``"drop"`` leaves out every such box. ``"keep"`` is for the
ground truth of an evaluation only, which is counted as it is; nothing trains on such boxes. Files hold rounded numbers,
so a box may reach over the edge by `OVERHANG` pixels and still counts as inside: it is kept as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mapopt.data.misplaced import Form, misplaced
from mapopt.errors import ConfigError, DataError, unknown_name

Invalid = Literal["error", "clip", "drop", "keep"]

_FEW = 2
"""So many boxes may be far outside of their image: they may be single mistakes, and the policy's to settle."""
OVERHANG = 0.5
"""How far, in pixels, a box may reach over the edge of its image: what is less is rounding."""


def settle_boxes(
    boxes: NDArray[np.float64],
    widths: NDArray[np.int64],
    heights: NDArray[np.int64],
    *,
    invalid: Invalid,
    name: Callable[[int], str],
    form: Form = "corners",
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Applies the policy to boxes as a file has them.

    Args:
        boxes: ``[n, 4]`` corners in pixels.
        widths: ``[n]`` the width of each box's image.
        heights: ``[n]`` the height of each box's image.
        invalid: the policy, see the module.
        name: what to call box ``i`` in a message.
        form: how the file gives boxes; in this form they are doubted where most of them cannot be right, whatever the
            policy.

    Returns:
        The boxes ``[n, 4]``, and ``[n]`` False where one is to be left out.

    Raises:
        DataError: a number is not finite and the policy is not ``"drop"``, boxes as a whole are in another form, or the
            policy is ``"error"`` and a box is outside or without area.
        ConfigError: there is no such policy.
    """
    if invalid not in get_args(Invalid):
        raise ConfigError(unknown_name("policy for invalid boxes", str(invalid), get_args(Invalid)))
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(boxes).all(axis=1))
    if not finite.all():
        first = int(np.flatnonzero(~finite)[0])
        if invalid != "drop":
            given = "has no box" if np.isnan(boxes[first]).all() else f"box {show_box(boxes[first])} is not finite"
            raise DataError(
                f"{name(first)}: {given}. Correct or remove it, or leave out every wrong box: --invalid drop "
                "(invalid='drop' in Python)."
            )
        kept = finite.copy()
        boxes = np.where(finite[:, None], boxes, 0.0)
        settled, kept[finite] = settle_boxes(
            boxes[finite],
            widths[finite],
            heights[finite],
            invalid=invalid,
            name=lambda i: name(int(np.flatnonzero(finite)[i])),
            form=form,
        )
        boxes[finite] = settled
        return boxes, kept
    fault = misplaced(boxes, widths, heights, name=name, form=form, few=_FEW)
    if fault:
        raise DataError(fault)
    wrong = wrong_boxes(boxes, widths, heights)
    if invalid == "error":
        if wrong.any():
            raise DataError(_complaint(boxes, widths, heights, wrong, name))
        return boxes, np.ones(len(boxes), dtype=bool)
    if invalid == "drop":
        return boxes, ~wrong
    if invalid == "keep":
        return boxes, np.ones(len(boxes), dtype=bool)
    limits = np.stack([widths, heights, widths, heights], axis=1)
    clipped = np.where(wrong[:, None], np.clip(boxes, 0, limits), boxes)
    return clipped, ~_without_area(clipped)


def wrong_boxes(boxes: NDArray[np.float64], widths: NDArray[np.int64], heights: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns ``[n]`` True where a box ``[n, 4]`` has no area or reaches out of its image by more than rounding."""
    return _without_area(boxes) | _outside(boxes, widths, heights)


def show_box(box: NDArray[np.float64]) -> str:
    """Returns a box as a message shows it.

    >>> show_box(np.array([1.0, 2.5, 30.0, 40.0]))
    '(1, 2.5, 30, 40)'
    """
    return "(" + ", ".join(f"{number:.7g}" for number in box) + ")"


def _without_area(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])


def _outside(boxes: NDArray[np.float64], widths: NDArray[np.int64], heights: NDArray[np.int64]) -> NDArray[np.bool_]:
    return (
        (boxes[:, :2].min(axis=1) < -OVERHANG) | (boxes[:, 2] > widths + OVERHANG) | (boxes[:, 3] > heights + OVERHANG)
    )


def _complaint(
    boxes: NDArray[np.float64],
    widths: NDArray[np.int64],
    heights: NDArray[np.int64],
    wrong: NDArray[np.bool_],
    name: Callable[[int], str],
) -> str:
    """Says what is wrong with the first wrong box, how many more there are, and how to go on."""
    first = int(np.flatnonzero(wrong)[0])
    fault = "has no area" if _without_area(boxes[first : first + 1])[0] else "reaches out of it"
    others = int(wrong.sum()) - 1
    more = "" if others == 0 else " One more box is wrong." if others == 1 else f" {others} more boxes are wrong."
    return (
        f"{name(first)}: in an image of {widths[first]} x {heights[first]} pixels, box {show_box(boxes[first])} "
        f"(left, top, right, bottom) {fault}.{more} Correct the file, or pass invalid='clip' to cut boxes at the edge "
        "of the image (what has no area is left out), or invalid='drop' to leave out every such box."
    )
