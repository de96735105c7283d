"""Settings of post-processing: like the knobs of the same names, but with numbers of its own for every class.

What an agent found on kept candidates is deployed by `LoadedDetector.detect(images, settings)`: on the raw boxes of a
detector, by the same function that post-processes its detections (`mapopt.postprocessing.suppress`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from mapopt.errors import ConfigError

SHARED = ("nms_iou", "soft_nms_sigma", "detections")
"""What all classes share."""

PER_CLASS = ("score_threshold", "detections")
"""What every class has of its own, under these names with ``_k``."""


MAX_DETECTIONS = 300
"""Boxes reported per image at most: the upper end of the knob ``detections``."""


class PostProcessingKnobs(Protocol):
    """The knobs that post-processing reads."""

    @property
    def nms_iou(self) -> float:
        """See `PostProcessingSettings.nms_iou`."""

    @property
    def soft_nms_sigma(self) -> float | None:
        """See `PostProcessingSettings.soft_nms_sigma`; None counts as 0."""

    @property
    def detections(self) -> float:
        """See `PostProcessingSettings.detections`; rounded."""

    @property
    def score_threshold(self) -> float:
        """Smallest score reported, in every class."""


@dataclass(frozen=True, kw_only=True)
class PostProcessingSettings:
    """What post-processing does."""

    nms_iou: float
    """Of two boxes of a class that overlap more, the weaker is dropped."""
    soft_nms_sigma: float
    """Above 0, the width of Gaussian Soft-NMS, which then stands in for it."""
    detections: int
    """Boxes reported per image at most."""
    score_thresholds: tuple[float, ...]
    """Smallest score reported, by class."""
    class_detections: tuple[int, ...]
    """Boxes reported per image at most, by class; the limit of all together comes after it."""

    @classmethod
    def of(cls, knobs: PostProcessingKnobs, classes: int) -> PostProcessingSettings:
        """Returns the settings that knobs give a detector: the same for every class, and no limit of a class alone."""
        return cls(
            nms_iou=knobs.nms_iou,
            soft_nms_sigma=knobs.soft_nms_sigma or 0.0,
            detections=round(knobs.detections),
            score_thresholds=(knobs.score_threshold,) * classes,
            class_detections=(MAX_DETECTIONS,) * classes,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, float]) -> PostProcessingSettings:
        """Reads what `as_dict` gave.

        Raises:
            ConfigError: a name is missing or unknown.
        """
        classes = sum(name.startswith("score_threshold_") for name in values)
        if set(values) != set(names_of(classes)):
            raise ConfigError(
                f"settings with {', '.join(values) or 'nothing'}: expected {', '.join(names_of(max(classes, 1)))}, "
                "as info['knobs'] has them"
            )
        return cls(
            nms_iou=float(values["nms_iou"]),
            soft_nms_sigma=float(values["soft_nms_sigma"]),
            detections=int(values["detections"]),
            score_thresholds=tuple(float(values[f"score_threshold_{k}"]) for k in range(classes)),
            class_detections=tuple(int(values[f"detections_{k}"]) for k in range(classes)),
        )

    @property
    def classes(self) -> int:
        """Number of categories."""
        return len(self.score_thresholds)

    def as_dict(self) -> dict[str, float]:
        """Returns name to number, as the names of `names_of`."""
        shared = (self.nms_iou, self.soft_nms_sigma, self.detections)
        return dict(zip(names_of(self.classes), (*shared, *self.score_thresholds, *self.class_detections), strict=True))


def names_of(classes: int) -> tuple[str, ...]:
    """Returns the names of the settings' numbers.

    >>> names_of(2)[2:]
    ('detections', 'score_threshold_0', 'score_threshold_1', 'detections_0', 'detections_1')
    """
    return (*SHARED, *(f"{name}_{k}" for name in PER_CLASS for k in range(classes)))


def check_classes(settings: PostProcessingSettings, classes: int) -> None:
    """Raises ConfigError unless settings have numbers for so many classes."""
    for values, what in ((settings.score_thresholds, "score thresholds"), (settings.class_detections, "limits")):
        if len(values) != classes:
            raise ConfigError(f"{len(values)} {what} were given for {classes} classes: give each one")
