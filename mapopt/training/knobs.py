"""Knobs: the named numbers that may change while a detector trains.

The one dataclass is the configuration section, the command-line flags, an environment's action space, a search space
and the columns of the logs; a range stands beside each number, so that all of them agree on what is allowed. Knobs that
a loss, a detector or an optimizer of one's own declares stand beside ours, by name, in all of these places.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, get_type_hints

from mapopt.errors import ConfigError, unknown_name
from mapopt.fields import LEFT_OUT_AT_DEFAULT, LEFT_OUT_WHEN_EMPTY


@dataclass(frozen=True)
class Range:
    """The closed interval a knob lives in, and whether its natural scale is logarithmic.

    Raises:
        ConfigError: the interval is empty, not finite, or logarithmic with a scale that does not begin inside, above 0.

    >>> round(Range(0.0, 0.1, log=True, scale_from=0.001).from_unit(0.0), 9)
    0.01
    """

    low: float
    high: float
    log: bool = False
    scale_from: float | None = None
    """Where the unit scale begins, if not at `low`: of a logarithmic range from 0, which is a knob that is off."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(f"a range from {self.low} to {self.high}: expected finite numbers, the lower one first")
        if self.scale_from is not None and not self.low <= self.scale_from < self.high:
            raise ConfigError(
                f"a range from {self.low} to {self.high} with scale_from {self.scale_from}: expected a number inside"
            )
        if self.log and self.begin <= 0:
            raise ConfigError(
                f"a logarithmic range from {self.low} to {self.high}: expected it to begin above 0, or its scale to "
                "do so (scale_from)"
            )

    @property
    def begin(self) -> float:
        """Where the unit scale begins."""
        return self.low if self.scale_from is None else self.scale_from

    def to_unit(self, value: float) -> float:
        """Maps ``[low, high]`` to ``[-1, 1]``, on the knob's own scale; what lies below the scale is -1."""
        low, high = self.begin, self.high
        value = value if self.scale_from is None else max(value, low)
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return 2 * (value - low) / (high - low) - 1

    def from_unit(self, unit: float) -> float:
        """Maps ``[-1, 1]`` to ``[low, high]``, or to what of it is on the scale; what lies outside is clipped."""
        fraction, begin = (min(max(unit, -1.0), 1.0) + 1) / 2, self.begin
        if self.log:
            return self.clip(math.exp(math.log(begin) + fraction * math.log(self.high / begin)))
        return self.clip(begin + fraction * (self.high - begin))

    def clip(self, value: float) -> float:
        """Returns the nearest value inside the range."""
        return min(max(value, self.low), self.high)


OPEN_KNOBS = {"lr": 0.2, "weight_decay": 5e-4, "class_weight": 1.0, "assign_iou": 0.4, "soft_nms_sigma": 0.0}
"""Knobs that can be left open, and what they count as where nothing settles them."""

