"""The record of a run: one round after the other, in plain numbers.

A controller decides from these alone, so a trained policy sees in a real run exactly what it saw in its environment.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mapopt.fields import LEFT_OUT_AT_DEFAULT, LEFT_OUT_WHEN_EMPTY
from mapopt.former_names import translate
from mapopt.settings import from_mapping
from mapopt.training.knobs import OPEN_KNOBS, Knobs, ranges
from mapopt.training.ramps import Via, checked_via, points_of

if TYPE_CHECKING:
    from mapopt.metrics import Report

JSON_LINES = "rounds.jsonl"
"""Name of the file with the rounds of a run: one `Round.as_dict()` a line."""

Measure = Literal["calibration", "operating_point", "limits", "loss", "components", "gradient_agreement"]
"""What can be measured of every round beside AP, where somebody asks for it."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """What happened between two decisions."""

    images: int
    """Images trained."""
    steps: int
    seconds: float
    """By the clock; in a fleet, the lane's part of it."""
    class_loss: float
    """Mean over the steps, weighted."""
    box_loss: float
    gradient_norm: float
    """Mean over the steps, before clipping."""
    gradient_norm_max: float
    clipped: float
    """Fraction of the steps whose gradient was clipped."""
    update_ratio: float
    """Mean length of a step over the length of the weights."""
    diverged: bool
    """A loss or gradient was not finite; the weights are those before it."""
    gradient_ratio: float = -1.0
    """Mean length of the gradient, before clipping, over the length of the weights; -1 in records without it."""
    weight_norm: float = -1.0
    """Length of the weights at the end; -1 in records without it."""
    processor_seconds: float | None = None
    """Of the processor, on all its cores, which neighbors do not stretch; None in records without it."""
    gradient_agreement: float | None = field(default=None, metadata=LEFT_OUT_AT_DEFAULT)
    """Mean cosine between the gradients of a step and of the step before it, inside the interval; None unless
    "gradient_agreement" is measured, and of a single step."""
    components: dict[str, float] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """Mean over the steps of every component of the losses by its name, without weights; empty unless "components" are
    measured."""
    skipped: int = field(default=0, metadata=LEFT_OUT_AT_DEFAULT)
    """Steps that were left out because a gradient did not fit into float16. What is a mean of gradients, steps or
    weights is one over the others."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The part of a report that is kept for every round. Undefined numbers are -1."""

    ap: float
    ap50: float
    ap75: float
    ar100: float
    per_category: tuple[float, ...]
    calibration_error: float = -1.0
    """Expected calibration error of the detections at IoU .5; -1 unless "calibration" is measured."""
    f1: float = -1.0
    """F1 at IoU .5 of all reported boxes, as the knobs let them pass; -1 unless "operating_point" is measured."""
    best_f1: float = -1.0
    """F1 at IoU .5 at every category's best score threshold; -1 unless "operating_point" is measured."""
    lrp: float = -1.0
    """Localization recall precision error of all reported boxes, 0 good and 1 bad; -1 unless "operating_point" is
    measured."""
    optimal_lrp: float = -1.0
    """The same error at every category's best score threshold; -1 unless "operating_point" is measured."""
    ap_perfect_boxes: float = -1.0
    """AP if every box near an object of its category were that object's; -1 unless "limits" is measured."""
    ap_perfect_ranking: float = -1.0
    """AP if the same boxes were ranked by how well they fit; -1 unless "limits" is measured."""
    class_loss: float = -1.0
    """The class loss without its weight, on the split's images as they are; -1 unless "loss" is measured."""
    box_loss: float = -1.0
    """The box loss, likewise."""
    components: dict[str, float] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """Every component of these losses by its name; empty unless "loss" and "components" are measured."""

    @classmethod
    def of(cls, report: Report, **measured: Any) -> Scores:
        """Takes the numbers out of a report, and what was measured beside it by the names of the fields."""
        return cls(
            ap=float(report.ap),
            ap50=float(report.ap50),
            ap75=float(report.ap75),
            ar100=float(report.ar100),
            per_category=tuple(float(value) for value in report.per_category.values()),
            **measured,
        )

    @classmethod
    def failed(cls, categories: int, *, measures: Sequence[Measure] = ()) -> Scores:
        """Returns the scores of a diverged run; it has no detections that could be calibrated."""
        worst: dict[str, Any] = {"f1": 0.0, "best_f1": 0.0, "lrp": 1.0, "optimal_lrp": 1.0}
        at_worst = worst if "operating_point" in measures else {}
        return cls(ap=0.0, ap50=0.0, ap75=0.0, ar100=0.0, per_category=(0.0,) * categories, **at_worst)


