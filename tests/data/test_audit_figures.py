"""What an audit finds of faults planted into real sets: the figures of docs/data.md, which `-s` prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mapopt.data.auditing import audit as auditing
from mapopt.data.auditing.boxes import check_boxes, check_pairs, iou_matrix
from mapopt.data.auditing.findings import Finding, ranked
from mapopt.data.auditing.images import check_placement
from mapopt.data.auditing.raw import RawSet
from mapopt.data.auditing.reading import read_raw_sets

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
FRACTION = 0.05
Planted = set[tuple[str, object]]


def duplicate(raw: RawSet, chosen: np.ndarray, random: np.random.Generator) -> tuple[RawSet, Planted]:
    """Adds jittered copies of objects, with an IoU of .7 or more."""
    boxes = raw.boxes[chosen]
    copies = boxes.copy()
    for row, box in enumerate(boxes):
        while True:
            copies[row] = box + random.uniform(-0.08, 0.08, 4) * np.tile(box[2:] - box[:2], 2)
            if iou_matrix(np.stack([box, copies[row]]))[0, 1] >= 0.7:
                break
    count = len(raw.labels)
    columns = {name: getattr(raw, name) for name in ("labels", "images", "crowd", "area")}
    added = {name: np.concatenate([values, values[chosen]]) for name, values in columns.items()}
    places = (*raw.places, *(f"copy {row}" for row in range(len(chosen))))
    changed = replace(raw, boxes=np.concatenate([raw.boxes, copies]), places=places, **added)
    return changed, {(raw.part, count + row) for row in range(len(chosen))}


def degenerate(raw: RawSet, chosen: np.ndarray, random: np.random.Generator) -> tuple[RawSet, Planted]:
    """Takes the width or height from boxes."""
    boxes = raw.boxes.copy()
    axis = random.integers(0, 2, len(chosen))
    boxes[chosen, 2 + axis] = boxes[chosen, axis]
    return replace(raw, boxes=boxes), {(raw.part, row) for row in chosen.tolist()}


def outside(raw: RawSet, chosen: np.ndarray, random: np.random.Generator) -> tuple[RawSet, Planted]:
    """Moves boxes over the right or lower edge of their image, by a tenth to a half of their side."""
    boxes = raw.boxes.copy()
    for row in chosen.tolist():
        axis = int(random.integers(0, 2))
        side = boxes[row, 2 + axis] - boxes[row, axis]
        boxes[row, 2 + axis] = raw.sizes[raw.images[row], axis] + random.uniform(0.1, 0.5) * side + 1
        boxes[row, axis] = boxes[row, 2 + axis] - side
    return replace(raw, boxes=boxes), {(raw.part, row) for row in chosen.tolist()}


def shifted_file(raw: RawSet, chosen: np.ndarray, random: np.random.Generator) -> tuple[RawSet, Planted]:
    """Moves all boxes of some images, by a tenth to a quarter of the image in both directions; none is cut."""
    boxes = raw.boxes.copy()
    for image in chosen.tolist():
        move = random.uniform(0.1, 0.25, 2) * random.choice([-1, 1], 2) * raw.sizes[image]
        boxes[raw.images == image] += np.tile(move, 2)
    return replace(raw, boxes=boxes), {(raw.part, raw.file_names[image]) for image in chosen.tolist()}


PLANT: dict[str, Callable[..., tuple[RawSet, Planted]]] = {
    "duplicate": duplicate, "degenerate": degenerate, "outside": outside, "shifted_file": shifted_file,
}  # fmt: skip
KINDS_OF = {"duplicate": ("duplicate", "near_duplicate")}


def meant(finding: Finding, planted: Planted) -> bool:
    """Says whether a finding is about something that was planted."""
    return bool(planted & {(finding.part, finding.image), *((finding.part, row) for row in finding.objects)})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hemocytometer", {"duplicate": 0.9, "degenerate": 0.9, "outside": 0.9, "shifted_file": 0.9}),
        ("symbols", {"duplicate": 0.9, "degenerate": 0.9, "outside": 0.9, "shifted_file": 0.9}),
        # Fish stand out from water less than cells and signs from their ground.
        ("aquarium", {"duplicate": 0.9, "degenerate": 0.9, "outside": 0.9, "shifted_file": 0.85}),
    ],
)
def test_faults_planted_into_real_sets_are_found(name, expected):
    if not (SHARED / name).is_dir():
        pytest.skip(f"needs the set {SHARED / name}")
    clean = read_raw_sets(SHARED / name)
    looks = auditing._look(clean, 0)
    for number, (kind, plant) in enumerate(PLANT.items()):
        random = np.random.default_rng([7, number])
        raws, planted = [], set()
        for raw in clean:
            whole = np.unique(raw.images) if kind == "shifted_file" else np.arange(len(raw.labels))
            changed, added = plant(raw, np.sort(random.permutation(whole)[: round(FRACTION * len(whole))]), random)
            raws.append(changed)
            planted |= added
        if kind == "shifted_file":
            every = check_placement(raws, looks, suspect=-np.inf)
            reported = check_placement(raws, looks)
        else:
            every = reported = [f for raw in raws for f in (*check_boxes(raw), *check_pairs(raw))]
        wanted = KINDS_OF.get(kind, (kind,))
        hits = np.array([meant(f, planted) for f in sorted(ranked(every), key=_clearest) if f.kind in wanted])
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        area = float((precision * hits).sum() / len(planted))
        own = [meant(f, planted) for f in reported if f.kind in wanted]
        print(
            f"{name} {kind}: {len(planted)} planted, area {area:.3f}, reported {len(own)}, precision "
            f"{np.mean(own):.3f}, recall {sum(own) / len(planted):.3f}"
        )
        assert area >= expected[kind], kind


def _clearest(finding: Finding) -> float:
    return -(finding.figure or 0.0)


def test_the_blood_cells_zero_size_boxes_and_near_duplicates_are_found(blood_cells):
    result = auditing.audit(blood_cells, layout="voc", images=False)
    assert result.counts["degenerate"] == 2
    assert result.counts["near_duplicate"] == 8
