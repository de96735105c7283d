"""Knobs: the named numbers that may change while a detector trains.

The one dataclass is the configuration section, the command-line flags, an environment's action space, a search space
and the columns of the logs; a range stands beside each number, so that all of them agree on what is allowed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_type_hints

import numpy as np

from mapopt.errors import ConfigError, unknown_name


@dataclass(frozen=True)
class Range:
    """The closed interval a knob lives in, and whether its natural scale is logarithmic."""

    low: float
    high: float
    log: bool = False

    def to_unit(self, value: float) -> float:
        """Maps ``[low, high]`` to ``[-1, 1]``, on the knob's own scale."""
        if self.log:
            low, high, value = math.log(self.low), math.log(self.high), math.log(value)
        else:
            low, high = self.low, self.high
        return 2 * (value - low) / (high - low) - 1

    def from_unit(self, unit: float) -> float:
        """Maps ``[-1, 1]`` to ``[low, high]``; what lies outside is clipped."""
        fraction = (min(max(unit, -1.0), 1.0) + 1) / 2
        if self.log:
            return self.clip(math.exp(math.log(self.low) + fraction * math.log(self.high / self.low)))
        return self.clip(self.low + fraction * (self.high - self.low))

    def clip(self, value: float) -> float:
        """Returns the nearest value inside the range."""
        return min(max(value, self.low), self.high)


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """What may change while a detector trains.

    Raises:
        ConfigError: a value lies outside its range or is not finite.
    """

    lr: Annotated[float, Range(1e-5, 3.0, log=True)] = 0.2
    """Learning rate of this moment, warm-up and decay included."""
    weight_decay: Annotated[float, Range(1e-7, 1e-1, log=True)] = 5e-4
    """Decoupled from norms and biases, which never decay."""
    momentum: Annotated[float, Range(0.0, 0.99)] = 0.9
    """SGD's momentum, or AdamW's first beta."""
    box_weight: Annotated[float, Range(0.05, 20.0, log=True)] = 1.0
    """Factor of the box loss."""
    class_weight: Annotated[float, Range(0.05, 20.0, log=True)] = 1.0
    """Factor of the class loss."""
    focal_gamma: Annotated[float, Range(0.0, 5.0)] = 2.0
    """How strongly the focal loss discounts what is already easy."""
    surrogate_weight: Annotated[float, Range(0.0, 1.0)] = 1.0
    """Share of the recipe's ranking loss in the class loss; the rest is focal. Without a ranking loss it has no say."""
    assign_iou: Annotated[float, Range(0.05, 0.9)] = 0.3
    """IoU of its prior from which a location is a positive of an object; every object keeps its best location."""
    augment: Annotated[float, Range(0.0, 1.0)] = 0.3
    """Strength of the augmentation; 0 is none."""
    nms_iou: Annotated[float, Range(0.1, 0.95)] = 0.6
    """Of two boxes of a class that overlap more, the weaker is dropped."""
    score_threshold: Annotated[float, Range(0.0, 0.95)] = 0.0
    """Boxes with a smaller score are not reported. AP can only fall with it, and a ranking loss sets no scale of
    scores: any fixed threshold above 0 may cut off all its boxes."""
    soft_nms_sigma: Annotated[float, Range(0.0, 1.0)] = 0.0
    """Width of Gaussian Soft-NMS: the scores of a class's overlapping boxes decay by ``exp(-iou ** 2 / sigma)`` where
    hard suppression at `nms_iou` drops the weaker; 0 is hard suppression.

    Reference: N. Bodla et al., "Soft-NMS - Improving Object Detection With One Line of Code", ICCV 2017, equation 3.
    """
    detections: Annotated[float, Range(1.0, 300.0, log=True)] = 100.0
    """Boxes reported per image at most, rounded."""
    batch_fraction: Annotated[float, Range(0.25, 1.0, log=True)] = 1.0
    """Share of the recipe's batch that a step trains on, rounded to 1/4, 1/2 or 1. A round's images stay the same, so a
    half takes twice the steps."""
    temperature: Annotated[float, Range(0.1, 10.0, log=True)] = 1.0
    """Width of a ranking loss's soft step relative to its own: it ranks scores / temperature. An error-driven gradient
    has no scale of its own and passes unscaled. Without a ranking loss it has no say."""

    def __post_init__(self) -> None:
        for name, bounds in ranges().items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ConfigError(f"knob {name} is {value!r}: expected a finite number")
            if not bounds.low <= value <= bounds.high:
                raise ConfigError(f"knob {name} is {value:g}: expected {bounds.low:g} to {bounds.high:g}")

    def replace(self, **changes: float) -> Knobs:
        """Returns a copy with some knobs turned."""
        for name in changes:
            if name not in ranges():
                raise ConfigError(unknown_name("knob", name, ranges()))
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, float]:
        """Returns name to value, in the order of declaration."""
        return {name: float(getattr(self, name)) for name in ranges()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Knobs:
        """Builds knobs from a mapping such as a configuration file's section."""
        return cls().replace(**values)


@cache
def ranges() -> dict[str, Range]:
    """Returns every knob's range, in the order of declaration."""
    hints = get_type_hints(Knobs, include_extras=True)
    return {field.name: hints[field.name].__metadata__[0] for field in dataclasses.fields(Knobs)}


def blend(start: Knobs, end: Knobs, fraction: float) -> Knobs:
    """Returns the knobs a fraction of the way from one setting to another, linearly.

    >>> round(blend(Knobs(lr=0.1), Knobs(lr=0.3), 0.5).lr, 3)
    0.2
    """
    first, last = start.as_dict(), end.as_dict()
    mixed = {name: ranges()[name].clip(first[name] + fraction * (last[name] - first[name])) for name in first}
    return Knobs(**mixed)


class KnobSpace:
    """A choice of knobs as a box ``[-1, 1]^n``: an action space, or a search space.

    >>> space = KnobSpace(["momentum"])
    >>> space.from_unit([0.0], Knobs()).momentum
    0.495
    """

    def __init__(self, names: Sequence[str]) -> None:
        if not names:
            raise ConfigError("no knob was chosen: name at least one of " + ", ".join(ranges()))
        for name in names:
            if name not in ranges():
                raise ConfigError(unknown_name("knob", name, ranges()))
        if len(set(names)) != len(names):
            raise ConfigError(f"a knob is named twice in {', '.join(names)}: name each once")
        self.names = tuple(names)

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KnobSpace) and self.names == other.names

    def __hash__(self) -> int:
        return hash(self.names)

    def __repr__(self) -> str:
        return f"KnobSpace({list(self.names)})"

    def to_unit(self, knobs: Knobs) -> np.ndarray:
        """Returns float64 ``[n]``, each chosen knob on its own scale."""
        return np.array([ranges()[name].to_unit(getattr(knobs, name)) for name in self.names])

    def from_unit(self, units: Sequence[float] | np.ndarray, base: Knobs) -> Knobs:
        """Returns `base` with the chosen knobs set from ``[n]`` numbers in [-1, 1]."""
        if len(units) != len(self.names):
            raise ConfigError(f"{len(units)} numbers were given for the {len(self.names)} knobs {list(self.names)}")
        chosen = {name: ranges()[name].from_unit(float(unit)) for name, unit in zip(self.names, units, strict=True)}
        return base.replace(**chosen)

    def shift(self, offsets: Sequence[float] | np.ndarray, base: Knobs, *, scale: float) -> Knobs:
        """Moves the chosen knobs away from `base`; zero offsets return `base` itself, bit for bit.

        Args:
            offsets: ``[n]`` numbers in [-1, 1].
            base: where to start from.
            scale: what an offset of 1 means: a factor of ``scale`` on a logarithmic knob, and on a linear one a
                move by ``log10(reach) / 2`` of its range.
        """
        if len(offsets) != len(self.names):
            raise ConfigError(f"{len(offsets)} numbers were given for the {len(self.names)} knobs {list(self.names)}")
        changes: dict[str, float] = {}
        for name, offset in zip(self.names, offsets, strict=True):
            bounds, value, move = ranges()[name], getattr(base, name), min(max(float(offset), -1.0), 1.0)
            if move == 0.0:
                continue
            if bounds.log:
                changes[name] = bounds.clip(value * scale**move)
            else:
                changes[name] = bounds.clip(value + move * math.log10(scale) / 2 * (bounds.high - bounds.low))
        return base.replace(**changes) if changes else base
