"""The parameters of procedural scenes, apart from what draws them: flags are read and checked without torch."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real

from mapopt.data.outlines import CLASSES
from mapopt.errors import ConfigError

MAX_SEED = 2**48 - 1
"""Seeds go from 0 to this."""


@dataclass(frozen=True, kw_only=True)
class ShapesConfig:
    """The parameters of procedural scenes.

    Raises:
        ConfigError: a parameter is out of its range; the message names it.
    """

    size: int = 48
    """Pixels of a side, 16 to 512."""
    classes: int = 3
    """How many kinds of shapes, 1 to 12: disc, box, triangle, ring, cross, star, hexagon, half-disc, arrow, hourglass,
    angle, gear."""
    objects: tuple[int, int] = (1, 6)
    """Smallest and largest number of objects of a scene, 0 to 40. A crowded one may have fewer, see `occlusion`."""
    object_size: tuple[float, float] = (10.0, 28.0)
    """Shortest and longest side, in pixels, of the larger side of an object's box, 4 to `size`."""
    imbalance: float = 1.0
    """How many times as frequent the first class is as the last, 1 to 100; those between are spaced evenly."""
    clutter: float = 1.0
    """Mean number of distractors in a scene, 0 to 20: lines, bars and blobs that are no object."""
    color: float = 0.7
    """How much a class has a color of its own, 0 to 1: at 0 only the outline tells, at 1 the color alone does."""
    occlusion: float = 0.3
    """Largest fraction of an object that may be hidden or outside, 0 to 0.9. What would be hidden more is left out."""
    noise: float = 0.03
    """The sensor's noise: its standard deviation, 0 to 0.5 of full scale."""
    label_noise: float = 0.0
    """Fraction of the objects, 0 to 1, whose annotation is wrong: missing, another class, or a shifted box."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("size", 16, 512),
            ("classes", 1, len(CLASSES)),
            ("imbalance", 1, 100),
            ("clutter", 0, 20),
            ("color", 0, 1),
            ("occlusion", 0, 0.9),
            ("noise", 0, 0.5),
            ("label_noise", 0, 1),
        ):
            check_range(name, getattr(self, name), low, high, whole=name in ("size", "classes"))
        for name, low, high in (("objects", 0, 40), ("object_size", 4, self.size)):
            value = getattr(self, name)
            if not isinstance(value, (tuple, list)) or len(value) != 2:
                raise ConfigError(f"{name} is {value!r}. Expected two numbers, the lowest and the highest.")
            for bound in value:
                check_range(name, bound, low, high, whole=name == "objects")
            if value[0] > value[1]:
                raise ConfigError(f"{name} is {tuple(value)}. Expected the lower number first.")
            object.__setattr__(self, name, tuple(value))


def check_range(name: str, value: object, low: float, high: float, *, whole: bool = False) -> None:
    """Raises ConfigError unless `value` is a number (a whole one, if asked) from `low` to `high`."""
    kind = "a whole number" if whole else "a number"
    # numpy registers its numbers with these, so that it need not be imported here.
    allowed = Integral if whole else Real
    if isinstance(value, bool) or not isinstance(value, allowed) or not low <= float(value) <= high:
        raise ConfigError(f"{name} is {value!r}. Expected {kind} from {low} to {high}.")
