"""How many faults that were planted into real labels an audit finds, and whether mending brings what it says.

Faults of five kinds are planted into a twentieth of the labels each, lanes are trained out of fold on such labels, and
 what is suspected is held against what was planted: area under precision and recall, object by object. cleanlab
scores the same labels from the same detections, and LibreYOLO's doctor reads the same labels, each in a Python of its
own.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapopt.data.annotations import Annotations
from mapopt.data.auditing.audit import audit
from mapopt.data.auditing.boxes import check_pairs
from mapopt.data.auditing.findings import ranked
from mapopt.data.auditing.raw import RawSet
from mapopt.data.images import ImageSet
from mapopt.data.truth import truth_by_position
from mapopt.errors import ConfigError
from mapopt.evaluation.label_audit.detecting import fitting_size
from mapopt.evaluation.label_audit.folds import detect_out_of_fold
from mapopt.evaluation.label_audit.looking import appearance_of
from mapopt.evaluation.label_audit.planting import PLANTED, Faults, plant
from mapopt.evaluation.label_audit.pool import pool_of
from mapopt.evaluation.label_audit.prices import Pricing
from mapopt.evaluation.label_audit.settings import FoldSettings
from mapopt.evaluation.label_audit.suspects import Suspect, find_suspects
from mapopt.experiments.bench.label_audit_doctor import DoctorAnswer, ask_doctor
from mapopt.experiments.bench.settings import LabelAuditSettings
from mapopt.metrics import Detections, GroundTruth, evaluate
from mapopt.metrics.overlaps import image_pairs
from mapopt.stopwatch import Stopwatch

WITHOUT = "labeled_twice, without a detector"
"""What the table calls second labels that are found by their overlap alone."""


@dataclass(frozen=True, kw_only=True)
class SetAudit:
    """What was found in one set.

    Attributes:
        name: of the set.
        images: how many.
        labels: how many, before faults were planted.
        planted: faults of each kind.
        size: (height, width) of the lanes' frames.
        ap: of the out-of-fold detections against the true labels.
        seconds: processor seconds of training and looking; 0 where the detections of an earlier run were read.
        looking: processor seconds of learning and telling what the pictures in boxes look like.
        area: kind -> area under precision and recall.
        detector: the same from detections alone, without a look at the pictures.
        precision: kind -> how much of what is reported at a confidence of .5 was planted.
        recall: kind -> how much of what was planted is reported then.
        cleanlab: kind -> area of cleanlab's scores; without what it has no score for.
        calibrated: the same with the detections' calibrated scores, as cleanlab looks at probabilities from .5 and .95.
        predicted: kind, or "all" -> AP that mending what is reported should gain.
        measured: kind, or "all" -> AP that mending what was planted gains.
        untouched: how much is reported of the true labels, faults of their own included.
        doctor: what LibreYOLO's doctor names without a detector; None where it was not asked.
    """

    name: str
    images: int
    labels: int
    planted: int
    size: tuple[int, int]
    ap: float
    seconds: float
    looking: float
    area: dict[str, float]
    detector: dict[str, float]
    precision: dict[str, float]
    recall: dict[str, float]
    cleanlab: dict[str, float]
    calibrated: dict[str, float]
    predicted: dict[str, float]
    measured: dict[str, float]
    untouched: int
    doctor: DoctorAnswer | None


def audit_set(settings: LabelAuditSettings, name: str, *, seed: int, device: Any, out: Path | None) -> SetAudit:
    """Plants faults into a set, looks for them, and prices them.

    Args:
        settings: of the benchmark.
        name: of the set, a folder in `settings.data`.
        seed: of the faults, the folds and the lanes.
        device: where lanes train.
        out: folder for detections, which are read again where they are there.
    """
    pool = pool_of(audit(settings.data / name, images=False))
    true = pool.annotations
    faults = plant(true, fraction=settings.fraction, seed=seed)
    size = fitting_size(true)
    folds = FoldSettings(folds=settings.folds, images=settings.images, size=size, seed=seed)
    detections, seconds = _detections(faults.annotations, folds, size, device=device, kept=out and out / f"{name}.npz")
    watch = Stopwatch()
    looks = appearance_of(faults.annotations, detections, seed=seed)
    looking = watch.processor
    every = find_suspects(faults.annotations, detections, seed=seed + 1, confidence=0.0, looks=looks).all
    result = find_suspects(faults.annotations, detections, seed=seed + 1, confidence=0.5, looks=looks)
    alone = find_suspects(faults.annotations, detections, seed=seed + 1, confidence=0.0).all
    area: dict[str, float] = {}
    precision: dict[str, float] = {}
    recall: dict[str, float] = {}
    for kind in PLANTED:
        count = _count(faults, kind)
        area[kind] = area_under(_hits(faults, true, detections, every, kind), count)
        reported = _hits(faults, true, detections, result.all, kind)
        precision[kind] = float(reported.mean()) if len(reported) else float("nan")
        recall[kind] = float(reported.sum() / count) if count else float("nan")
    area[WITHOUT] = _second_labels(faults)
    detector: dict[str, float] = {
        kind: area_under(_hits(faults, true, detections, alone, kind), _count(faults, kind)) for kind in PLANTED
    }
    area["image"] = _of_images(faults, true, _image_scores(every, len(true)))
    cleanlab: dict[str, float] = {}
    calibrated: dict[str, float] = {}
    if settings.cleanlab is not None:
        trusted = replace(detections, scores=result.trust)
        cleanlab = cleanlab_areas(settings.cleanlab, faults, true, detections)
        calibrated = cleanlab_areas(settings.cleanlab, faults, true, trusted)
    pricing = Pricing(faults.annotations, detections, np.ones(len(true), dtype=bool), result.fits)
    predicted: dict[str, float] = {}
    measured: dict[str, float] = {}
    for what in (*PLANTED, "all"):
        own = [each for each in result.all if what in (each.kind, "all")]
        predicted[what] = pricing.together(what, name, own).gain
        measured[what] = _ap(undone(faults, true, PLANTED if what == "all" else (what,)), detections) - pricing.ap
    return SetAudit(
        name=name,
        images=len(true),
        labels=len(true.ids),
        planted=len(faults.removed),
        size=size,
        ap=_ap(true, detections),
        seconds=seconds,
        looking=looking,
        area=area,
        detector=detector,
        precision=precision,
        recall=recall,
        cleanlab=cleanlab,
        calibrated=calibrated,
        predicted=predicted,
        measured=measured,
        untouched=len(find_suspects(true, detections, seed=seed + 1, looks=appearance_of(true, detections)).all),
        doctor=None if settings.doctor is None else ask_doctor(settings.doctor, faults, true),
    )


def _detections(
    notes: Annotations, folds: FoldSettings, size: tuple[int, int], *, device: Any, kept: Path | None
) -> tuple[Detections, float]:
    """Returns out-of-fold detections, and what they cost; those of an earlier run where its settings were the same."""
    images = ImageSet.read(notes, size=size)
    key = repr((images.fingerprint, folds))
    if kept is not None and kept.is_file():
        with np.load(kept) as file:
            if str(file["key"]) == key:
                return Detections(*(file[name] for name in ("boxes", "scores", "labels", "image_ids"))), 0.0
    watch = Stopwatch()
    result = detect_out_of_fold(images, (), folds, device=device)
    seconds = watch.processor
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            kept, key=key, boxes=result.boxes, scores=result.scores, labels=result.labels, image_ids=result.image_ids
        )
    return result, seconds


def area_under(hits: NDArray[np.bool_], count: int) -> float:
    """Returns the area under precision and recall of a ranked list: the mean, over what was planted, of the precision.

    >>> area_under(np.array([True, False, True]), 2)
    0.8333333333333333
    """
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / count) if count else float("nan")


def undone(faults: Faults, true: Annotations, kinds: Sequence[str]) -> Annotations:
    """Returns the labels with the faults of some kinds really mended."""
    noted, kind, origin = faults.annotations, faults.kind, faults.origin
    boxes, labels, area = noted.boxes.copy(), noted.labels.copy(), noted.area.copy()
    changed = np.isin(kind, [name for name in kinds if name in ("badly_placed", "swapped_class")])
    boxes[changed], labels[changed] = true.boxes[origin[changed]], true.labels[origin[changed]]
    area[changed] = true.area[origin[changed]]
    gone = np.isin(kind, [name for name in kinds if name in ("labeled_twice", "spurious")])
    mended = replace(noted, boxes=boxes, labels=labels, area=area).keep(~gone)
    if "overlooked" not in kinds:
        return mended
    rows, first = faults.removed, int(mended.ids.max(initial=0)) + 1

    def with_removed(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(mended, name), getattr(true, name)[rows]])

    return replace(
        mended,
        boxes=with_removed("boxes"),
        labels=with_removed("labels"),
        images=with_removed("images"),
        crowd=with_removed("crowd"),
        area=with_removed("area"),
        ids=np.concatenate([mended.ids, np.arange(first, first + len(rows))]),
    )


def _ap(notes: Annotations, detections: Detections) -> float:
    return evaluate(truth_by_position(notes), detections, mode="reward").ap


def _count(faults: Faults, kind: str) -> int:
    return len(faults.removed) if kind == "overlooked" else int((faults.kind == kind).sum())


def _hits(
    faults: Faults, true: Annotations, detections: Detections, suspects: Sequence[Suspect], kind: str
) -> NDArray[np.bool_]:
    """Says of each suspect of a kind, in order, whether it was planted."""
    own = [each for each in suspects if each.kind == kind]
    if kind != "overlooked":
        return np.array([faults.kind[each.label] == kind for each in own], dtype=bool)
    return _seen_again(faults, true, detections, np.array([each.detection for each in own], dtype=np.int64))


def _seen_again(
    faults: Faults, true: Annotations, detections: Detections, order: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Says of detections, in order, whether each is the first in the place of a label that was removed."""
    gone = GroundTruth(
        true.boxes[faults.removed],
        np.zeros(len(faults.removed), int),
        true.images[faults.removed],
        images=np.arange(len(true)),
    )
    some = Detections(
        detections.boxes[order], np.zeros(len(order)), np.zeros(len(order), int), detections.image_ids[order]
    )
    pairs = image_pairs(gone, some, minimum=0.5)
    hits, taken = np.zeros(len(order), dtype=bool), np.zeros(len(gone), dtype=bool)
    for pair in np.lexsort((-pairs.iou, pairs.detection)).tolist():
        place, target = pairs.detection[pair], pairs.truth[pair]
        if not hits[place] and not taken[target]:
            hits[place] = taken[target] = True
    return hits


