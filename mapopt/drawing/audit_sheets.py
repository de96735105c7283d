"""Draws what an audit found: a sheet of small pictures for each kind, with the boxes, so that a person can decide.

A box is shown with what is around it, as large as the tile allows; a label file with its whole picture; a leak as two
pictures beside each other.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mapopt.data.auditing.audit import Audit
from mapopt.data.auditing.findings import KINDS, Finding
from mapopt.data.image_files import open_rgb
from mapopt.data.palette import category_color
from mapopt.drawing.tiles import FAINT, INK, fit, font
from mapopt.errors import DataError

TILES = 24
"""Findings on a sheet at the most, those with the clearest figure first."""
_COLUMNS = 4
_TILE = (300, 225)
_TEXT = 38
_GAP = 12
_HEAD = 66
_CONTEXT = 1.0
"""How much of its own longer side is shown around a box, on every side."""
_SMALLEST = 0.25
"""Fraction of an image's longer side that a tile shows at least, so that one sees where it is."""
_MEANT, _OTHER = category_color(7), category_color(1)
"""The box that is meant (red), and the other one (blue)."""
_BACK = (236, 236, 236)
_WHOLE = ("shifted_file",)
"""Kinds that are seen in whole pictures only."""


def draw_findings(audit: Audit) -> dict[str, bytes]:
    """Returns a JPEG for every kind of finding that has pictures, by file name."""
    paths = {
        (raw.part, name): (path, (int(size[0]), int(size[1])))
        for raw in audit.sets
        for name, path, size in zip(raw.file_names, raw.paths, raw.sizes, strict=True)
    }
    sheets = {}
    for kind in audit.counts:
        shown = [(finding, _tile(finding, paths)) for finding in audit.of(kind)[:TILES] if finding.image]
        tiles = [(finding, tile) for finding, tile in shown if tile is not None]
        if tiles:
            buffer = io.BytesIO()
            _sheet(kind, tiles, audit.counts[kind]).save(buffer, "JPEG", quality=90)
            sheets[f"{kind}.jpg"] = buffer.getvalue()
    return sheets