@dataclass(frozen=True, kw_only=True)
class Round:
    """One decision, the interval that followed, and its report."""

    index: int
    knobs: Knobs
    """At the end of the interval."""
    ramp_from: Knobs | None
    """At its beginning, where the knobs moved during it."""
    interval: Interval
    val: Scores
    images: int
    """Images trained since the run began."""
    evaluated: int
    """Images evaluated since the run began."""
    seconds: float
    """Of training and evaluation since the run began, by the clock; in a fleet, the lane's part of it."""
    processor_seconds: float | None = None
    """Of the processor, likewise; None in records without it, and after them."""
    via: Via = ()
    """Where the knobs passed on the way from `ramp_from`: fractions of the interval, each with the knobs there."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "via", checked_via(self.via, self.ramp_from))

    @property
    def points(self) -> Via:
        """The way of the knobs through the interval: fractions of it from 0 to 1, each with the knobs there."""
        return points_of(self.ramp_from, self.via, self.knobs)

    def as_dict(self) -> dict[str, Any]:
        """Returns plain numbers for a line of JSON."""
        record = dataclasses.asdict(self)
        via = [[fraction, knobs] for fraction, knobs in record.pop("via")]
        for knobs in (record["knobs"], record["ramp_from"], *(knobs for _, knobs in via)):
            if knobs is not None:
                knobs |= knobs.pop("own")
                _leave_out(Knobs, knobs)
        _leave_out(Interval, record["interval"])
        _leave_out(Scores, record["val"])
        # Records of rounds without bends are those of before there were any.
        record |= {"via": via} if via else {}
        record["val"]["per_category"] = list(self.val.per_category)
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], where: str = "a round") -> Round:
        """Reads what `as_dict` wrote.

        Args:
            record: plain values.
            where: what the messages call their source.

        Raises:
            ConfigError: a value is missing, unknown, of a wrong type or out of its range.
        """
        values = dict(translate(record, "round"))
        for name in ("knobs", "ramp_from"):
            if isinstance(values.get(name), Mapping):
                values[name] = _with_own(values[name])
        if isinstance(values.get("via"), list | tuple):
            values["via"] = [_point(point) for point in values["via"]]
        return from_mapping(cls, values, where)


def _leave_out(cls: type, record: dict[str, Any]) -> None:
    """Removes what records from before it do not have from one where it says nothing."""
    for item in dataclasses.fields(cls):
        silent = item.metadata.get("default") == "left out" and record[item.name] == item.default
        if silent or (item.metadata.get("empty") == "left out" and item.name in record and not record[item.name]):
            del record[item.name]


def _with_own(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a record's knobs, what there was not yet as it counts without a task, those of none of ours in `own`."""
    ours = OPEN_KNOBS | {name: value for name, value in knobs.items() if name in ranges()}
    own = {name: value for name, value in knobs.items() if name not in ranges()}
    return {**ours, "own": own} if own else ours


def _point(point: Any) -> Any:
    """Returns a record's point on the way with its own knobs under `own`."""
    if isinstance(point, list | tuple) and len(point) == 2 and isinstance(point[1], Mapping):
        return [point[0], _with_own(point[1])]
    return point