BY_RECIPE = ("lr", "weight_decay", "class_weight", "soft_nms_sigma")
"""Those that a recipe settles. The others a task leaves to its controller."""


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """What may change while a detector trains.

    Raises:
        ConfigError: a value lies outside its range or is not finite.
    """

    lr: Annotated[float | None, Range(1e-5, 3.0, log=True)] = None
    """Learning rate of this moment, warm-up and decay included; where it is left open, a task takes its optimizer's,
    and without a task it counts as 0.2. With optimizers that find their own it is a factor of it."""
    weight_decay: Annotated[float | None, Range(1e-7, 1.0, log=True)] = None
    """Of convolutions and linear layers; norms and biases never decay. Where it is left open, a task takes its
    optimizer's, and without a task it counts as 0.0005."""
    momentum: Annotated[float, Range(0.0, 0.99)] = 0.9
    """SGD's momentum, or the first beta of AdamW and its relatives."""
    box_weight: Annotated[float, Range(0.05, 20.0, log=True)] = 1.0
    """Factor of the box loss."""
    class_weight: Annotated[float | None, Range(0.05, 20.0, log=True)] = None
    """Factor of the class loss; where it is left open, a task takes the one that its loss starts from, and without a
    task it counts as 1."""
    focal_gamma: Annotated[float, Range(0.0, 5.0)] = 2.0
    """How strongly the focal loss discounts what is already easy."""
    surrogate_weight: Annotated[float, Range(0.0, 1.0)] = 1.0
    """Fraction of the recipe's ranking loss in the class loss; the rest is its `blend_with`, by default focal loss.
    Where the recipe has a `reward`, the fraction of that; the rest is its loss. Ignored without either."""
    assign_iou: Annotated[float | None, Range(0.05, 0.9)] = None
    """IoU of its prior from which a location is a positive of an object; every object keeps its best location. Where it
    is left open, the schedule raises it from 0.25 to 0.55 over the run, and other controllers take 0.4."""
    augment: Annotated[float, Range(0.0, 1.0)] = 0.3
    """Strength of the augmentation; 0 is none. Kinds that the recipe gives numbers of their own do not follow it."""
    nms_iou: Annotated[float, Range(0.1, 0.95)] = 0.6
    """Of two boxes of a class that overlap more, the weaker is dropped; ignored with Soft-NMS."""
    score_threshold: Annotated[float, Range(0.0, 0.95)] = 0.0
    """Boxes with a smaller score are not reported. AP can only fall with it, and a ranking loss sets no scale of
    scores: any fixed threshold above 0 may cut off all its boxes."""
    soft_nms_sigma: Annotated[float | None, Range(0.0, 1.0)] = None
    """Width of Gaussian Soft-NMS: the scores of a class's overlapping boxes decay by ``exp(-iou ** 2 / sigma)`` where
    hard suppression at `nms_iou` drops the weaker; 0 is hard suppression. Where it is left open, a task takes its
    detector's, 0.5 with the tiny one, and without a task it counts as 0.

    Reference: N. Bodla et al., "Soft-NMS - Improving Object Detection With One Line of Code", ICCV 2017, equation 3.
    """
    detections: Annotated[float, Range(1.0, 300.0, log=True)] = 100.0
    """Boxes reported per image at most, rounded."""
    batch_fraction: Annotated[float, Range(0.25, 1.0, log=True)] = 1.0
    """Fraction of the recipe's batch that a step trains on, rounded to 1/4, 1/2 or 1. A round keeps its images, so
    a half takes twice the steps."""
    temperature: Annotated[float, Range(0.1, 10.0, log=True)] = 1.0
    """Width of a ranking loss's soft step relative to its own: it ranks scores / temperature. An error-driven gradient
    has no scale of its own and passes unscaled. Where the recipe has a `reward`, rankings are drawn by
    scores / temperature. Ignored without either."""
    step_ratio: Annotated[float, Range(0.0, 0.3, log=True, scale_from=1e-5)] = field(
        default=0.0, metadata=LEFT_OUT_AT_DEFAULT
    )
    """Length of every step over the length of the weights, in place of what the optimizer makes of the learning rate;
    0 is off. Typical are 0.0003 to 0.01. Weight decay is a part of the step."""
    augment_kinds: Annotated[float, Range(0.0, 1.0)] = field(default=1.0, metadata=LEFT_OUT_AT_DEFAULT)
    """Factor of the probabilities of all kinds of augmentation that the recipe names; 0 is none of them. Ignored where
    it names none."""
    own: dict[str, float] = field(default_factory=dict, hash=False, metadata=LEFT_OUT_WHEN_EMPTY)
    """Knobs that the recipe's own loss, detector or optimizer declares, such as {margin: 0.3}; a task fills in those
    that are not given."""

    def __post_init__(self) -> None:
        for name, bounds in ranges().items():
            if getattr(self, name) is not None or name not in OPEN_KNOBS:
                _check(name, getattr(self, name), bounds)
        for name, value in self.own.items():
            if name in ranges() or not name.isidentifier():
                raise ConfigError(
                    f"own knob '{name}': expected a name in letters that is none of {', '.join(ranges())}"
                )
            _check(name, value, None)
        object.__setattr__(self, "own", {name: float(value) for name, value in self.own.items()})

    def get(self, name: str) -> float:
        """Returns a knob's value, whether it is ours or an own one."""
        if name in self.own:
            return self.own[name]
        if name not in ranges():
            raise ConfigError(unknown_name("knob", name, [*ranges(), *self.own]))
        return self._value(name)

    def _value(self, name: str) -> float:
        value = getattr(self, name)
        return float(OPEN_KNOBS[name] if value is None else value)

    def replace(self, **changes: float) -> Knobs:
        """Returns a copy with some knobs turned; of the own ones those that are there.

        >>> Knobs(own={"margin": 0.5}).replace(lr=0.1, margin=0.3).get("margin")
        0.3
        """
        for name in changes:
            if name not in ranges() and name not in self.own:
                raise ConfigError(unknown_name("knob", name, [*ranges(), *self.own]))
        ours = {name: value for name, value in changes.items() if name not in self.own}
        own = {name: changes.get(name, value) for name, value in self.own.items()}
        return dataclasses.replace(self, own=own, **ours)

    def filled_from(self, others: Knobs) -> Knobs:
        """Returns the knobs with what they leave open taken from others.

        >>> Knobs(lr=0.1).filled_from(Knobs(class_weight=0.25)).class_weight
        0.25
        """
        missing = {name: getattr(others, name) for name in OPEN_KNOBS if getattr(self, name) is None}
        return dataclasses.replace(self, **missing) if any(value is not None for value in missing.values()) else self

    def settled(self) -> Knobs:
        """Returns the knobs with what they leave open as it counts without a task.

        >>> Knobs().settled().lr
        0.2
        """
        return self.filled_from(Knobs.from_record(OPEN_KNOBS))

    def settled_by(self, values: Mapping[str, float]) -> Knobs:
        """Returns the knobs with those of the values that they leave open.

        >>> Knobs(lr=0.1).settled_by({"lr": 0.2, "class_weight": 0.5}).as_dict()["class_weight"]
        0.5
        """
        missing: dict[str, Any] = {name: value for name, value in values.items() if getattr(self, name) is None}
        return dataclasses.replace(self, **missing) if missing else self

    def check(self, known: Mapping[str, Range]) -> None:
        """Raises ConfigError unless the own knobs are those of a task, each inside its range.

        Args:
            known: name -> range of all of the task's knobs, as `mapopt.training.Task.ranges`.
        """
        for name in known:
            if name not in ranges() and name not in self.own:
                raise ConfigError(f"knob {name} has no value: start from the task's knobs, or give it among `own`")
        for name, value in self.own.items():
            if name not in known:
                raise ConfigError(unknown_name("knob", name, known))
            _check(name, value, known[name])

    def as_dict(self) -> dict[str, float]:
        """Returns name to value: ours in the order of declaration, then the own ones."""
        return {name: self._value(name) for name in ranges()} | self.own

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], known: Mapping[str, Range] | None = None) -> Knobs:
        """Builds knobs from a mapping such as a configuration file's section.

        Args:
            values: name -> value of those that differ from their defaults.
            known: name -> range of all knobs there are, as `mapopt.training.Recipe.ranges`; by default of ours.

        Raises:
            ConfigError: a knob is unknown or out of range.
        """
        names = ranges() if known is None else known
        for name in values:
            if name not in names:
                raise ConfigError(unknown_name("knob", str(name), names))
        knobs = cls.from_record(values)
        for name, value in knobs.own.items():
            _check(name, value, names[name])
        return knobs

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Knobs:
        """Reads what `as_dict` wrote: what is none of our knobs is an own one."""
        ours = {name: value for name, value in record.items() if name in ranges()}
        return cls(**ours, own={name: value for name, value in record.items() if name not in ranges()})


