"""A set as its files say it, unchecked: what an audit looks at, where the readers for training would stop.

Boxes may have no area or lie outside, categories and sizes may be unknown. What cannot be read at all is a finding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mapopt.data.auditing.findings import Finding

Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class RawSet:
    """What the files of a set say.

    Attributes:
        part: train, val, test or whole.
        file_names: ``I`` names of images; may repeat.
        paths: ``I`` places of the images; the files need not be there.
        sizes: int64 ``[I, 2]`` width and height as annotated; 0 where the files do not say.
        category_names: ``K`` names.
        category_ids: int64 ``[K]``.
        boxes: float64 ``[N, 4]`` corners in pixels; never NaN.
        labels: int64 ``[N]`` positions in the categories.
        images: int64 ``[N]`` positions in the images.
        crowd: bool ``[N]``.
        area: float64 ``[N]``, NaN where the files do not say.
        places: ``N`` texts that say where an object is written.
        findings: what could not be read.
    """

    part: str
    file_names: tuple[str, ...]
    paths: tuple[Path, ...]
    sizes: NDArray[np.int64]
    category_names: tuple[str, ...]
    category_ids: NDArray[np.int64]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    area: NDArray[np.float64]
    places: tuple[str, ...]
    findings: tuple[Finding, ...] = ()


@dataclass
class RawRows:
    """Collects the objects of a set while its files are read."""

    part: str
    boxes: list[list[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)
    area: list[float] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add(
        self, box: list[float], label: int, image: int, place: str, *, crowd: bool = False, area: float = np.nan
    ) -> None:
        """Adds an object."""
        self.boxes.append(box)
        self.labels.append(label)
        self.images.append(image)
        self.crowd.append(crowd)
        self.area.append(area)
        self.places.append(place)

    def report(self, kind: str, place: str, message: str, image: str = "") -> None:
        """Adds a finding."""
        self.findings.append(Finding(kind, self.part, place, message, image=image))

    def finish(
        self,
        file_names: list[str],
        paths: list[Path],
        sizes: list[tuple[int, int]],
        categories: dict[int, str],
    ) -> RawSet:
        """Returns the set."""
        return RawSet(
            part=self.part,
            file_names=tuple(file_names),
            paths=tuple(paths),
            sizes=np.array(sizes, dtype=np.int64).reshape(-1, 2),
            category_names=tuple(categories.values()),
            category_ids=np.array(list(categories), dtype=np.int64),
            boxes=np.array(self.boxes, dtype=np.float64).reshape(-1, 4),
            labels=np.array(self.labels, dtype=np.int64),
            images=np.array(self.images, dtype=np.int64),
            crowd=np.array(self.crowd, dtype=np.bool_),
            area=np.array(self.area, dtype=np.float64),
            places=tuple(self.places),
            findings=tuple(self.findings),
        )