def _second_labels(faults: Faults) -> float:
    """Returns the area of second labels that are found by their overlap alone, as without a detector."""
    notes, count = faults.annotations, len(faults.kind)
    raw = RawSet(
        part="whole",
        file_names=notes.file_names,
        paths=tuple(map(Path, notes.file_names)),
        sizes=np.stack([notes.widths, notes.heights], axis=1),
        category_names=notes.category_names,
        category_ids=notes.category_ids,
        boxes=notes.boxes,
        labels=notes.labels,
        images=notes.images,
        crowd=notes.crowd,
        area=notes.area,
        places=tuple(map(str, range(count))),
    )
    twice = [each for each in check_pairs(raw) if each.kind in ("duplicate", "near_duplicate")]
    rows = [each.objects[0] for each in ranked(twice)]
    return area_under(faults.kind[rows] == "labeled_twice", _count(faults, "labeled_twice"))


def _image_scores(suspects: Sequence[Suspect], images: int) -> NDArray[np.float64]:
    """Returns how sure it is of each image that a label in it is wrong."""
    right = np.zeros(images)
    for each in suspects:
        right[each.image] += np.log1p(-min(each.confidence, 0.999))
    sure: NDArray[np.float64] = 1 - np.exp(right)
    return sure


def _of_images(faults: Faults, true: Annotations, scores: NDArray[np.float64]) -> float:
    """Returns the area of images with a planted fault."""
    wrong = np.zeros(len(true), dtype=bool)
    wrong[faults.annotations.images[faults.kind != ""]] = True
    wrong[true.images[faults.removed]] = True
    return area_under(wrong[np.argsort(-scores, kind="stable")], int(wrong.sum()))


