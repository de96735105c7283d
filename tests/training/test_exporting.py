"""A trained detector elsewhere: as weights that torch's own modules load, as a program of torch's, and as ONNX."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.models.detection.image_list import ImageList

import mapopt
from mapopt.data import ImageSet, ShapesConfig, Splits, make_shapes_splits
from mapopt.detectors import ModuleDetector, Objective, TinyNetwork, build_detector
from mapopt.detectors.dense.nano import NanoNetwork
from mapopt.detectors.dense.resnet import ResNetNetwork
from mapopt.detectors.dense.tiny_module import TinyModule
from mapopt.detectors.plain import plain_state, raw_detector
from mapopt.detectors.torchvision_models import build_model
from mapopt.errors import ConfigError, StoreError
from mapopt.training import Recipe, TrainedDetector
from mapopt.training.exporting import _module_of, check_export, export


@pytest.fixture(scope="module")
def splits() -> Splits:
    return make_shapes_splits(ShapesConfig(size=64, object_size=(12.0, 30.0)), seed=0, train=8, val=4, test=4)


def trained(splits: Splits, name: str, *, images: int = 8, **settings: object) -> TrainedDetector:
    recipe = {"batch_size": images, **settings}
    run = mapopt.train(splits, detector=name, recipe=recipe, images=images, rounds=1, device="cpu")
    return run.detector


@pytest.fixture(scope="module")
def tiny(splits: Splits) -> TrainedDetector:
    return trained(splits, "tiny")


@pytest.fixture(scope="module")
def ssdlite(splits: Splits) -> TrainedDetector:
    return trained(splits, "ssdlite", loss="torchvision")


def assert_candidates_are_among(
    boxes: Tensor, scores: Tensor, detector: TrainedDetector, images: ImageSet, *, pixels: float = 1e-4
) -> None:
    """Every box that the detector would suppress among is one of the program's, with its score."""
    candidates = detector.candidates(images)
    assert len(candidates.scores) > 50
    for box, score, label, image in zip(
        candidates.boxes, candidates.scores, candidates.labels, candidates.images, strict=True
    ):
        near = ((boxes[image] - box).abs().amax(1) < pixels) & ((scores[image, :, label] - score).abs() < 1e-4)
        assert near.any()


def run_onnx(path: Path, images: Tensor) -> tuple[Tensor, Tensor]:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    boxes, scores = session.run(["boxes", "scores"], {"images": images.numpy()})
    return torch.from_numpy(boxes), torch.from_numpy(scores)


@pytest.mark.parametrize("kind", ["onnx", "torch_export"])
def test_a_program_gives_what_the_detector_gives(
    kind: str, tiny: TrainedDetector, splits: Splits, tmp_path: Path
) -> None:
    if kind == "onnx":
        pytest.importorskip("onnxscript")
    path, images = tmp_path / "sub" / "tiny.pt2", splits.test.pixels[:].float()
    described = export(tiny, path, format=kind)
    boxes, scores = run_onnx(path, images) if kind == "onnx" else torch.export.load(path).module()(images)
    assert_candidates_are_among(boxes, scores, tiny, splits.test)
    assert boxes.requires_grad is scores.requires_grad is False
    logits, expected, _ = tiny.detector.outputs(images[None])  # type: ignore[attr-defined]
    assert (scores - logits[0].sigmoid()).abs().max() < 1e-4
    assert (boxes - expected[0].clamp(0, 64)).abs().max() < 1e-4
    assert described["outputs"]["boxes"]["shape"] == ["batch", *boxes.shape[1:]]
    assert described["outputs"]["scores"]["shape"] == ["batch", *scores.shape[1:]]
    assert described["images"]["shape"] == ["batch", *images.shape[1:]]
    assert described["categories"] == ["disc", "box", "triangle"]
    assert described["suppression_inside"] is False
    assert described["post_processing"] == tiny.trained_settings.as_dict()
    assert json.loads((tmp_path / "sub" / "tiny.pt2.json").read_text()) == described
    if kind == "onnx":
        model = importlib.import_module("onnx").load(path)
        assert {entry.key: json.loads(entry.value) for entry in model.metadata_props} == {"mapopt": described}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nano", "resnet18", "retinanet_resnet18"])
