"""Labels that detections contradict: planted faults are found, true labels are left alone, and prices are exact."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mapopt.data import ShapesConfig, make_shapes
from mapopt.data.truth import truth_by_position
from mapopt.errors import ConfigError
from mapopt.evaluation.label_audit.confidence import count_reaching
from mapopt.evaluation.label_audit.detecting import fitting_size
from mapopt.evaluation.label_audit.folds import divide_into_folds
from mapopt.evaluation.label_audit.planting import PLANTED, plant
from mapopt.evaluation.label_audit.prices import Pricing
from mapopt.evaluation.label_audit.settings import Demand, FoldSettings
from mapopt.evaluation.label_audit.suspects import Suspect, find_suspects
from mapopt.evaluation.label_audit.trust import fit_rising, trust_of
from mapopt.metrics import Detections, GroundTruth, evaluate
from mapopt.metrics.overlaps import pair_iou


@pytest.fixture(scope="module")
def true():
    return make_shapes(ShapesConfig(size=64, objects=(2, 5)), seed=5, count=240).annotations


def seen(true, seed: int, *, missed: float = 0.02, confused: float = 0.01, shake: float = 0.06) -> Detections:
    """Returns what an imperfect detector sees of the true objects, and some false alarms."""
    random = np.random.default_rng(seed)
    rows = np.flatnonzero(random.random(len(true.ids)) >= missed)
    sides = np.tile(true.boxes[rows, 2:] - true.boxes[rows, :2], 2)
    boxes = true.boxes[rows] + random.normal(0, shake, (len(rows), 4)) * sides
    wrong = random.random(len(rows)) < confused
    labels = np.where(wrong, (true.labels[rows] + 1) % len(true.category_ids), true.labels[rows])
    false = len(rows)
    corners = random.uniform(0, 48, (false, 2))
    columns = (
        np.concatenate([boxes, np.concatenate([corners, corners + random.uniform(6, 16, (false, 2))], axis=1)]),
        np.concatenate([random.beta(6, 2, len(rows)), random.beta(1, 8, false)]),
        np.concatenate([labels, random.integers(0, len(true.category_ids), false)]),
        np.concatenate([true.images[rows], random.integers(0, len(true), false)]),
    )
    return Detections(*columns)


def area(hits: np.ndarray, total: int) -> float:
    """Returns the area under precision and recall of a ranked list."""
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / total)


def hits_of(faults, true, detections, suspects, kind: str) -> np.ndarray:
    """Says of each suspect of a kind whether it was planted; of an overlooked object only the first counts."""
    of_kind = [each for each in suspects if each.kind == kind]
    if kind != "overlooked":
        return np.array([faults.kind[each.label] == kind for each in of_kind], dtype=bool)
    left, hits = set(faults.removed.tolist()), []
    for each in of_kind:
        near = [
            row
            for row in left
            if true.images[row] == each.image
            and pair_iou(true.boxes[[row]], detections.boxes[[each.detection]])[0] >= 0.5
        ]
        left -= set(near[:1])
        hits.append(bool(near))
    return np.array(hits, dtype=bool)


def test_planted_faults_of_every_kind_are_found(true):
    faults, detections = plant(true, fraction=0.05, seed=1), seen(true, 2)
    result = find_suspects(faults.annotations, detections, seed=3, confidence=0.0)
    for kind in PLANTED:
        count = len(faults.removed) if kind == "overlooked" else int((faults.kind == kind).sum())
        assert area(hits_of(faults, true, detections, result.all, kind), count) > 0.6, kind
        assert 0.01 < result.rate[kind] < 0.15, kind
    labels = [each.label for each in result.all if each.label >= 0]
    assert len(labels) == len(set(labels)), "a label is suspected of one thing"


def test_what_is_reported_is_mostly_right_and_true_labels_are_left_alone(true):
    faults, detections = plant(true, fraction=0.05, seed=1), seen(true, 2)
    sure = find_suspects(faults.annotations, detections, confidence=0.5).all
    hits = np.concatenate([hits_of(faults, true, detections, sure, kind) for kind in PLANTED])
    assert hits.mean() > 0.5
    assert len(find_suspects(true, detections, confidence=0.5).all) < 0.4 * len(sure)


def test_without_detections_nothing_but_second_labels_is_suspected(true):
    none = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), np.zeros(0, int))
    assert {each.kind for each in find_suspects(true, none).all} <= {"labeled_twice"}


def test_the_same_is_found_again(true):
    faults, detections = plant(true, fraction=0.05, seed=1), seen(true, 2)
    first, second = (find_suspects(faults.annotations, detections, seed=4).all for _ in range(2))
    assert first == second


def test_planted_faults_are_what_they_are_said_to_be(true):
    faults = plant(true, fraction=0.05, seed=7)
    count = round(0.05 * len(true.ids))
    assert len(faults.removed) == count
    notes, kind, origin = faults.annotations, faults.kind, faults.origin
    for name in PLANTED[1:]:
        assert (kind == name).sum() == count
    clean = kind == ""
    assert np.array_equal(notes.boxes[clean], true.boxes[origin[clean]])
    assert np.array_equal(notes.labels[clean], true.labels[origin[clean]])
    moved, swapped, twice = (kind == name for name in ("badly_placed", "swapped_class", "labeled_twice"))
    assert pair_iou(notes.boxes[moved], true.boxes[origin[moved]]).max() < 0.5
    assert (notes.labels[swapped] != true.labels[origin[swapped]]).all()
    assert pair_iou(notes.boxes[twice], true.boxes[origin[twice]]).min() >= 0.7
    assert (origin[kind == "spurious"] == -1).all()
    assert not set(faults.removed) & set(origin[clean])


def test_trust_is_the_fraction_that_is_right():
    boxes = [[10 * i, 0, 10 * i + 8, 8] for i in range(8)]
    truth = GroundTruth(boxes[:6], [0] * 6, [0] * 6)
    trust = trust_of(truth, Detections(boxes, [0.9, 0.9, 0.9, 0.8, 0.3, 0.2, 0.3, 0.1], [0] * 8, [0] * 8))
    assert trust[:4] == pytest.approx(1, abs=0.02)
    assert trust[7] == pytest.approx(0, abs=0.02)
    assert (np.diff(trust[[7, 5, 4, 3]]) > 0).all()


def test_a_rising_fit_never_falls_and_keeps_the_sum():
    random = np.random.default_rng(0)
    scores, hits = random.random(200), random.random(200) < 0.3
    fitted = fit_rising(scores, hits, np.ones(200, bool))
    assert (np.diff(fitted[np.argsort(scores)]) >= 0).all()
    assert fitted.sum() == pytest.approx(hits.sum())


@pytest.mark.parametrize("kind", ["overlooked", "spurious", "swapped_class", "badly_placed", "labeled_twice"])
def test_a_price_is_the_ap_of_the_mended_labels_less_that_of_the_labels(kind, true):
    faults, detections = plant(true, fraction=0.05, seed=1), seen(true, 2)
    notes = faults.annotations
    suspect = next(each for each in find_suspects(notes, detections, confidence=0.3).all if each.kind == kind)
    suspect = dataclasses.replace(suspect, confidence=1.0)
    everything = np.ones(len(notes), bool)
    # Without IoUs of right boxes a mended box is the detector's own.
    pricing = Pricing(notes, detections, everything, np.zeros(0))
    boxes, labels, images = notes.boxes.copy(), notes.labels.copy(), notes.images.copy()
    if kind == "overlooked":
        boxes = np.concatenate([boxes, detections.boxes[[suspect.detection]]])
        labels = np.append(labels, detections.labels[suspect.detection])
        images = np.append(images, suspect.image)
    elif kind == "swapped_class":
        labels[suspect.label] = detections.labels[suspect.detection]
    elif kind == "badly_placed":
        boxes[suspect.label] = detections.boxes[suspect.detection]
    else:
        boxes, labels, images = (np.delete(column, suspect.label, axis=0) for column in (boxes, labels, images))
    mended = GroundTruth(boxes, labels, images, images=range(len(notes)), categories=range(len(notes.category_ids)))
    expected = evaluate(mended, detections).ap - evaluate(truth_by_position(notes), detections).ap
    assert pricing.each([suspect])[0] == pytest.approx(expected, abs=1e-12)
    assert pricing.together(kind, "train", [suspect]).gain == pytest.approx(expected, abs=1e-12)


def test_a_kind_counts_each_suspect_with_its_confidence(true):
    faults, detections = plant(true, fraction=0.05, seed=1), seen(true, 2)
    notes = faults.annotations
    spurious = [each for each in find_suspects(notes, detections).all if each.kind == "spurious"]
    pricing = Pricing(notes, detections, np.ones(len(notes), bool), np.zeros(0))
    unsure = [dataclasses.replace(each, confidence=0.5) for each in spurious]
    sure = [dataclasses.replace(each, confidence=1.0) for each in spurious[::2]]
    half = pricing.together("spurious", "train", unsure)
    assert half.gain == pytest.approx(pricing.together("spurious", "train", sure).gain, abs=1e-12)
    assert half.findings == len(spurious)


def test_a_mended_box_is_as_far_from_the_detectors_as_right_boxes_are(true):
    faults, detections = plant(true, fraction=0.05, seed=1), seen(true, 2)
    notes, everything = faults.annotations, np.ones(len(faults.annotations), bool)
    result = find_suspects(notes, detections, confidence=0.5)
    overlooked = [each for each in result.all if each.kind == "overlooked"]
    exact = Pricing(notes, detections, everything, np.zeros(0)).each(overlooked)
    expected = Pricing(notes, detections, everything, result.fits).each(overlooked)
    assert np.mean(expected) < np.mean(exact), "a box is never right at every threshold"


def test_the_price_of_a_kind_is_near_what_mending_the_planted_faults_brings(true):
    faults, detections = plant(true, fraction=0.05, seed=1), seen(true, 2)
    notes = faults.annotations
    result = find_suspects(notes, detections, confidence=0.5)
    pricing = Pricing(notes, detections, np.ones(len(notes), bool), result.fits)
    predicted = pricing.together("all", "train", result.all).gain
    measured = evaluate(truth_by_position(true), detections).ap - evaluate(truth_by_position(notes), detections).ap
    assert predicted == pytest.approx(measured, abs=0.03)


def test_a_label_without_an_object_has_a_higher_price_than_a_right_label(true):
    """A label that nothing is about costs recall at every threshold."""
    detections = seen(true, 2, missed=0.0, confused=0.0, shake=0.0)
    extra = dataclasses.replace(
        true,
        boxes=np.concatenate([true.boxes, [[1.0, 1, 9, 9]]]),
        **{
            name: np.append(getattr(true, name), getattr(true, name)[0])
            for name in ("labels", "images", "crowd", "area")
        },
        ids=np.append(true.ids, true.ids.max() + 1),
    )
    pricing = Pricing(extra, detections, np.ones(len(extra), bool), np.zeros(0))
    wrong, right = (
        Suspect(kind="spurious", confidence=1.0, number=1.0, image=int(extra.images[row]), label=row)
        for row in (len(extra.ids) - 1, 0)
    )
    gains = pricing.each([wrong, right])
    assert gains[0] > 0
    assert gains[1] < gains[0]


def test_folds_are_even_and_keep_groups_together():
    groups = np.array([0, 0, 0, 1, 2, 3, 4, 4, 5, 6, 7, 8])
    fold = divide_into_folds(groups, 3, seed=0)
    assert np.bincount(fold).tolist() == [4, 4, 4]
    for group in range(9):
        assert len(set(fold[groups == group])) == 1


def test_frames_are_as_large_as_objects_need(true):
    assert fitting_size(true) == (96, 96)
    small = dataclasses.replace(
        true, boxes=true.boxes.copy() * [1, 1, 0, 0] + np.tile(true.boxes[:, :2], 2) * [0, 0, 1, 1] + [0, 0, 2, 2]
    )
    assert fitting_size(small) == (288, 288)


def test_how_many_are_as_large_as_a_level():
    assert count_reaching(np.array([3.0, 1, 2, 2]), np.array([2.0, 2.5, 4])).tolist() == [3, 1, 0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"folds": 1}, "folds is 1"),
        ({"images": 0}, "fold_images is 0"),
        ({"size": (100, 96)}, r"size is \(100, 96\): expected a height and a width, both multiples of 8"),
    ],
)
def test_impossible_folds_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        FoldSettings(**settings).check()


def test_impossible_demands_are_refused():
    with pytest.raises(ConfigError, match=r"confidence is 1\.5: expected 0 to 1"):
        Demand(confidence=1.5)
    with pytest.raises(ConfigError, match="prices is -1: expected 0 findings of each kind, or more"):
        Demand(prices=-1)
