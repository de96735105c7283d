"""What is measured: the IoU thresholds, the area ranges and the numbers of detections of an evaluation.

The defaults are COCO's. Everything else in this package takes them as one checked, frozen value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mapopt.errors import ConfigError

AREA_RANGES: Mapping[str, tuple[float, float]] = {
    "all": (0.0, 1e5**2),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e5**2),
}
"""COCO's area ranges in pixels squared, both ends included."""

MAX_DETECTIONS = (1, 10, 100)
"""COCO's limits on detections per image and category."""

RECALLS = np.linspace(0.0, 1.0, 101)
"""The 101 recall levels at which precision is read; the grid is part of AP's definition."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Settings:
    """What is measured.

    Attributes:
        iou_thresholds: ``[t]`` ascending, each in (0, 1].
        area_names: Names of the area ranges.
        area_limits: ``[a, 2]`` their ends in pixels squared, both included.
        max_detections: Ascending limits on detections per image and category.
    """

    iou_thresholds: NDArray[np.float64]
    area_names: tuple[str, ...]
    area_limits: NDArray[np.float64]
    max_detections: tuple[int, ...]

    @classmethod
    def of(
        cls,
        *,
        iou_thresholds: ArrayLike | None = None,
        area_ranges: Mapping[str, tuple[float, float]] | None = None,
        max_detections: int | Sequence[int] | None = None,
        mode: str = "full",
    ) -> Settings:
        """Checks what was asked for; ``mode="reward"`` keeps the range "all" and the largest limit only.

        Raises:
            ConfigError: If a threshold, a range, a limit or the mode makes no sense.
        """
        if mode not in ("full", "reward"):
            raise ConfigError(f"unknown mode {mode!r}: expected 'full' or 'reward'")
        if iou_thresholds is None and area_ranges is None and max_detections is None:
            return _defaults(mode)
        return cls._checked(iou_thresholds, area_ranges, max_detections, mode)

    @classmethod
    def _checked(
        cls,
        iou_thresholds: ArrayLike | None,
        area_ranges: Mapping[str, tuple[float, float]] | None,
        max_detections: int | Sequence[int] | None,
        mode: str,
    ) -> Settings:
        thresholds = _thresholds(iou_thresholds)
        if (np.diff(thresholds) <= 0).any():
            raise ConfigError(f"iou_thresholds are {thresholds.tolist()}: expected ascending order")
        limits = _limits(max_detections)
        if area_ranges is not None and not isinstance(area_ranges, Mapping):
            raise ConfigError(
                f"area_ranges are {area_ranges!r}: expected names with limits, such as {{'all': (0, 1e10)}}"
            )
        ranges = dict(AREA_RANGES if area_ranges is None else area_ranges)
        if not ranges:
            raise ConfigError("area_ranges is empty: give at least one range, such as {'all': (0, 1e10)}")
        for name, ends in ranges.items():
            if np.shape(ends) != (2,) or not all(isinstance(end, int | float | np.number) for end in ends):
                raise ConfigError(f"area range '{name}' is {ends!r}: expected two numbers, in pixels squared")
            if not ends[0] <= ends[1]:
                raise ConfigError(f"area range '{name}' is ({ends[0]}, {ends[1]}): expected the smaller end first")
        if mode == "reward":
            if "all" not in ranges:
                raise ConfigError(f"mode 'reward' measures the area range 'all': area_ranges has {sorted(ranges)}")
            ranges, limits = {"all": ranges["all"]}, limits[-1:]
        return cls(
            iou_thresholds=thresholds,
            area_names=tuple(ranges),
            area_limits=np.array(list(ranges.values()), np.float64),
            max_detections=limits,
        )

    @property
    def matching_thresholds(self) -> NDArray[np.float64]:
        """The thresholds that IoUs are compared with: pycocotools forgives 1e-10 at 1."""
        return np.minimum(self.iou_thresholds, 1 - 1e-10)

    def outside(self, area: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Returns ``[a, n]``: True where an area lies outside a range."""
        return (area < self.area_limits[:, :1]) | (area > self.area_limits[:, 1:])


@cache
def _defaults(mode: str) -> Settings:
    """COCO's settings, made once: for few images, checking them would take as long as sorting."""
    settings = Settings._checked(None, None, None, mode)
    for array in (settings.iou_thresholds, settings.area_limits):
        array.flags.writeable = False
    return settings


def _thresholds(given: ArrayLike | None) -> NDArray[np.float64]:
    # linspace, not arange: pycocotools' thresholds differ from the decimal ones in the last bit.
    if given is None:
        return np.linspace(0.5, 0.95, 10)
    try:
        thresholds = np.array(given, np.float64)
    except (TypeError, ValueError):
        raise ConfigError(f"iou_thresholds are {given!r}: expected at least one number in (0, 1]") from None
    if thresholds.ndim != 1 or len(thresholds) == 0 or not ((thresholds > 0) & (thresholds <= 1)).all():
        raise ConfigError(f"iou_thresholds are {thresholds.tolist()}: expected at least one number in (0, 1]")
    return thresholds


def _limits(given: int | Sequence[int] | None) -> tuple[int, ...]:
    """Returns ascending limits; one number alone is the only limit."""
    if given is None:
        return MAX_DETECTIONS
    try:
        values = np.atleast_1d(np.asarray(given))
        numbers = [float(value) for value in values.tolist() if not isinstance(value, str | bool)]
    except (TypeError, ValueError):
        numbers = []
    if not numbers or len(numbers) < values.size or any(not 1 <= number < 2**31 or number % 1 for number in numbers):
        shown = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else repr(given)
        raise ConfigError(f"max_detections are {shown}: expected whole numbers from 1 up")
    return tuple(sorted({int(number) for number in numbers}))