def test_onnx_of_a_larger_detector_gives_what_it_gives(name: str, splits: Splits, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    detector = trained(splits, name)
    export(detector, tmp_path / "detector.onnx", format="onnx")
    boxes, scores = run_onnx(tmp_path / "detector.onnx", splits.test.pixels[:].float())
    # RetinaNet's largest prior has a side of 1148 pixels, which multiplies the rounding of a box delta in float32.
    pixels = 1e-3 if name.startswith("retinanet") else 1e-4
    assert_candidates_are_among(boxes, scores, detector, splits.test, pixels=pixels)


def test_boxes_of_torchvisions_detectors_come_before_suppression(ssdlite: TrainedDetector, splits: Splits) -> None:
    images = splits.test.pixels[:].float()
    for name, detector in (("ssdlite", ssdlite), ("fcos_resnet18", trained(splits, "fcos_resnet18"))):
        boxes, scores = raw_detector(detector.detector, name=name, size=(64, 64))(images)
        assert scores.shape == (*boxes.shape[:2], 3)
        assert_candidates_are_among(boxes, scores, detector, splits.test)


def test_torchvisions_own_model_loads_the_weights(ssdlite: TrainedDetector, splits: Splits, tmp_path: Path) -> None:
    described = export(ssdlite, tmp_path / "weights.pth", format="state_dict")
    assert described["module"] == (
        "torchvision.models.detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4)"
    )
    assert described["after"] == "model.transform.fixed_size = (64, 64)"
    model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4)
    model.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
    model.transform.fixed_size = (64, 64)
    settings = ssdlite.trained_settings
    model.nms_thresh, model.detections_per_img, model.score_thresh = settings.nms_iou, settings.detections, 0.0
    images = splits.test.pixels[:].float() / 255
    expected = ssdlite.detect(splits.test)
    with torch.no_grad():
        for position, reported in enumerate(model.eval()(list(images))):
            rows = np.flatnonzero(expected.image_ids == position)
            rows = rows[np.argsort(-expected.scores[rows], kind="stable")]
            assert np.abs(np.sort(expected.scores[rows]) - np.sort(reported["scores"].numpy())).max() < 1e-4
            best = rows[0]
            assert reported["labels"][0] - described["first_label"] == expected.labels[best]
            assert np.abs(reported["boxes"][0].numpy() - expected.boxes[best]).max() < 1e-2


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ssdlite", {"anchor_scale": 0.5}),
        ("ssdlite", {"dropout": 0.3}),
        ("retinanet_small", {"anchor_scale": 2.0, "dropout": 0.3}),
    ],
)
def test_what_is_described_reports_the_detectors_boxes(name: str, settings: dict[str, float], tmp_path: Path) -> None:
    splits = make_shapes_splits(ShapesConfig(size=64), seed=3, train=2, val=1, test=1)
    detector = trained(splits, name, detector_settings=settings, images=2)
    described = export(detector, tmp_path / "weights.pth", format="state_dict")
    where, _, call = (
        described["module"].replace("torchvision.models.detection.", "torchvision.models.detection:").partition(":")
    )
    model = eval(call, vars(importlib.import_module(where)))
    model.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
    exec(described.get("after", ""), {"model": model})
    model.nms_thresh, model.detections_per_img, model.score_thresh = detector.trained_settings.nms_iou, 100, 0.0
    images, expected = splits.test.pixels[:].float(), detector.detect(splits.test)
    with torch.no_grad():
        reports = model.eval()(list(images / 255) if "0 to 1;" in described["images"]["values"] else images)
    for position, reported in enumerate(reports):
        rows = np.flatnonzero(expected.image_ids == position)
        best = rows[np.argsort(-expected.scores[rows], kind="stable")][0]
        inside = np.abs(reported["boxes"].numpy() - expected.boxes[best]).max(axis=1).argmin()
        assert np.abs(reported["boxes"][inside].numpy() - expected.boxes[best]).max() < 1e-2
        assert reported["scores"][inside].item() == pytest.approx(expected.scores[best], abs=1e-4)


