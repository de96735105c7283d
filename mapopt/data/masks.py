"""The box around a mask, for annotations of COCO files that have a mask and no box.

A mask is polygons, or runs of pixels (RLE): numbers of pixels outside and inside in turn, column by column from the top
left, as a list or packed into a text. They are read here, bounds checked, and not by pycocotools, whose C code trusts
what a file says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mapopt.errors import DataError, shown

_BITS = 5
"""Of a number that each character of a packed text holds; one more says whether the number goes on."""


def with_boxes(
    entries: Sequence[Mapping[str, Any]], names: Sequence[str], sizes: ArrayLike
) -> tuple[list[dict[str, Any]], str]:
    """Returns annotations of which those without a box have the one around their mask, if they have a mask.

    Args:
        entries: the annotations; they are left as they are.
        names: what messages call each of them.
        sizes: ``[n, 2]`` width and height of each annotation's image; 0 where unknown.

    Returns:
        The annotations, and a sentence that says how many boxes are of masks; empty for none.

    Raises:
        DataError: a mask is no mask, or of an image with another size.
    """
    known = np.asarray(sizes).reshape(-1, 2)
    completed, taken = [], 0
    for number, entry in enumerate(entries):
        without = entry.get("bbox") in (None, [])
        box = around(entry.get("segmentation"), names[number], known[number]) if without else None
        taken += box is not None
        completed.append(dict(entry) if box is None else {**entry, "bbox": box})
    if not taken:
        return completed, ""
    said = "annotation has no box, and gets" if taken == 1 else "annotations have no box, and get"
    return completed, f"{taken} {said} the one around the mask (segmentation)."


def around(mask: Any, name: str, size: ArrayLike = (0, 0)) -> list[float] | None:
    """Returns the box around a mask: left, top, width and height; None where there is no mask.

    Args:
        mask: ``segmentation`` of a COCO file: polygons, each a list x, y, x, y, ...; or ``size`` and ``counts``.
        name: what messages call the annotation.
        size: width and height of the image; 0 where unknown.

    Raises:
        DataError: it is no mask, an empty one, or one of an image with another size.

    >>> around([[2, 1, 6, 1, 6, 4]], "annotation 1")
    [2.0, 1.0, 4.0, 3.0]
    >>> around({"size": [4, 3], "counts": [5, 2, 5]}, "annotation 1")  # the second column, rows 1 and 2
    [1.0, 1.0, 1.0, 2.0]
    """
    if isinstance(mask, Mapping):
        return _around_runs(mask, name, np.asarray(size).tolist())
    return _around_polygons(mask)


def _around_polygons(mask: Any) -> list[float] | None:
    polygons = mask if isinstance(mask, list) else []
    if polygons and all(map(_is_number, polygons)):
        polygons = [polygons]
    polygons = [polygon for polygon in polygons if isinstance(polygon, list) and len(polygon) >= 6]
    if not polygons or any(len(polygon) % 2 or not all(map(_is_number, polygon)) for polygon in polygons):
        return None
    points: NDArray[np.float64] = np.concatenate(
        [np.array(polygon, dtype=np.float64).reshape(-1, 2) for polygon in polygons]
    )
    low, high = points.min(axis=0), points.max(axis=0)
    return [*low.tolist(), *(high - low).tolist()]


def _around_runs(mask: Mapping[str, Any], name: str, size: list[int]) -> list[float]:
    given = mask.get("size")
    sides: list[Any] = given if isinstance(given, list) and len(given) == 2 else [None]
    if not all(type(side) is int and 0 < side < 2**31 for side in sides):
        raise DataError(f"{name}: the 'size' of its segmentation is {shown(given)}. Expected height and width.")
    height, width = sides
    if all(size) and [width, height] != size:
        raise DataError(
            f"{name}: its segmentation is of {width} x {height} pixels, and its image of {size[0]} x {size[1]}. "
            "Expected 'size' to be the height and the width of the image."
        )
    runs = _runs(mask.get("counts"), name)
    if (runs < 0).any() or int(runs.sum()) != height * width:
        raise DataError(
            f"{name}: the 'counts' of its segmentation are of {int(runs.sum())} pixels, and its 'size' is of "
            f"{height * width}. Expected one number for all of them."
        )
    ends = np.cumsum(runs)
    inside = runs[1::2] > 0
    first, last = ends[0::2][: len(inside)][inside], ends[1::2][inside] - 1
    if not len(first):
        raise DataError(f"{name}: its segmentation is empty. Expected a pixel, or a box.")
    left, right = int(first[0] // height), int(last[-1] // height)
    # A run over several columns reaches from the top to the bottom.
    whole = (first // height != last // height).any()
    top = 0 if whole else int((first % height).min())
    bottom = height - 1 if whole else int((last % height).max())
    return [float(left), float(top), float(right - left + 1), float(bottom - top + 1)]


def _runs(counts: Any, name: str) -> NDArray[np.int64]:
    """Returns the lengths of the runs, from a list or a packed text."""
    if isinstance(counts, list) and all(type(count) is int and abs(count) < 2**40 for count in counts):
        return np.array(counts, dtype=np.int64)
    if isinstance(counts, str) and counts.isascii():
        return _unpacked(counts, name)
    raise DataError(f"{name}: the 'counts' of its segmentation are {shown(counts)}. Expected numbers, or COCO's text.")


def _unpacked(text: str, name: str) -> NDArray[np.int64]:
    """Returns the runs that a text says: numbers of 5 bits a character, from the third on as differences.

    A difference is to the run before the last. The lowest bits come first; the highest of the last character is a sign.
    """
    codes = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    goes_on = (codes & (1 << _BITS)) > 0
    ends = np.flatnonzero(~goes_on)
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    foreign = not len(codes) or bool((codes < 0).any() or (codes >> (_BITS + 1)).any() or goes_on[-1])
    if foreign or (ends - starts).max() > 7:
        raise DataError(f"{name}: the 'counts' of its segmentation are {shown(text)}: no text that COCO's tools write.")
    digit = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    values = np.add.reduceat((codes & ((1 << _BITS) - 1)) << (_BITS * digit), starts)
    negative = (codes[ends] & (1 << (_BITS - 1))) > 0
    values = np.where(negative, values - (np.int64(1) << (_BITS * (ends - starts + 1))), values)
    for begin in (1, 2):
        values[begin::2] = np.cumsum(values[begin::2])
    return values


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
