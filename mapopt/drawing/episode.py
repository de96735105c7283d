"""An episode as a picture: AP and knobs over time beside one val image, drawn from a `RenderScene`."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mapopt.data.palette import category_color
from mapopt.drawing.scenes import RenderedImage, RenderedKnob, RenderScene

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Rectangle


def draw_scene(scene: RenderScene, *, width: int = 960) -> np.ndarray:
    """Draws AP and knobs over the whole budget beside one val image.

    The layout follows from the number of knobs and the size of the image alone, and axes show whole ranges; so the
    pictures of an episode make a video that does not jump.

    Args:
        scene: what to show; without an image the right half stays empty.
        width: in pixels; the height is 9/16 of it.

    Returns:
        uint8 ``[height, width, 3]``.

    >>> from mapopt.training.knobs import Range
    >>> knob = RenderedKnob(name="lr", values=(0.2,), range=Range(1e-5, 3.0, log=True))
    >>> draw_scene(RenderScene(title="shapes-train-3", rounds=20, ap=(0.125,), knobs=(knob,))).shape
    (540, 960, 3)
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        # What a notebook has set for its own figures stays out of a video.
        matplotlib.rcdefaults()
        figure = Figure(figsize=(_WIDTH / 100, _HEIGHT / 100), dpi=100 * width / _WIDTH, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        # One pair of axes in pixels: panels with axes and ticks of their own would take a second a picture.
        page = figure.add_axes((0, 0, 1, 1), xlim=(0, _WIDTH), ylim=(_HEIGHT, 0))
        page.set_axis_off()
        _draw_title(page, scene)
        columns, rows, high = _grid(len(scene.knobs))
        _draw_ap(page, scene, high)
        first = _TOP + high + 54
        wide, tall = (_MIDDLE + 54) / columns, (_HEIGHT - first) / max(rows, 1)
        for place, knob in enumerate(scene.knobs):
            row, column = divmod(place, columns)
            box = (_LEFT + column * wide, first + row * tall, wide - 54, tall - 28)
            _draw_knob(page, knob, scene, box, numbered=place + columns >= len(scene.knobs))
        if scene.image is not None:
            _draw_image(page, scene.image, scene)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


_WIDTH, _HEIGHT = 960, 540
"""Of the layout, whose numbers are pixels from the upper left; a larger picture is this one enlarged."""
_LEFT, _TOP, _MIDDLE, _RIGHT = 50, 82, 520, 940
"""Where panels begin, how wide they are together, and where the picture ends."""

_INK, _FAINT, _GRID_LINE, _PRESENT, _BASELINE = "#222222", "#8a8a8a", "#e6e6e6", "#0072b2", "#d55e00"

_CROWDED = 12
"""Boxes from which on scores would hide what is seen."""
_NAMED = 16
"""Categories that the legend has room for."""


@dataclass(frozen=True, kw_only=True)
class _Panel:
    """A rectangle of the page with a scale from round 0 to the last, and one of values."""

    left: float
    top: float
    width: float
    height: float
    rounds: int
    low: float
    high: float
    log: bool = False

    def across(self, rounds: float | np.ndarray) -> Any:
        return self.left + self.width * np.asarray(rounds) / self.rounds

    def down(self, values: float | Sequence[float]) -> Any:
        # A knob that is off, at 0, lies below a logarithmic scale.
        at = np.maximum(values, self.low / 2) if self.log else np.asarray(values)
        low, high, at = (np.log(x) if self.log else np.asarray(x) for x in (self.low, self.high, at))
        return self.top + self.height * (1 - np.clip((at - low) / (high - low), -0.02, 1.02))


def _grid(knobs: int) -> tuple[int, int, int]:
    """Returns columns and rows of the knobs' panels, and the height that is left for AP."""
    columns = 1 if knobs <= 1 else 2 if knobs <= 4 else 3
    rows = -(-knobs // columns)
    return columns, rows, {0: 400, 1: 240, 2: 180, 3: 140}.get(rows, 105)


def _draw_title(page: Axes, scene: RenderScene) -> None:
    name, _, details = scene.title.partition(": ")
    _write(page, (20, 12), textwrap.shorten(name, 70, placeholder=" ..."), size=13, bold=True)
    _write(page, (20, 36), textwrap.shorten(details, 120, placeholder=" ..."), size=8.5, color="#555555")
    _write(page, (_RIGHT, 12), f"{scene.step} {len(scene.ap)} of {scene.rounds}", size=13, bold=True, align="right")
    if any(knob.baseline for knob in scene.knobs):
        _write(page, (_RIGHT, 36), "orange: the baseline's knobs", size=8.5, color=_BASELINE, align="right")


def _draw_ap(page: Axes, scene: RenderScene, height: float) -> None:
    """Draws AP so far, the best of it, and the present round."""
    from matplotlib.ticker import MaxNLocator

    best = max(scene.ap, default=0.0)
    top = scene.ap_limit or next((limit for limit in (0.25, 0.5, 0.75) if best <= limit), 1.0)
    panel = _Panel(left=_LEFT, top=_TOP, width=_MIDDLE, height=height, rounds=scene.rounds, low=0.0, high=top)
    ticks = [
        float(tick) for tick in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(0.0, top) if 0 <= tick <= top + 1e-9
    ]
    _draw_scales(page, panel, [(tick, f"{tick:.2f}") for tick in ticks], len(scene.ap), size=8.5, numbered=True)
    _write(page, (_LEFT + _MIDDLE / 2, panel.top + height + 16), scene.step, size=8.5, align="center")
    now = f" {scene.ap[-1]:.3f}" if scene.ap else ""
    _write(page, (_LEFT, panel.top - 6), f"{scene.measure}{now}", size=11, bold=True, above=True)
    if not scene.ap:
        return
    round_of_best = scene.ap.index(best) + 1
    note = f"best {best:.3f} in {scene.step} {round_of_best}"
    _write(page, (_LEFT + _MIDDLE, panel.top - 6), note, size=9, color="#666666", align="right", above=True)
    level = panel.down(best)
    page.plot([panel.left, panel.left + panel.width], [level, level], color=_FAINT, linewidth=1, dashes=(4, 3))
    page.plot(*_points(panel, scene.ap), color=_PRESENT, linewidth=1.8, marker="o", markersize=3.5)
    page.plot([panel.across(round_of_best)], [level], "o", markersize=8, mfc="none", mec=_FAINT)


def _draw_knob(
    page: Axes, knob: RenderedKnob, scene: RenderScene, box: tuple[float, float, float, float], *, numbered: bool
) -> None:
    """Draws one knob on its own scale, with the baseline's value where that is known."""
    left, top, width, height = box
    low, high = knob.limits or (knob.range.begin, knob.range.high)
    panel = _Panel(
        left=left, top=top, width=width, height=height, rounds=scene.rounds, low=low, high=high, log=knob.range.log
    )
    ticks = [(tick, _short(tick, 2)) for tick in _knob_ticks(low, high, log=knob.range.log)]
    _draw_scales(page, panel, ticks, len(scene.ap), size=7.5, numbered=numbered)
    _write(page, (left, top - 3), knob.name, size=8, above=True)
    if knob.values:
        value = _short(knob.values[-1], 3)
        _write(page, (left + width, top - 3), value, size=8, bold=True, color=_PRESENT, align="right", above=True)
    page.plot(*_points(panel, knob.baseline), color=_BASELINE, linewidth=0.9)
    page.plot(*_points(panel, knob.values), color=_PRESENT, linewidth=1.4, marker="o", markersize=2)


def _draw_scales(
    page: Axes, panel: _Panel, ticks: Sequence[tuple[float, str]], played: int, *, size: float, numbered: bool
) -> None:
    """Draws both scales with their grid, and a line at the present round."""
    from matplotlib.collections import LineCollection
    from matplotlib.ticker import MaxNLocator

    right, bottom = panel.left + panel.width, panel.top + panel.height
    marks = [int(mark) for mark in MaxNLocator(5, integer=True).tick_values(0, panel.rounds) if mark <= panel.rounds]
    levels, places = [float(panel.down(tick)) for tick, _ in ticks], [float(panel.across(mark)) for mark in marks]
    grid = [((panel.left, level), (right, level)) for level in levels]
    grid += [((place, panel.top), (place, bottom)) for place in places]
    page.add_collection(LineCollection(grid, colors=_GRID_LINE, linewidths=0.8, zorder=0), autolim=False)
    page.plot([panel.left, panel.left, right], [panel.top, bottom, bottom], color=_FAINT, linewidth=0.8, zorder=1)
    now = panel.across(played)
    page.plot([now, now], [panel.top, bottom], color=_PRESENT, linewidth=0.8, alpha=0.45, zorder=1)
    for level, (_, text) in zip(levels, ticks, strict=True):
        page.text(panel.left - 4, level, text, fontsize=size, color=_INK, ha="right", va="center_baseline")
    if numbered:
        for place, mark in zip(places, marks, strict=True):
            _write(page, (place, bottom + 4), str(mark), size=size, align="center")


def _knob_ticks(low: float, high: float, *, log: bool) -> list[float]:
    """Returns what a knob's scale names: its ends, and powers of ten where a logarithmic one has several."""
    if not log:
        return [low, high]
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last <= first:
        return [low, high]
    return [10.0**power for power in range(last, first - 1, -max(1, (last - first) // 2))]


def _draw_image(page: Axes, image: RenderedImage, scene: RenderScene) -> None:
    """Draws the val image with its ground truth and as many of the strongest boxes as that has."""
    from matplotlib.patches import Rectangle

    left, room = 596, _RIGHT - 596
    rows, columns = image.pixels.shape[:2]
    scale = page.figure.dpi / 100
    # Whole factors where the image is enlarged, so that its pixels are squares of one size.
    factor = room * scale / max(rows, columns)
    factor = (math.floor(factor) if factor >= 1 else factor) / scale
    extent = (left, left + factor * columns, _TOP + factor * rows, _TOP)
    smoothing = "nearest" if factor * scale >= 1 else "antialiased"
    page.imshow(image.pixels, extent=extent, interpolation=smoothing, aspect="auto")
    page.set(xlim=(0, _WIDTH), ylim=(_HEIGHT, 0))
    frame = Rectangle((left, _TOP), factor * columns, factor * rows, transform=page.transData)
    strongest = np.argsort(-image.scores, kind="stable")[: len(image.true_boxes)]
    corner = np.array([left, _TOP, left, _TOP])
    # The strongest is drawn last, on top; the ground truth, being dashed, hides nothing.
    for place in strongest[::-1]:
        _draw_box(page, corner + factor * image.boxes[place], int(image.labels[place]), frame, dashed=False)
    for box, label in zip(image.true_boxes, image.true_labels, strict=True):
        _draw_box(page, corner + factor * box, int(label), frame, dashed=True)
    for place in strongest[::-1] if len(strongest) <= _CROWDED else ():
        x, y = corner[:2] + factor * np.maximum(image.boxes[place, :2], 0)
        paper = {"facecolor": _color(int(image.labels[place])), "edgecolor": "none", "pad": 0.6}
        text = page.text(x, max(y - 1, _TOP + 11), f"{image.scores[place]:.2f}", fontsize=7, bbox=paper)
        text.set_clip_path(frame)
    _write(page, (left, _TOP - 6), "One val image", size=11, bold=True, above=True)
    below = _TOP + factor * rows + 7
    objects = "1 object" if len(image.true_boxes) == 1 else f"{len(image.true_boxes)} objects"
    _write(page, (left, below), f"dashed: ground truth, {objects}; solid: as many strongest boxes", size=7.5)
    for place, name in enumerate(scene.categories[:_NAMED]):
        x, y = left + place % 4 * 86, below + 18 + place // 4 * 15
        page.add_patch(Rectangle((x, y), 10, 10, facecolor=_color(place), edgecolor=_FAINT, linewidth=0.6))
        _write(page, (x + 14, y - 1), name if len(name) <= 11 else f"{name[:9]}...", size=7.5)


def _draw_box(page: Axes, box: np.ndarray, label: int, frame: Rectangle, *, dashed: bool) -> None:
    """Draws a box inside a frame, over a white line, so that it is seen on every background."""
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = (float(value) for value in box)
    ground, dash = (2.4, (0, (3, 1.2))) if dashed else (3.2, "-")
    lines = (("white", ground, "-"), (_color(label), 1.5, dash))
    for color, width, style in lines:
        outline = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=color, linewidth=width, linestyle=style)
        page.add_patch(outline)
        outline.set_clip_path(frame)


def _write(
    page: Axes,
    place: tuple[float, float],
    text: str,
    *,
    size: float,
    bold: bool = False,
    color: str = _INK,
    align: Literal["left", "center", "right"] = "left",
    above: bool = False,
) -> None:
    """Writes text that begins, ends or is centered at a place's x, and hangs from its y or stands on it."""
    weight = "bold" if bold else "normal"
    page.text(*place, text, fontsize=size, fontweight=weight, color=color, ha=align, va="baseline" if above else "top")


def _points(panel: _Panel, values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the values at the ends of rounds 1, 2, ... lie on the page."""
    return panel.across(np.arange(1, len(values) + 1)), panel.down(values)


def _color(label: int) -> tuple[float, float, float]:
    red, green, blue = category_color(label)
    return red / 255, green / 255, blue / 255


def _short(value: float, digits: int) -> str:
    """Returns a number in few characters.

    >>> _short(1e-5, 3), _short(0.000553, 3), _short(0.2, 3), _short(20.0, 2)
    ('1e-5', '5.5e-4', '0.2', '20')
    """
    text = f"{value:.{digits}g}" if value == 0 or abs(value) >= 1e-3 else f"{value:.1e}"
    mantissa, separator, exponent = text.partition("e")
    return f"{float(mantissa):g}{separator}{int(exponent)}" if separator else text
