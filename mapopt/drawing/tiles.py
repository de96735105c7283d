"""Small pictures with boxes beside each other on one sheet, with a title, a line about them and a legend."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

INK, FAINT = (34, 34, 34), (110, 110, 110)
Color = tuple[int, int, int]

_GAP = 12
_UNDER = 20
"""Pixels below a tile for its words."""
_NEAREST_FROM = 3.0
"""Enlarged by so much or more, pixels stay squares: a blurred picture would look like another one."""


@dataclass(frozen=True)
class Mark:
    """A box to draw.

    Attributes:
        box: left, top, right, bottom in the picture's pixels.
        color: of its lines.
        text: beside it; empty for none.
        dashed: whether its lines are.
    """

    box: tuple[float, float, float, float]
    color: Color
    text: str = ""
    dashed: bool = False


@dataclass(frozen=True)
class Tile:
    """A picture of the sheet, its boxes and the words below it."""

    picture: Image.Image
    marks: Sequence[Mark] = ()
    words: str = ""


def draw_sheet(
    tiles: Sequence[Tile],
    *,
    title: str,
    about: str,
    legend: Sequence[tuple[str, Color]] = (),
    columns: int = 4,
    side: int = 360,
) -> Image.Image:
    """Returns a sheet of tiles, read line by line.

    Args:
        tiles: at least one.
        title: one line.
        about: wrapped to the sheet's width.
        legend: names and their colors.
        columns: tiles beside each other.
        side: pixels of a tile's longer side.
    """
    columns = min(columns, max(2, len(tiles)))
    drawn = [_drawn(tile, side) for tile in tiles]
    width, height = (max(picture.size[axis] for picture in drawn) for axis in (0, 1))
    full = _GAP + columns * (width + _GAP)
    lines = wrap(about, full - 2 * _GAP, 13)
    rows = _legend_rows(legend, full - 2 * _GAP)
    under = _UNDER if any(tile.words for tile in tiles) else 0
    head = 40 + 18 * len(lines) + 22 * len(rows) + 8
    below = -(-len(tiles) // columns) * (height + under + _GAP)
    sheet = Image.new("RGB", (full, head + below), "white")
    brush = ImageDraw.Draw(sheet)
    brush.text((_GAP, 10), fit(title, full - 2 * _GAP, 19), INK, font(19))
    for number, line in enumerate(lines):
        brush.text((_GAP, 38 + 18 * number), line, FAINT, font(13))
    for number, row in enumerate(rows):
        top = 40 + 18 * len(lines) + 22 * number
        for left, name, color in row:
            brush.rectangle((_GAP + left, top + 3, _GAP + left + 14, top + 15), fill=color)
            brush.text((_GAP + left + 20, top), name, INK, font(13))
    for number, (tile, picture) in enumerate(zip(tiles, drawn, strict=True)):
        left = _GAP + number % columns * (width + _GAP)
        top = head + number // columns * (height + under + _GAP)
        sheet.paste(picture, (left, top))
        if tile.words:
            brush.text((left, top + height + 3), fit(tile.words, width, 12, end=True), FAINT, font(12))
    return sheet


def as_png(picture: Image.Image) -> bytes:
    """Returns a picture as the content of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Returns the font of sheets at a size in pixels."""
    return ImageFont.load_default(size)


def fit(text: str, width: float, size: int, *, end: bool = False) -> str:
    """Returns a text, cut in its middle or at its end where it is wider than so many pixels."""
    letters = font(size)
    if letters.getlength(text) <= width:
        return text
    keep = len(text)
    shortened = text
    while keep > 8 and letters.getlength(shortened) > width:
        keep -= 2
        shortened = f"{text[:keep]}…" if end else f"{text[: keep // 2]}…{text[len(text) - keep // 2 :]}"
    return shortened


def wrap(text: str, width: float, size: int) -> list[str]:
    """Returns the lines of a text that are at most so many pixels wide, words kept whole."""
    letters, lines = font(size), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and letters.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines if text else []


def _drawn(tile: Tile, side: int) -> Image.Image:
    """Returns a tile's picture at its size on the sheet, with its boxes."""
    factor = side / max(tile.picture.size)
    size = (max(1, round(tile.picture.width * factor)), max(1, round(tile.picture.height * factor)))
    shrinks = Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.BICUBIC
    method = Image.Resampling.NEAREST if factor >= _NEAREST_FROM else shrinks
    picture = tile.picture.resize(size, method)
    brush = ImageDraw.Draw(picture)
    # Many boxes are drawn thinner, so that they do not hide what is in them.
    thick = 3 if len(tile.marks) <= 12 else 2
    for mark in tile.marks:
        left, top, right, bottom = (value * factor for value in mark.box)
        _rectangle(brush, (left, top, max(right, left + 2), max(bottom, top + 2)), mark, thick)
    for mark in tile.marks:
        if mark.text:
            # Names of dashed boxes stand below them: a box of another kind may have much the same corner.
            level = mark.box[3] * factor + 15 if mark.dashed else mark.box[1] * factor
            _label(brush, picture.size, (mark.box[0] * factor, level), mark)
    return picture


def _rectangle(brush: ImageDraw.ImageDraw, box: tuple[float, float, float, float], mark: Mark, width: int) -> None:
    left, top, right, bottom = box
    if not mark.dashed:
        # Over a white line, so that the box is seen on every background.
        brush.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="white", width=width + 2)
        brush.rectangle(box, outline=mark.color, width=width)
        return
    brush.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="white", width=width + 1)
    length, step = 7, 11
    for start in range(int(left), max(int(left) + 1, int(right)), step):
        for level in (top, bottom):
            brush.line((start, level, min(start + length, right), level), fill=mark.color, width=width)
    for start in range(int(top), max(int(top) + 1, int(bottom)), step):
        for level in (left, right):
            brush.line((level, start, level, min(start + length, bottom)), fill=mark.color, width=width)


def _label(brush: ImageDraw.ImageDraw, size: tuple[int, int], corner: tuple[float, float], mark: Mark) -> None:
    letters = font(12)
    level = min(max(0.0, corner[1] - 15), size[1] - 15)
    left, top, right, bottom = brush.textbbox((max(0.0, corner[0]), level), mark.text, letters)
    outside = max(0.0, right + 2 - size[0])
    brush.rectangle((left - outside - 1, top - 1, right - outside + 1, bottom + 1), fill=mark.color)
    brush.text((left - outside, level), mark.text, "black", letters)


def _legend_rows(legend: Sequence[tuple[str, Color]], width: float) -> list[list[tuple[float, str, Color]]]:
    """Returns the lines of a legend: how far to the right each entry is, its name and its color."""
    rows: list[list[tuple[float, str, Color]]] = []
    left = width
    for name, color in legend:
        name = fit(name, 220, 13)
        need = 20 + font(13).getlength(name) + 18
        if left + need > width:
            rows.append([])
            left = 0.0
        rows[-1].append((left, name, color))
        left += need
    return rows
