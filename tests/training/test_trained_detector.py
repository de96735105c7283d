"""A trained detector: loaded from its run, it detects objects in images of every form."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mapopt
from mapopt.data import ShapesConfig, Splits, make_shapes_splits
from mapopt.errors import CheckpointError, ConfigError
from mapopt.training import TrainedRun


@pytest.fixture(scope="module")
def splits() -> Splits:
    return make_shapes_splits(ShapesConfig(size=32, object_size=(8.0, 16.0)), seed=0, train=16, val=8, test=8)


@pytest.fixture(scope="module")
def run(splits: Splits) -> TrainedRun:
    return mapopt.train(splits, recipe={"batch_size": 8}, images=64, rounds=4, device="cpu")


def test_a_detector_is_loaded_from_a_folder_or_a_file(run: TrainedRun, splits: Splits, tmp_path: Path) -> None:
    assert run.checkpoint is not None
    assert run.test is not None
    folder = tmp_path / "run"
    run.checkpoint.save(folder / "best.pt")
    for path in (folder, folder / "best.pt", str(folder)):
        assert mapopt.load(path, device="cpu").evaluate(splits).ap == run.test.ap
    with pytest.raises(CheckpointError, match=r"none/?.*: no such file; expected a checkpoint, such as best\.pt"):
        mapopt.load(folder / "none")
    with pytest.raises(ConfigError, match="unknown device"):
        mapopt.load(folder, device="tpu")


def test_objects_are_detected_in_images_of_every_form(run: TrainedRun, splits: Splits, tmp_path: Path) -> None:
    detector, pixels = run.detector, splits.test.pixels[:2]
    for number, image in enumerate(pixels):
        Image.fromarray(image.movedim(0, -1).numpy()).save(tmp_path / f"{number}.png")
    paths = [str(tmp_path / "0.png"), tmp_path / "1.png"]
    expected = detector.predict(paths)
    assert len(expected) == 2
    forms: dict[str, Any] = {
        "a folder": tmp_path,
        "pictures": [Image.open(path) for path in paths],
        "arrays": [image.movedim(0, -1).numpy() for image in pixels],
        "an array": pixels.movedim(1, -1).numpy(),
        "tensors": list(pixels),
        "a tensor": pixels.float() / 255,
    }
    for form, images in forms.items():
        for ours, theirs in zip(detector.predict(images), expected, strict=True):
            assert torch.equal(ours["boxes"], theirs["boxes"]), form
            assert torch.equal(ours["scores"], theirs["scores"]), form
            assert torch.equal(ours["labels"], theirs["labels"]), form
    (single,) = detector.predict(paths[0])
    assert torch.equal(single["boxes"], expected[0]["boxes"])
    detections = detector.detect(splits.test.select([0, 1]))
    assert sum(len(prediction["boxes"]) for prediction in expected) == len(detections)


def test_a_video_has_a_prediction_for_every_frame(
    run: TrainedRun, splits: Splits, tmp_path: Path, write_clip: Callable[..., Path]
) -> None:
    detector, pixels = run.detector, splits.test.pixels
    clip = write_clip(tmp_path / "clip.mkv", pixels.movedim(1, -1).numpy())
    expected = detector.predict(pixels)
    for ours, theirs in zip(detector.predict(str(clip)), expected, strict=True):
        assert torch.equal(ours["boxes"], theirs["boxes"])
        assert torch.equal(ours["scores"], theirs["scores"])
    mixed = detector.predict([pixels[7], tmp_path], every=3)
    assert [len(prediction["names"]) for prediction in mixed] == [
        len(expected[number]["names"]) for number in (7, 0, 3, 6)
    ]
    first = next(detector.stream(clip, score=0.01))
    assert len(first["scores"]) == int((expected[0]["scores"].double() >= 0.01).sum())
    with pytest.raises(ConfigError, match="every is 2, and there is no video among the images"):
        detector.stream(pixels, every=2)


def test_a_prediction_is_a_dictionary_like_torchvisions_with_names(run: TrainedRun) -> None:
    image = np.zeros((60, 90, 3), dtype=np.uint8)
    (prediction,) = run.detector.predict(image)
    boxes, scores, labels = prediction["boxes"], prediction["scores"], prediction["labels"]
    assert (boxes.shape[1], boxes.dtype, scores.dtype, labels.dtype) == (4, torch.float32, torch.float32, torch.int64)
    assert len(boxes) == len(scores) == len(labels) == len(prediction["names"]) > 0
    assert (scores[:-1] >= scores[1:]).all()
    assert prediction["names"] == [run.detector.categories[label] for label in labels]
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= 90).all()
    assert (boxes[:, 3] <= 60).all(), "in the image's own pixels"
    threshold = float(scores[len(scores) // 2])
    (fewer,) = run.detector.predict(image, score=threshold)
    assert len(fewer["scores"]) == int((scores.double() >= threshold).sum())