@cache
def ranges() -> dict[str, Range]:
    """Returns every knob's range, in the order of declaration."""
    hints = get_type_hints(Knobs, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}


def _check(name: str, value: Any, bounds: Range | None) -> None:
    """Raises ConfigError unless a knob's value is a finite number inside its range."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigError(f"knob {name} is {value!r}: expected a finite number")
    if bounds is not None and not bounds.low <= value <= bounds.high:
        raise ConfigError(f"knob {name} is {value:g}: expected {bounds.low:g} to {bounds.high:g}")


def blend(start: Knobs, end: Knobs, fraction: float) -> Knobs:
    """Returns the knobs a fraction of the way from one setting to another, linearly.

    >>> round(blend(Knobs(lr=0.1), Knobs(lr=0.3), 0.5).lr, 3)
    0.2
    """
    ours: dict[str, Any] = {}
    own = {}
    for name, bounds in ranges().items():
        if getattr(start, name) is None and getattr(end, name) is None:
            continue
        first, last = start.get(name), end.get(name)
        ours[name] = bounds.clip(first + fraction * (last - first))
    for name, last in end.own.items():
        first = start.get(name)
        # No range is known here; between its ends a knob stays where rounding might carry it out.
        own[name] = min(max(first + fraction * (last - first), min(first, last)), max(first, last))
    return Knobs(**ours, own=own)