def cleanlab_areas(python: Path, faults: Faults, true: Annotations, detections: Detections) -> dict[str, float]:
    """Returns the areas of cleanlab's scores of the same labels, from the same detections.

    Raises:
        ConfigError: the Python has no cleanlab, or cleanlab fails.
    """
    notes = faults.annotations
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(
            given,
            images=len(notes),
            classes=len(notes.category_ids),
            label_boxes=notes.boxes,
            labels=notes.labels,
            label_images=notes.images,
            boxes=detections.boxes,
            scores=detections.scores,
            classes_seen=detections.labels,
            image_ids=detections.image_ids,
        )
        script = Path(__file__).with_name("peers") / "cleanlab_scores.py"
        done = subprocess.run([str(python), str(script), str(given), str(out)], capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise ConfigError(f"cleanlab is {python}: it failed ({last}). Expected a Python with cleanlab installed")
        with np.load(out) as file:
            answers = {name: file[name] for name in file.files}
    areas = {}
    for kind in ("badly_placed", "swapped_class"):
        order = np.argsort(answers[kind], kind="stable")
        areas[kind] = area_under(faults.kind[order] == kind, _count(faults, kind))
    seen = np.flatnonzero(np.isfinite(answers["overlooked"]))
    order = seen[np.argsort(answers["overlooked"][seen], kind="stable")]
    areas["overlooked"] = area_under(_seen_again(faults, true, detections, order), len(faults.removed))
    areas["image"] = _of_images(faults, true, -answers["image"])
    return areas
