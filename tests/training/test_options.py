"""A trained detector with another post-processing: by numbers, by class, by a file, and with images mirrored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import mapopt
from mapopt.data import ImageSet, ShapesConfig, Splits, make_shapes_splits
from mapopt.errors import ConfigError
from mapopt.postprocessing import Boxes, PostProcessingOptions, PostProcessingSettings
from mapopt.training import TrainedDetector
from mapopt.training.mirroring import inner_columns, mirror_boxes, mirrored_images


@pytest.fixture(scope="module")
def splits() -> Splits:
    return make_shapes_splits(ShapesConfig(size=32, object_size=(8.0, 16.0)), seed=0, train=16, val=8, test=8)


@pytest.fixture(scope="module")
def detector(splits: Splits) -> TrainedDetector:
    return mapopt.train(splits, recipe={"batch_size": 8}, images=64, rounds=2, device="cpu").detector


TRAINED = PostProcessingSettings(
    nms_iou=0.6, soft_nms_sigma=0.5, detections=100, score_thresholds=(0.0,) * 3, class_detections=(300,) * 3
)
NAMES = ("disc", "box", "triangle")


def test_nothing_given_changes_nothing(detector: TrainedDetector, splits: Splits) -> None:
    assert PostProcessingOptions().settings_over(TRAINED, NAMES) is None
    assert PostProcessingOptions(nms_iou=0.6).settings_over(TRAINED, NAMES) == TRAINED
    plain, same = detector.detect(splits.test), detector.detect(splits.test, detector.trained_settings)
    for name in ("boxes", "scores", "labels", "image_ids"):
        assert np.array_equal(getattr(plain, name), getattr(same, name))


def test_flags_win_over_the_file_and_classes_over_all(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    stored = PostProcessingSettings(
        nms_iou=0.3, soft_nms_sigma=0.0, detections=7, score_thresholds=(0.1, 0.2, 0.3), class_detections=(1, 2, 3)
    )
    path.write_text(json.dumps(stored.as_dict()))
    assert PostProcessingOptions(post_processing=path).settings_over(TRAINED, NAMES) == stored
    options = PostProcessingOptions(
        post_processing=path, nms_iou=0.4, score_threshold=0.05, class_thresholds={"triangle": 0.9}
    )
    both = options.settings_over(TRAINED, NAMES)
    assert both is not None
    assert (both.nms_iou, both.detections, both.class_detections) == (0.4, 7, (1, 2, 3))
    assert both.score_thresholds == (0.05, 0.05, 0.9)
    path.write_text('{"score_threshold_box": 0.5, "score_threshold": 0.2, "detections_0": 4}')
    part = PostProcessingOptions(post_processing=path).settings_over(TRAINED, NAMES)
    assert part is not None
    assert (part.nms_iou, part.score_thresholds, part.class_detections) == (0.6, (0.2, 0.5, 0.2), (4, 300, 300))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "is something else; expected settings of post-processing"),
        ("{", "is not JSON; expected settings of post-processing"),
        ('{"nms": 1}', "unknown setting 'nms': did you mean 'nms_iou'"),
        ('{"nms_iou": 2}', r"nms_iou is 2: expected a number from 0 to 1"),
        ('{"detections": 1.5}', r"detections is 1.5: expected a whole number from 1 to 300"),
        ('{"soft_nms_sigma": true}', "soft_nms_sigma is True: expected a number from 0"),
        ('{"score_threshold_3": 0.1}', "has a class 3, and the detector has 3, 0 to 2"),
        ('{"score_threshold_bx": 0.1}', "unknown class 'bx': did you mean 'box'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message) as said:
        PostProcessingOptions(post_processing=path).settings_over(TRAINED, NAMES)
    assert str(path) in str(said.value)


def test_what_is_wrong_with_numbers_is_said() -> None:
    with pytest.raises(ConfigError, match="nms_iou is 5: expected a number from 0 to 1"):
        PostProcessingOptions(nms_iou=5)
    with pytest.raises(ConfigError, match="detections is 0: expected a whole number from 1 to 300"):
        PostProcessingOptions(detections=0)
    with pytest.raises(ConfigError, match="class_thresholds box is 2: expected a number from 0 to 1"):
        PostProcessingOptions(class_thresholds={"box": 2})
    with pytest.raises(ConfigError, match="class_thresholds: unknown class 'bx': did you mean 'box'"):
        PostProcessingOptions(class_thresholds={"bx": 0.5}).settings_over(TRAINED, NAMES)


def test_predictions_obey_thresholds_and_limits(detector: TrainedDetector, splits: Splits) -> None:
    images = splits.test.pixels[:]
    before = detector.predict(images)
    middle = float(torch.cat([prediction["scores"] for prediction in before]).median())
    options = PostProcessingOptions(class_thresholds={"box": 1.0}, score_threshold=middle, detections=3)
    for prediction in detector.predict(images, options=options):
        assert len(prediction["scores"]) <= 3
        assert "box" not in prediction["names"]
        assert (prediction["scores"] >= middle).all()
    assert any("box" in prediction["names"] for prediction in before)
    hard = detector.evaluate(splits.test, options=PostProcessingOptions(soft_nms_sigma=0.0, nms_iou=0.1))
    assert hard.ap != detector.evaluate(splits.test).ap


def test_a_mirrored_image_stays_at_the_left_and_its_boxes_come_back(splits: Splits) -> None:
    images = splits.test
    narrow = ImageSet(images.annotations, images.size, images.pixels, images.scale * 0.75)
    assert inner_columns(narrow).tolist() == [24] * 8
    mirrored = mirrored_images(narrow).pixels[2:4]
    assert torch.equal(mirrored[..., :24], images.pixels[2:4][..., :24].flip(3))
    assert torch.equal(mirrored[..., 24:], images.pixels[2:4][..., 24:])
    none = torch.zeros(2, dtype=torch.int64)
    boxes = Boxes(torch.tensor([[1.0, 2, 5, 6], [20, 0, 30, 9]]), torch.ones(2), none, none, none)
    assert mirror_boxes(boxes, narrow).boxes.tolist() == [[19, 2, 23, 6], [0, 0, 4, 9]]


def test_boxes_of_mirrored_images_join_before_suppression(detector: TrainedDetector, splits: Splits) -> None:
    images = splits.test
    plain, both = detector.candidates(images), detector.candidates(images, flip=True)
    alone = detector.candidates(ImageSet(images.annotations, images.size, images.pixels[:].flip(3), images.scale))
    assert len(both.scores) == len(plain.scores) + len(alone.scores)
    key = both.images * 3 + both.labels
    assert (key.diff() >= 0).all()
    assert ((both.scores.diff() <= 0) | (key.diff() > 0)).all()
    assert torch.equal(both.scores.sort().values, torch.cat([plain.scores, alone.scores]).sort().values)
    # A detector that looks both ways sees an image and its mirror image alike.
    turned = ImageSet(images.annotations, images.size, images.pixels[:].flip(3), images.scale)
    ours, theirs = (detector.detect(some, flip=True) for some in (images, turned))
    assert np.allclose(np.sort(ours.scores), np.sort(theirs.scores), atol=1e-6)
    assert len(ours) > 0
    (prediction,) = detector.predict(images.pixels[0], options=PostProcessingOptions(flip=True))
    assert np.allclose(prediction["scores"].numpy(), np.sort(ours.scores[ours.image_ids == 0])[::-1], atol=1e-6)