def _sheet(kind: str, tiles: Sequence[tuple[Finding, Image.Image]], count: int) -> Image.Image:
    """Returns the page of a kind."""
    columns = min(_COLUMNS, max(2, len(tiles)))
    rows = -(-len(tiles) // columns)
    width = _GAP + columns * (_TILE[0] + _GAP)
    sheet = Image.new("RGB", (width, _HEAD + rows * (_TILE[1] + _TEXT + _GAP)), "white")
    brush = ImageDraw.Draw(sheet)
    more = f", {len(tiles)} of them here" if count > len(tiles) else ""
    title = KINDS[kind].title
    brush.text((_GAP, 10), fit(f"{title[0].upper()}{title[1:]}: {count}{more}", width - 2 * _GAP, 19), INK, font(19))
    legend = "; ".join(filter(None, [KINDS[kind].advice, _LEGENDS.get(kind, "")]))
    brush.text((_GAP, 38), fit(f"{legend[0].upper()}{legend[1:]}.", width - 2 * _GAP, 13), FAINT, font(13))
    for number, (finding, tile) in enumerate(tiles):
        left = _GAP + number % columns * (_TILE[0] + _GAP)
        top = _HEAD + number // columns * (_TILE[1] + _TEXT + _GAP)
        sheet.paste(tile, (left, top))
        place = fit(f"{finding.part}: {finding.place}", _TILE[0], 12)
        brush.text((left, top + _TILE[1] + 4), place, INK, font(12))
        brush.text((left, top + _TILE[1] + 20), fit(finding.message, _TILE[0], 12, end=True), FAINT, font(12))
    return sheet


_LEGENDS = {
    "degenerate": "red: the place of the box",
    "outside": "red: the box; gray is outside of the image",
    "duplicate": "red: the later box, blue: the earlier",
    "near_duplicate": "red: the later box, blue: the earlier",
    "two_classes": "red: the later box, blue: the earlier",
    "shifted_file": "red: the boxes as they are, blue: where they would fit",
    "leak_file": "right or below: the picture of the earlier set",
    "leak_picture": "right or below: the picture of the earlier set",
    "leak_source": "right or below: the picture of the earlier set",
    "same_file": "right or below: the earlier picture",
    "same_picture": "right or below: the earlier picture",
    "overlooked": "red: what a detector sees",
    "spurious": "red: the label",
    "swapped_class": "red: the label, blue: what a detector sees",
    "badly_placed": "red: the label, blue: where a detector sees the object",
    "labeled_twice": "red: the later label, blue: the earlier",
}


def _tile(finding: Finding, paths: dict[tuple[str, str], tuple[Path, tuple[int, int]]]) -> Image.Image | None:
    """Returns the small picture of a finding; None where no picture can be read."""
    picture = _open(paths.get((finding.part, finding.image)))
    if picture is None:
        return None
    tile = Image.new("RGB", _TILE, _BACK)
    if finding.other is not None:
        other = _open(paths.get(finding.other))
        # Beside each other or below each other, whichever shows more.
        beside, below = (_TILE[0] // 2 - 2, _TILE[1]), (_TILE[0], _TILE[1] // 2 - 2)
        half = max(beside, below, key=lambda size: min(size[0] / picture.width, size[1] / picture.height))
        second = (half[0] + 4, 0) if half == beside else (0, half[1] + 4)
        for (left, top), shown in (((0, 0), picture), (second, other)):
            if shown is not None:
                small = _into(shown, half)
                tile.paste(small, (left + (half[0] - small.width) // 2, top + (half[1] - small.height) // 2))
        return tile
    boxes = np.array(finding.boxes, dtype=np.float64).reshape(-1, 4)
    whole = finding.kind in _WHOLE or not len(boxes)
    view = np.array([0.0, 0.0, *picture.size]) if whole else _view(boxes, picture.size)
    scale = min(_TILE[0] / (view[2] - view[0]), _TILE[1] / (view[3] - view[1]))
    # What is outside of the image stays gray, so that boxes over the edge show.
    inner = np.array([max(view[0], 0), max(view[1], 0), min(view[2], picture.width), min(view[3], picture.height)])
    offset = (np.array(_TILE) - (view[2:] - view[:2]) * scale) / 2 - view[:2] * scale
    if (inner[2:] - inner[:2] >= 1).all():
        left, top = (int(side) for side in np.floor(inner[:2]))
        right, bottom = (int(side) for side in np.ceil(inner[2:]))
        sides = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
        method = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
        part = picture.crop((left, top, right, bottom)).resize(sides, method)
        tile.paste(part, (round(left * scale + float(offset[0])), round(top * scale + float(offset[1]))))
    _draw_boxes(tile, boxes * scale + np.tile(offset, 2), meant=len(boxes) // 2 if finding.kind in _WHOLE else 1)
    return tile


def _draw_boxes(tile: Image.Image, boxes: np.ndarray, *, meant: int) -> None:
    """Draws boxes; the first `meant` of them in red, the others in blue and thinner on top, so that both are seen."""
    brush = ImageDraw.Draw(tile)
    thin = len(boxes) > 4
    corners = [_corners(box) for box in boxes.tolist()]
    for left, top, right, bottom in () if thin else corners:
        brush.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="white", width=5)
    for place, box in enumerate(corners):
        brush.rectangle(box, outline=_MEANT if place < meant else _OTHER, width=1 if thin or place >= meant else 3)


def _corners(box: list[float]) -> tuple[float, float, float, float]:
    """Returns corners in order; a box without area is shown as a small one."""
    left, right = sorted((box[0], box[2]))
    top, bottom = sorted((box[1], box[3]))
    x, y = (7 if right - left < 4 else 0), (7 if bottom - top < 4 else 0)
    return left - x, top - y, right + x, bottom + y


def _view(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the part of an image that shows some boxes with what is around them, in the shape of a tile."""
    low = np.minimum(boxes[:, :2], boxes[:, 2:]).min(axis=0)
    high = np.maximum(boxes[:, :2], boxes[:, 2:]).max(axis=0)
    height = max(float((high - low).max()) * (1 + 2 * _CONTEXT), _SMALLEST * max(size))
    half = np.array([height * _TILE[0] / _TILE[1], height]) / 2
    center = (low + high) / 2
    return np.concatenate([center - half, center + half])


def _open(place: tuple[Path, tuple[int, int]] | None) -> Image.Image | None:
    if place is None:
        return None
    path, size = place
    try:
        return open_rgb(path, expected=size if min(size) else None)
    except DataError:
        try:
            return open_rgb(path)
        except DataError:
            return None


def _into(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    factor = min(size[0] / picture.width, size[1] / picture.height)
    sides = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(sides, Image.Resampling.LANCZOS)
