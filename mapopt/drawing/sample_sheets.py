"""Sheets of pictures from a training: its samples with their boxes, and what its detector finds on the val split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mapopt.data.augmentation.settings import NONE, Augmentation
from mapopt.data.images import ImageSet
from mapopt.data.palette import category_color
from mapopt.drawing.tiles import Mark, Tile, draw_sheet
from mapopt.evaluation.findings import Findings
from mapopt.evaluation.numbers import short
from mapopt.training.samples import Boxed, Sample

PICTURES = 16
"""On a sheet."""
_HIT, _MISS, _ALARM = category_color(2), category_color(1), category_color(7)
"""Green, blue and red; misses are dashed as well."""
_COLORED = 10
"""Categories that colors distinguish; with more in sight, boxes have their names beside them."""
_NAMED = 10
"""Boxes in a picture that have a name beside them; with more of them the names would hide the picture."""
_LEGEND = 24
"""Names in a legend."""


def draw_samples(samples: Sequence[Sample], categories: Sequence[str], *, title: str, about: str) -> Image.Image:
    """Returns a sheet of augmented training samples with their boxes, the color of each being its category's."""
    marks = _marks([sample.after for sample in samples], categories)
    tiles = [Tile(Image.fromarray(sample.after.pixels), own) for sample, own in zip(samples, marks, strict=True)]
    return draw_sheet(tiles, title=title, about=about, legend=_legend([s.after for s in samples], categories))


def draw_pairs(
    samples: Sequence[Sample], categories: Sequence[str], names: Sequence[str], *, title: str, about: str
) -> Image.Image:
    """Returns a sheet of training samples before augmentation and, to the right of each, after it.

    Args:
        samples: what to show.
        categories: their names.
        names: of the images' files by position.
        title: of the sheet.
        about: a sentence or two.
    """
    boxed = [side for sample in samples for side in (sample.before, sample.after)]
    tiles = []
    for number, (side, own) in enumerate(zip(boxed, _marks(boxed, categories), strict=True)):
        file_name = names[samples[number // 2].position]
        tiles.append(Tile(Image.fromarray(side.pixels), own, "augmented" if number % 2 else file_name or "as it is"))
    return draw_sheet(tiles, title=title, about=about, legend=_legend(boxed, categories))


def draw_hits(findings: Findings, images: ImageSet, *, about: str) -> Image.Image:
    """Returns a sheet of pictures with hits, misses and false alarms of a detector.

    Args:
        findings: of the images, which the ground truth names by their positions.
        images: with their pixels.
        about: a sentence on what they are.
    """
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.permutation(len(images))[:PICTURES])
    truth, detections, table = findings.truth, findings.predictions.detections, findings.analysis.table
    names, threshold = truth.notes.category_names, findings.score_threshold
    kept = detections.scores >= threshold
    taken = np.zeros(len(truth.boxes), bool)
    hits, alarms = kept & table.correct[:, 0], kept & table.wrong[:, 0]
    taken[table.truth[hits, 0]] = True
    missed = table.counted & ~taken
    tiles = []
    for position in chosen.tolist():
        scale = float(images.scale[position])
        own = [np.flatnonzero(which & (detections.image_ids == position)) for which in (hits, alarms)]
        lost = np.flatnonzero(missed & (truth.boxes.image_ids == position))
        named = len(own[1]) + len(lost) <= _NAMED
        marks = [Mark(_box(detections.boxes[row] * scale), _HIT) for row in own[0].tolist()]
        for row in lost.tolist():
            text = names[int(truth.boxes.labels[row])] if named else ""
            marks.append(Mark(_box(truth.boxes.boxes[row] * scale), _MISS, text, dashed=True))
        for row in own[1].tolist():
            text = f"{names[int(detections.labels[row])]} {detections.scores[row]:.2f}" if named else ""
            marks.append(Mark(_box(detections.boxes[row] * scale), _ALARM, text))
        pixels = np.ascontiguousarray(images.pixels[position].permute(1, 2, 0).numpy())
        counts = f"{len(own[0])} hit, {len(lost)} missed, {len(own[1])} false"
        words = ", ".join(filter(None, [counts, images.annotations.file_names[position]]))
        tiles.append(Tile(Image.fromarray(pixels), marks, words))
    objects = int(table.counted.sum())
    text = (
        f"{about} Boxes that score at least {short(threshold)}, which is best for F1; a hit has the "
        f"right category and an IoU of {short(findings.questions.iou, digits=2)} or more. On all {len(images)} images: "
        f"{int(hits.sum())} of {objects} objects hit, {int(alarms.sum())} false alarms."
    )
    legend = [("hit", _HIT), ("missed object (dashed)", _MISS), ("false alarm", _ALARM)]
    return draw_sheet(tiles, title="Hits, misses and false alarms", about=text, legend=legend)


def describe_strength(strengths: NDArray[np.float64], given: Augmentation = NONE) -> str:
    """Says how strong an augmentation is, and which kinds have numbers of their own."""
    low, high = float(strengths.min()), float(strengths.max())
    span = short(low, digits=2) if low == high else f"{short(low, digits=2)} to {short(high, digits=2)}"
    kinds = ", ".join(kind.replace("_", "-") for kind in given.kinds)
    if not kinds:
        return f"with augmentation of strength {span}" if high else "without augmentation"
    return f"with augmentation of strength {span} and with {kinds}" if high else f"with {kinds}"


def _marks(boxed: Sequence[Boxed], categories: Sequence[str]) -> list[list[Mark]]:
    """Returns the boxes of every picture in the colors of their categories, crowd regions dashed."""
    names_needed = len(_present(boxed)) > _COLORED
    return [
        [
            Mark(
                _box(box),
                category_color(label),
                categories[label] if names_needed and len(side.labels) <= _NAMED else "",
                dashed=crowd,
            )
            for box, label, crowd in zip(side.boxes, side.labels.tolist(), side.crowd.tolist(), strict=True)
        ]
        for side in boxed
    ]


def _legend(boxed: Sequence[Boxed], categories: Sequence[str]) -> list[tuple[str, tuple[int, int, int]]]:
    """Returns the categories in sight, the most frequent of them where there are many, in their own order."""
    present = _present(boxed)
    frequent = sorted(present, key=lambda label: -present[label])[:_LEGEND]
    legend = [(categories[label], category_color(label)) for label in sorted(frequent)]
    others = len(present) - len(frequent)
    return [*legend, *([(f"and {others} more", (255, 255, 255))] if others else [])]


def _present(boxed: Iterable[Boxed]) -> dict[int, int]:
    """Returns how many boxes every category has that has one."""
    counts: dict[int, int] = {}
    for side in boxed:
        for label in side.labels.tolist():
            counts[label] = counts.get(label, 0) + 1
    return counts


def _box(row: Iterable[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(value) for value in row)
    return left, top, right, bottom
