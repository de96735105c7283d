"""The kinds of augmentation that a recipe names, each with its own numbers; those that it leaves open are as ever.

Six kinds are always there and follow the knob `augment`, the one strength for all: flip, scale, brightness, contrast,
saturation and noise. A number given here takes the place of that strength, for its kind alone. All others are off
until they are named. The knob `augment_kinds` is a factor of the probabilities of what is named here, so that a
schedule or an agent can turn it down, and off.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mapopt.data.augmentation.naming import check_text, name_of
from mapopt.errors import ConfigError, shown
from mapopt.fields import LEFT_OUT_AT_DEFAULT, LEFT_OUT_WHEN_EMPTY
from mapopt.settings import from_mapping

MIN_VISIBLE = 0.3
"""Fraction of its area that a box has to keep."""


def _own(default: Any) -> Any:
    """Returns a field that files and hashes know nothing of at its default."""
    return field(default=default, metadata=LEFT_OUT_AT_DEFAULT)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Kinds of augmentation with strengths and probabilities of their own; the others follow the knob augment.

    Numbers that are null follow the knob. Probabilities are those of an image.

    Raises:
        ConfigError: a number is outside its range, belongs to a kind that is off, or settings have no transform.

    >>> Augmentation(mosaic=0.5, rotate=15).kinds
    ('mosaic', 'rotate')
    """

    flip: float | None = _own(None)
    """Probability of mirroring left and right; by default as large as the knob augment, 0.5 at the most."""
    flip_vertical: float = _own(0.0)
    """Probability of mirroring top and bottom."""
    quarter_turns: float = _own(0.0)
    """Probability of a turn by 90, 180 or 270 degrees; in a frame that is not square, by 90 and 270 the image shrinks
    until it fits."""
    rotate: float = _own(0.0)
    """Rotate by up to so many degrees either way, 0 to 180. Boxes become those around the rotated boxes: looser."""
    rotate_probability: float = _own(1.0)
    """Of rotate."""
    scale: float | None = _own(None)
    """Largest factor by which an image grows or shrinks, 1 to 4: 1.5 is from 1/1.5 to 1.5. What grows is cropped at
    random, what shrinks is placed at random."""
    scale_probability: float = _own(1.0)
    """Of scale, where it is given."""
    perspective: float = _own(0.0)
    """Move each corner inwards by up to this fraction of half a side, 0 to 0.8."""
    perspective_probability: float = _own(1.0)
    """Of perspective."""
    brightness: float | None = _own(None)
    """Multiply by 1 less this to 1 plus this, 0 to 1."""
    brightness_probability: float = _own(1.0)
    """Of brightness, where it is given."""
    contrast: float | None = _own(None)
    """As brightness, of the difference to the image's mean gray."""
    contrast_probability: float = _own(1.0)
    """Of contrast, where it is given."""
    saturation: float | None = _own(None)
    """As brightness, of the difference to gray."""
    saturation_probability: float = _own(1.0)
    """Of saturation, where it is given."""
    hue: float = _own(0.0)
    """Turn colors by up to this fraction of the circle either way, 0 to 0.5."""
    hue_probability: float = _own(1.0)
    """Of hue."""
    noise: float | None = _own(None)
    """Largest standard deviation of Gaussian noise in each channel, of 255, 0 to 100."""
    noise_probability: float = _own(1.0)
    """Of noise, where it is given."""
    blur: float = _own(0.0)
    """Largest standard deviation of a Gaussian blur, in pixels, 0 to 10."""
    blur_probability: float = _own(1.0)
    """Of blur."""
    mosaic: float = _own(0.0)
    """Probability of four images in one: the frame is cut at a random place, and a random crop of an image fills each
    part."""
    mosaic_zoom: float = _own(1.0)
    """Largest scale of an image in a mosaic, 0.1 to 2; the smallest is the one that fills its part."""
    mixup: float = _own(0.0)
    """Probability of blending another image into an image; the boxes of both stay."""
    mixup_weight: float = _own(0.5)
    """Largest weight of the other image, above 0 to 0.5."""
    copy_paste: float = _own(0.0)
    """Probability of pasting objects of another image, as the rectangles of their boxes, at random places."""
    copy_paste_objects: int = _own(3)
    """How many objects at the most, 1 to 50."""
    cut_out: float = _own(0.0)
    """Probability of a gray rectangle."""
    cut_out_size: float = _own(0.3)
    """Its largest side as a fraction of the frame's, above 0 to 1."""
    transform: str = _own("")
    """module:attribute of a transform of your own, which comes last: one of torchvision.transforms.v2, its class, a
    function of (image, target), or a function that makes one. In Python an object will do that stands in a module."""
    transform_settings: dict[str, int | float | bool | str] = field(
        default_factory=dict, hash=False, metadata=LEFT_OUT_WHEN_EMPTY
    )
    """What a class or a function of transforms is made with."""
    min_visible: float = _own(MIN_VISIBLE)
    """Fraction of its area that a box has to keep, of all that crops it or covers it, to stay an object; 0 to 1."""

    def __post_init__(self) -> None:
        if not isinstance(self.transform, str):
            object.__setattr__(self, "transform", name_of(self.transform))
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and low <= value <= high):
                raise ConfigError(f"augmentation: {name} is {shown(value)}: expected {low:g} to {high:g}")
        for name in ("cut_out_size", "mixup_weight"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"augmentation: {name} is {getattr(self, name)}: expected a number above 0")
        if self.copy_paste_objects != int(self.copy_paste_objects):
            raise ConfigError(f"augmentation: copy_paste_objects is {self.copy_paste_objects}: expected a whole number")
        for name, of in BELONGS_TO.items():
            if getattr(self, name) != _DEFAULTS[name] and not getattr(self, of):
                value = getattr(self, of)
                raise ConfigError(
                    f"augmentation: {name} is {shown(getattr(self, name))}, and {of} is "
                    f"{'not given' if value in (None, '') else f'{value:g}'}: give {of} too, or leave {name} out"
                )
        if self.transform:
            check_text(self.transform)

    @classmethod
    def of(cls, fields: Mapping[str, Any], where: str = "augmentation") -> Augmentation:
        """Returns settings from plain values by name; a transform may be an object, too.

        Raises:
            ConfigError: as the class, or a name is unknown or a value of another type.

        >>> Augmentation.of({"rotate": 15}).rotate
        15.0
        """
        given = fields.get("transform", "")
        named = {} if isinstance(given, str) else {"transform": name_of(given)}
        return from_mapping(cls, {**fields, **named}, where)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that are named and can happen, in the order in which they do."""
        return tuple(name for name in KINDS if getattr(self, name) not in (None, 0.0, "") and self._happens(name))

    def _happens(self, name: str) -> bool:
        return getattr(self, f"{name}_probability", 1.0) > 0 and not (name == "scale" and self.scale == 1)

    @property
    def composes(self) -> bool:
        """Whether a sample takes more than the kinds that are always there: then it is made image by image."""
        return any(name not in FOLLOWING for name in self.kinds)


FOLLOWING = ("flip", "scale", "brightness", "contrast", "saturation", "noise")
"""The kinds that are always there, and follow the knob `augment` where nothing is given."""

KINDS = (
    *("mosaic", "copy_paste", "flip_vertical", "quarter_turns", "rotate", "perspective", "mixup", "blur", "hue"),
    *("flip", "scale", "brightness", "contrast", "saturation", "noise", "cut_out", "transform"),
)
"""All kinds, in the order in which they happen."""

BELONGS_TO = {
    **{
        f"{name}_probability": name
        for name in ("rotate", "scale", "perspective", "brightness", "contrast", "saturation", "hue", "noise", "blur")
    },
    "mosaic_zoom": "mosaic",
    "mixup_weight": "mixup",
    "copy_paste_objects": "copy_paste",
    "cut_out_size": "cut_out",
    "transform_settings": "transform",
}
"""A number -> the kind that it is about, without which it would do nothing."""

RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("flip", "flip_vertical", "quarter_turns", "mosaic", "mixup", "copy_paste"), (0.0, 1.0)),
    **{name: (0.0, 1.0) for name in BELONGS_TO if name.endswith("_probability")},
    **dict.fromkeys(("brightness", "contrast", "saturation", "cut_out", "cut_out_size", "min_visible"), (0.0, 1.0)),
    "rotate": (0.0, 180.0),
    "scale": (1.0, 4.0),
    "perspective": (0.0, 0.8),
    "hue": (0.0, 0.5),
    "noise": (0.0, 100.0),
    "blur": (0.0, 10.0),
    "mosaic_zoom": (0.1, 2.0),
    "mixup_weight": (0.0, 0.5),
    "copy_paste_objects": (1, 50),
}
"""Every number -> the smallest and the largest that it can be."""

_DEFAULTS: dict[str, Any] = {
    item.name: {} if item.name == "transform_settings" else item.default for item in dataclasses.fields(Augmentation)
}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


NONE = Augmentation()
"""Nothing named: the one strength for all."""
