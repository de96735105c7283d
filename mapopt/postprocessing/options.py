"""What is changed of a trained detector's post-processing when it is used: from flags, from a file, by class.

What is left out stays as the detector was trained. A file holds what `PostProcessingSettings.as_dict` gives, which is
``info["knobs"]`` of PostProcessing-v0, or a part of it; classes are numbered there, or named.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mapopt.errors import ConfigError, shown, unknown_name
from mapopt.files import read_record
from mapopt.postprocessing.settings import MAX_DETECTIONS, PER_CLASS, SHARED, PostProcessingSettings

MAX_TILES, MAX_OVERLAP = 64, 0.9
"""In a direction, and of a tile's side."""

_WHAT = "settings of post-processing, such as info['knobs'] of mapopt/PostProcessing-v0 in JSON"


@dataclass(frozen=True, kw_only=True)
class PostProcessingOptions:
    """How the boxes are chosen that a trained detector reports.

    Raises:
        ConfigError: a number is out of its range.
    """

    nms_iou: float | None = None
    """Of two boxes of a class that overlap more, the weaker is dropped; by default as the detector was trained, like
    what follows. Where Soft-NMS is on it is ignored: turn that off with --soft-nms-sigma 0."""
    soft_nms_sigma: float | None = None
    """Width of Gaussian Soft-NMS, which lowers the scores of overlapping boxes, and drops none; 0 turns it off."""
    score_threshold: float | None = None
    """Smallest score reported, in every class."""
    class_thresholds: dict[str, float] = field(default_factory=dict)
    """Smallest score reported of classes by name, such as disc 0.3 box 0.5."""
    detections: int | None = None
    """Boxes reported per image at most."""
    post_processing: Path | None = None
    """JSON file with such settings, such as an agent of mapopt/PostProcessing-v0 found; the flags here win over it."""
    flip: bool = False
    """Look at every image mirrored, too, and put the boxes of both together before suppression: twice the time."""
    tiles: tuple[int, int] | None = None
    """Look at so many rows and columns of tiles of every image, too, each as large as what the detector was trained on,
    for small objects in large images; of a folder or of files, which are read at that size."""
    tile_overlap: float = 0.2
    """Of tiles: the fraction of a tile that it shares with the next."""

    def __post_init__(self) -> None:
        for name in ("nms_iou", "soft_nms_sigma", "score_threshold", "detections"):
            if getattr(self, name) is not None:
                _check(name, getattr(self, name), name)
        if self.tiles is not None and not all(1 <= count <= MAX_TILES for count in self.tiles):
            raise ConfigError(f"tiles is {shown(self.tiles)}: expected rows and columns from 1 to {MAX_TILES}")
        if not 0 <= self.tile_overlap <= MAX_OVERLAP:
            raise ConfigError(f"tile_overlap is {self.tile_overlap}: expected 0 to {MAX_OVERLAP}")
        if self.tiles is None and self.tile_overlap != PostProcessingOptions.tile_overlap:
            raise ConfigError(
                f"tile_overlap is {self.tile_overlap} without tiles: give tiles, such as 2 2, or leave it out"
            )
        for label, value in self.class_thresholds.items():
            _check("score_threshold", value, f"class_thresholds {label}")

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of what is given."""
        default = PostProcessingOptions()
        names = [item.name for item in dataclasses.fields(PostProcessingOptions)]
        return tuple(name for name in names if getattr(self, name) != getattr(default, name))

    def settings_over(
        self, trained: PostProcessingSettings, categories: Sequence[str]
    ) -> PostProcessingSettings | None:
        """Returns the settings that come of it; None where nothing is given that the trained ones do not say.

        Args:
            trained: those that the detector was trained with.
            categories: names of its classes.

        Raises:
            ConfigError: a class is unknown, or the file cannot be used.
        """
        if not self.chosen:
            return None
        values = trained.as_dict()
        if self.post_processing is not None:
            values |= _read(self.post_processing, categories)
        values |= {name: getattr(self, name) for name in SHARED if getattr(self, name) is not None}
        if self.score_threshold is not None:
            values |= {f"score_threshold_{k}": self.score_threshold for k in range(len(categories))}
        for label, value in self.class_thresholds.items():
            values[f"score_threshold_{_position(label, categories, 'class_thresholds')}"] = value
        return PostProcessingSettings.from_dict(values)


def _read(path: Path, categories: Sequence[str]) -> dict[str, float]:
    """Returns the settings in a file by the names of `PostProcessingSettings.as_dict`."""
    record: Mapping[str, Any] = read_record(path, what=_WHAT, remedy="Give another file.", error=ConfigError)
    values: dict[str, float] = {}
    for name, value in record.items():
        own = next((kind for kind in PER_CLASS if name.startswith(f"{kind}_")), "")
        if name not in SHARED and name != "score_threshold" and not own:
            raise ConfigError(f"{path}: {unknown_name('setting', name, (*SHARED, *PER_CLASS))}")
        _check(own or name, value, f"{path}: {name}")
        if own:
            values[f"{own}_{_position(name.removeprefix(f'{own}_'), categories, str(path))}"] = value
        elif name == "score_threshold":
            values = {f"{name}_{k}": value for k in range(len(categories))} | values
        else:
            values[name] = value
    return values


def _position(label: str, categories: Sequence[str], where: str) -> int:
    """Returns a class's position, by its name or by the position itself."""
    if label in categories:
        return list(categories).index(label)
    if label.isdecimal() and int(label) < len(categories):
        return int(label)
    if label.isdecimal():
        raise ConfigError(
            f"{where}: has a class {label}, and the detector has {len(categories)}, 0 to {len(categories) - 1}: give "
            "settings of a detector with the same classes"
        )
    raise ConfigError(f"{where}: {unknown_name('class', label, categories)}")


_RANGES: dict[str, tuple[float, float]] = {
    "nms_iou": (0, 1),
    "soft_nms_sigma": (0, math.inf),
    "score_threshold": (0, 1),
    "detections": (1, MAX_DETECTIONS),
}


def _check(name: str, value: Any, what: str) -> None:
    low, high = _RANGES[name]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= value <= high or not math.isfinite(value) or (name == "detections" and value % 1):
        kind = "a whole number" if name == "detections" else "a number"
        upward = f"from {low}" if high == math.inf else f"from {low} to {high}"
        raise ConfigError(f"{what} is {shown(value)}: expected {kind} {upward}")
