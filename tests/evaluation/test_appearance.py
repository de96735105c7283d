"""What pictures in boxes look like: learned from the labels, out of fold, and what it says of wrong ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from mapopt.data import ShapesConfig, make_shapes
from mapopt.data.truth import truth_by_position
from mapopt.errors import DataError
from mapopt.evaluation.label_audit.appearance import Appearance
from mapopt.evaluation.label_audit.crop_features import SIDE, CropFeatures, crop
from mapopt.evaluation.label_audit.evidence import gather
from mapopt.evaluation.label_audit.folds import groups_by_name
from mapopt.evaluation.label_audit.looking import appearance_of
from mapopt.evaluation.label_audit.planting import plant
from mapopt.evaluation.label_audit.prices import Pricing
from mapopt.evaluation.label_audit.suspects import find_suspects
from mapopt.evaluation.label_audit.training_price import follow
from mapopt.metrics import Detections

NONE = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), np.zeros(0, int))


@pytest.fixture(scope="module")
def true(tmp_path_factory):
    """Scenes whose images are files."""
    folder = tmp_path_factory.mktemp("images")
    scenes = make_shapes(ShapesConfig(size=64, objects=(2, 5)), seed=5, count=120)
    for name, pixels in zip(scenes.annotations.file_names, scenes.pixels, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / name)
    return dataclasses.replace(scenes.annotations, root=folder)


@pytest.fixture(scope="module")
def faults(true):
    return plant(true, fraction=0.05, seed=1)


@pytest.fixture(scope="module")
def seen(true):
    """Detections in the places of all true labels, of classes at random, and as many where nothing is."""
    random = np.random.default_rng(0)
    count = len(true.ids)
    corners = random.uniform(0, 52, (count, 2))
    return Detections(
        np.concatenate([true.boxes, np.concatenate([corners, corners + 12], axis=1)]),
        np.full(2 * count, 0.5),
        random.integers(0, len(true.category_ids), 2 * count),
        np.concatenate([true.images, random.integers(0, len(true), count)]),
    )


@pytest.fixture(scope="module")
def looks(faults, seen):
    return appearance_of(faults.annotations, seen)


def test_pictures_say_the_class_of_right_labels_and_the_true_one_of_swapped_ones(true, faults, looks):
    notes, rows = faults.annotations, np.arange(len(faults.annotations.ids))
    assert looks.label.shape == (len(rows), len(notes.category_ids) + 1)
    assert looks.label.sum(axis=1) == pytest.approx(1, abs=1e-5)
    right, swapped = faults.kind == "", faults.kind == "swapped_class"
    assert (looks.label[right].argmax(axis=1) == notes.labels[right]).mean() > 0.7
    assert (looks.label[swapped].argmax(axis=1) == true.labels[faults.origin[swapped]]).mean() > 0.7
    assert looks.label[right, notes.labels[right]].mean() > 3 * looks.label[swapped, notes.labels[swapped]].mean()


def test_what_was_made_up_looks_like_nothing_and_a_detected_object_does_not(true, faults, looks, seen):
    assert np.median(looks.label[faults.kind == "spurious", -1]) > 2 * np.median(looks.label[faults.kind == "", -1])
    assert looks.detection.shape == (len(seen), len(true.category_ids) + 1)
    gone = looks.detection[faults.removed, -1]
    beside = looks.detection[len(true.ids) :, -1]
    assert np.median(gone) < 0.5 * np.median(beside)
    assert looks.nothing[:, -1].mean() > 0.5


def test_an_image_says_nothing_of_itself(faults):
    notes = faults.annotations
    own = notes.images == notes.images[0]
    other = dataclasses.replace(notes, labels=np.where(own, (notes.labels + 1) % len(notes.category_ids), notes.labels))
    changed = appearance_of(other, NONE)
    assert changed.label[own] == pytest.approx(appearance_of(notes, NONE).label[own], abs=1e-6)


def test_labels_with_faults_look_like_what_they_came_from():
    looks = Appearance(
        np.array([[0.9, 0.1], [0.2, 0.8]], np.float32), np.zeros((0, 2), np.float32), np.array([[0, 1]], np.float32)
    )
    assert looks.planted(np.array([1, -1, 0])).label == pytest.approx(np.array([[0.2, 0.8], [0, 1], [0.9, 0.1]]))


def test_few_labels_teach_nothing_and_a_missing_image_is_an_error(true):
    assert appearance_of(true.keep(np.arange(99)), NONE) is None
    assert appearance_of(true.select(np.arange(3)), NONE) is None
    with pytest.raises(DataError):
        appearance_of(dataclasses.replace(true, root=true.root / "nowhere"), NONE)


def test_a_swapped_class_is_seen_in_the_picture_where_no_detector_names_another(true, faults, looks):
    notes = faults.annotations
    result = find_suspects(notes, NONE, seed=3, looks=dataclasses.replace(looks, detection=looks.detection[:0]))
    swapped = [each for each in result.all if each.kind == "swapped_class"]
    hits = np.array([faults.kind[each.label] == "swapped_class" for each in swapped])
    assert hits.sum() >= 0.4 * (faults.kind == "swapped_class").sum()
    assert hits.mean() > 0.4, "labels of other kinds of faults look like another class, too"
    assert all(each.detection == -1 and each.category != notes.labels[each.label] for each in swapped)
    mended = follow(notes, NONE, swapped[:1])
    assert mended.labels[swapped[0].label] == swapped[0].category
    assert Pricing(notes, NONE, np.ones(len(notes), bool), np.zeros(0)).each(swapped[:1]) == [0.0]


def test_of_detections_without_a_label_those_that_look_like_an_object_come_first(true, faults, looks, seen):
    truth = truth_by_position(faults.annotations)
    trust = np.full(len(seen), 0.5)
    alone = gather(truth, seen, trust, typical=0.75)
    beside = gather(truth, seen, trust, typical=0.75, looks=looks)
    assert ((beside.unlabeled > 0) <= (alone.unlabeled > 0)).all()
    first = np.argsort(-beside.unlabeled, kind="stable")[: len(faults.removed)]
    assert np.isin(first, faults.removed).mean() > 0.5


def test_crops_go_beyond_their_boxes_and_features_are_finite():
    image = Image.new("RGB", (40, 30), (10, 200, 30))
    crops = crop(image, np.array([[5.0, 5, 25, 25], [-4, -4, 2, 2], [39, 29, 39.2, 29.2]]))
    assert crops.shape == (3, SIDE, SIDE, 3)
    assert (crops[0] == [10, 200, 30]).all()
    sides = np.full((3, 2), 0.2)
    features = CropFeatures(crops, sides, seed=0)
    assert features(crops, sides).shape == (3, features.width)
    assert np.isfinite(features(crops[:1], sides[:1])).all()


def test_images_of_one_source_or_said_to_be_alike_are_one_group():
    assert groups_by_name(["a.png", "b_aug_1.png", "b_aug_2.png", "c.png"], [(0, 3)]).tolist() == [0, 1, 1, 0]
