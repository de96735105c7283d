"""What the figures of comparisons and benchmarks show, as plain values: whoever measured something fills them.

Nothing here needs matplotlib, so that a figure's content is made, passed on and tested without drawing it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mapopt.metrics.statistics import Estimate


@dataclass(frozen=True, eq=False, kw_only=True)
class Curve:
    """A line with a band, each ``[points]``."""

    method: str
    label: str
    x: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class Trajectory:
    """One knob over the images trained, a curve per method."""

    knob: str
    log: bool
    curves: tuple[Curve, ...]


@dataclass(frozen=True, kw_only=True)
class FinalScore:
    """A method's test APs, of all categories together or of the rarest one."""

    method: str
    label: str
    ap: Estimate
    values: tuple[float, ...]
    """Of the runs that did not diverge, by seed."""
    diverged: int
    difference: Estimate | None
    """To the reference's, on common seeds."""
    reference: bool


@dataclass(frozen=True, kw_only=True)
class OverallScore:
    """A method's test AP on every task."""

    method: str
    label: str
    by_task: tuple[Estimate, ...]
    overall: Estimate
    difference: Estimate | None
    """To the reference's over all tasks, on common seeds."""
    reference: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class Picture:
    """One test picture with boxes.

    Attributes:
        pixels: ``[h, w, 3]`` bytes.
        boxes: ``[n, 4]`` xyxy, in pixels.
        labels: ``[n]`` positions among the categories.
        scores: ``[n]``, or None for the ground truth.
    """

    pixels: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None


@dataclass(frozen=True, eq=False, kw_only=True)
class PictureRow:
    """The same test pictures with the boxes of one source: the ground truth, or a method's run."""

    label: str
    note: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Page:
    """What every figure has."""

    name: str
    """Of its file, without the ending."""
    title: str
    caption: str


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoresPage(Page):
    """A row of test APs per method."""

    rows: tuple[FinalScore, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class OverallPage(Page):
    """A row of test APs on every task per method."""

    rows: tuple[OverallScore, ...]
    tasks: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class CurvesPage(Page):
    """Val AP over the course of training, a curve per method."""

    curves: tuple[Curve, ...]
    against: Literal["images", "seconds"]


@dataclass(frozen=True, eq=False, kw_only=True)
class ProfilesPage(Page):
    """The fraction of runs that reach a fraction of the best method's AP, a curve per method."""

    curves: tuple[Curve, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class KnobsPage(Page):
    """A panel per knob."""

    trajectories: tuple[Trajectory, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class PicturesPage(Page):
    """Pictures side by side, a row per source."""

    rows: tuple[PictureRow, ...]
    categories: tuple[str, ...]


AnyPage = ScoresPage | OverallPage | ProfilesPage | CurvesPage | KnobsPage | PicturesPage
"""Every kind of page that a comparison has."""


@dataclass(frozen=True, kw_only=True)
class GrowthLine:
    """What one loss costs against the length of its list."""

    name: str
    sizes: tuple[int, ...]
    values: tuple[float, ...]
    color: str | None = None
    """None for what stays in the background."""
    dash: Literal["-", "--", ":"] = "-"
    bold: bool = False
    """Whether its name is."""


@dataclass(frozen=True, eq=False, kw_only=True)
class GrowthPage(Page):
    """A line a loss, on logarithmic axes."""

    lines: tuple[GrowthLine, ...]
    unit: str
    """Of the values, such as "milliseconds"."""
    guide: GrowthLine | None = None
    """The line through whose last point n log n is drawn."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TimesPanel:
    """What evaluators take on one set of images, in milliseconds by their names; the first is the reference."""

    set: str
    times: dict[str, float]


@dataclass(frozen=True, eq=False, kw_only=True)
class TimesPage(Page):
    """A panel a set of images, a row an evaluator."""

    panels: tuple[TimesPanel, ...]
    names: tuple[str, ...]
    """Every evaluator of any panel, in the order of the rows."""
    highlighted: frozenset[str]
    """Evaluators in color."""