def test_torchvisions_large_ssd_gets_our_default_boxes() -> None:
    checkpoint = SimpleNamespace(recipe=Recipe(detector="ssd", loss="focal"))
    detector = SimpleNamespace(checkpoint=checkpoint, size=(384, 384), categories=("a", "b"))
    described = _module_of(cast(TrainedDetector, detector))
    model = eval(described["module"], {"torchvision": torchvision})
    exec(described["after"], {"model": model})
    images = ImageList(torch.zeros(1, 3, 384, 384), [(384, 384)])
    maps = [torch.zeros(1, 1, side, side) for side in (48, 24, 12, 6, 4, 2)]
    boxes = model.anchor_generator(images, maps)[0]
    assert torch.equal(boxes, build_model("ssd", 2, weights=None).anchor_generator(images, maps)[0])
    assert ((boxes[:, :2] + boxes[:, 2:]) / 2).max() < 384


def test_modules_of_ours_load_their_weights(tiny: TrainedDetector, splits: Splits, tmp_path: Path) -> None:
    images = splits.test.pixels[:].float()
    nano, resnet = (trained(splits, name) for name in ("nano", "resnet18"))
    for detector, module in (
        (tiny, TinyModule(TinyNetwork(3))),
        (nano, NanoNetwork(3).module),
        (resnet, ResNetNetwork(3).module),
    ):
        described = export(detector, tmp_path / "weights.pth", format="state_dict", overwrite=True)
        assert described["module"].split(":")[0].startswith("mapopt.detectors.dense.")
        module.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
        logits = detector.detector.outputs(images[None])[0][0]  # type: ignore[attr-defined]
        assert (module(images)[0] - logits).abs().max() < 1e-4


def test_what_cannot_be_exported_says_why(tiny: TrainedDetector, tmp_path: Path) -> None:
    objective = Objective(loss="torchvision")
    two_stages = build_detector("faster_rcnn_resnet18", objective, classes=3, size=(64, 64))
    with pytest.raises(ConfigError, match=r"'faster_rcnn' cannot be .* it suppresses proposals .* --format state_dict"):
        raw_detector(two_stages, name="faster_rcnn", size=(64, 64))
    own = ModuleDetector(lambda: nn.Linear(2, 1), objective, classes=3)
    with pytest.raises(ConfigError, match=r"'mine:Own' cannot be .* it is one of your own, .* --format state_dict"):
        raw_detector(own, name="mine:Own", size=(64, 64))
    assert {name: tuple(value.shape) for name, value in plain_state(own).items()} == {"weight": (1, 2), "bias": (1,)}
    out = tmp_path / "x.pt2"
    (tmp_path / "x.pt2.json").write_text("mine")
    with pytest.raises(StoreError, match=r"x\.pt2\.json: is there already\. Give --overwrite"):
        export(tiny, out, format="torch_export")
    with pytest.raises(ConfigError, match=r"unknown format 'torchexport': did you mean 'torch_export'"):
        export(tiny, out, format="torchexport")
    with pytest.raises(ConfigError, match=r"a\.onnx': expected a file that ends in \.pt2"):
        export(tiny, tmp_path / "a.onnx", format="torch_export")
    with pytest.raises(StoreError, match=r"is a folder\. Give --out a file"):
        export(tiny, tmp_path, format="state_dict")
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt2.json"]


def test_an_absent_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else spec(name))
    message = r"^format onnx needs onnxscript, which is not installed: pip install 'mapopt\[export\]'$"
    with pytest.raises(ConfigError, match=message):
        check_export("onnx", tmp_path / "a.onnx", overwrite=False)
    check_export("state_dict", tmp_path / "a.pth", overwrite=False)
