"""The audit of a data set: reads it, looks at every image once, and returns all findings in order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapopt.data.auditing.boxes import check_boxes, check_pairs
from mapopt.data.auditing.classes import check_classes, objects_by_class, size_statistics
from mapopt.data.auditing.findings import BY_MODEL, KINDS, SEVERITIES, Finding, Price, Severity, TrainedPrice, ranked
from mapopt.data.auditing.images import check_images, check_placement
from mapopt.data.auditing.leaks import check_leaks
from mapopt.data.auditing.pictures import Look, look_at, no_look
from mapopt.data.auditing.raw import RawSet
from mapopt.data.auditing.reading import read_raw_sets
from mapopt.data.layouts import Layout
from mapopt.errors import ConfigError, unknown_name
from mapopt.passes import steps
from mapopt.wording import speaks_python

_OF_IMAGES = (
    "shifted_file", "missing_image", "unreadable_image", "wrong_size", "turned", "turned_upright", "leak_file",
    "leak_picture", "same_file", "same_picture",
)  # fmt: skip
"""Kinds that are found only by looking at the images."""


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found.

    Attributes:
        data: what was audited.
        sets: what its files say.
        findings: what is wrong or good to know, in the order of `mapopt.data.auditing.findings.KINDS`.
        seen_sizes: of each set, int64 ``[I, 2]`` width and height of the image files; 0 where none was seen.
        prices: what AP of each set gains when all findings of a kind are mended; where detectors looked at the labels.
        trained_prices: what val AP gains when detectors are trained on mended labels; where that was asked for.
        notes: sentences on the detectors that looked at them.
    """

    data: str
    sets: Sequence[RawSet]
    findings: Sequence[Finding]
    seen_sizes: Sequence[NDArray[np.int64]]
    prices: Sequence[Price] = ()
    trained_prices: Sequence[TrainedPrice] = ()
    notes: Sequence[str] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many findings of each kind there are, of kinds that there are."""
        counts = dict.fromkeys(KINDS, 0)
        for finding in self.findings:
            counts[finding.kind] += 1
        return {kind: count for kind, count in counts.items() if count}

    @property
    def worst(self) -> Severity | None:
        """The highest severity; None where nothing was found."""
        severities = {finding.severity for finding in self.findings}
        return next((severity for severity in SEVERITIES if severity in severities), None)

    def of(self, kind: str) -> list[Finding]:
        """Returns the findings of a kind, the clearest first."""
        return [finding for finding in self.findings if finding.kind == kind]

    def suspect_images(self) -> list[dict[str, Any]]:
        """Returns the images in which detectors contradict labels, first those with most faults to be expected.

        What is to be expected is the sum of the confidences.
        """
        expected: dict[tuple[str, str], float] = {}
        for finding in self.findings:
            if finding.kind in BY_MODEL and finding.figure is not None:
                place = (finding.part, finding.image)
                expected[place] = expected.get(place, 0.0) + finding.figure
        ordered = sorted(expected.items(), key=lambda item: -item[1])
        return [{"part": part, "image": image, "expected": faults} for (part, image), faults in ordered]

    def document(self) -> dict[str, Any]:
        """Returns plain values: counts, classes, sizes and every finding."""
        return {
            "data": self.data,
            "sets": {raw.part: {"images": len(raw.file_names), "objects": len(raw.labels)} for raw in self.sets},
            "counts": self.counts,
            "worst": self.worst,
            "classes": objects_by_class(self.sets),
            "sizes": size_statistics(self.sets),
            "findings": [finding.document() for finding in self.findings],
            **({"prices": [price.document() for price in self.prices]} if self.prices else {}),
            **({"images": self.suspect_images()} if self.prices or self.notes else {}),
            **({"trained_prices": [price.document() for price in self.trained_prices]} if self.trained_prices else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
        }


@speaks_python
def audit(
    data: str | Path,
    *,
    layout: Layout = "auto",
    kinds: Collection[str] = (),
    images: bool = True,
    workers: int = 0,
) -> Audit:
    """Finds what is wrong with a data set, without a model: `mapopt audit` from Python.

    Args:
        data: a folder of COCO, Pascal VOC or YOLO, a YOLO ``data.yaml``, or a COCO ``.json``.
        layout: what `data` is; ``"auto"`` finds out.
        kinds: look for these kinds alone, see `mapopt.data.auditing.findings.KINDS`; by default for all.
        images: whether image files are looked at; without, labels and names alone are checked.
        workers: threads that decode images; 0 decodes in this one. The result is the same.

    Raises:
        DataError: nothing is recognized, or a file cannot be read at all.
        ConfigError: there is no such kind, or `data` can be read in several ways.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ConfigError(unknown_name("kind of finding", str(kind), KINDS))
        if kind in BY_MODEL:
            raise ConfigError(
                f"'{kind}' is found by detectors alone: give mapopt audit a --model or --folds, or call "
                "mapopt.evaluation.audit_labels"
            )
    if workers < 0:
        raise ConfigError(f"workers is {workers}: expected 0 or more")
    raws = read_raw_sets(data, layout=layout)
    wanted = set(kinds) or set(KINDS)
    findings = [finding for raw in raws for finding in raw.findings]
    for raw in raws:
        findings += check_boxes(raw)
        findings += check_pairs(raw)
    findings += check_classes(raws)
    looking = images and wanted & set(_OF_IMAGES)
    looks = _look(raws, workers) if looking else [[no_look(b"", "not looked at")] * len(raw.file_names) for raw in raws]
    if looking:
        findings += check_placement(raws, looks) if "shifted_file" in wanted else []
    for raw, own in zip(raws, looks, strict=True):
        findings += [f for f in check_images(raw, own) if looking or f.kind == "empty"]
    findings += check_leaks(raws, looks)
    seen = [np.array([look.size for look in own], dtype=np.int64).reshape(-1, 2) for own in looks]
    return Audit(str(data), raws, ranked([finding for finding in findings if finding.kind in wanted]), seen)


def _look(raws: Sequence[RawSet], workers: int) -> list[list[Look]]:
    """Returns what every image of every set looks like."""
    places = [
        (path, (int(width), int(height)))
        for raw in raws
        for path, (width, height) in zip(raw.paths, raw.sizes, strict=True)
    ]
    seen: list[Look] = []
    with steps("looking at", len(places), "images") as work, ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(workers)) if workers else None
        paths, sizes = [path for path, _ in places], [size for _, size in places]
        for look in pool.map(look_at, paths, sizes) if pool else map(look_at, paths, sizes):
            seen.append(look)
            work.advance(len(seen))
    rest = iter(seen)
    return [[next(rest) for _ in raw.file_names] for raw in raws]
