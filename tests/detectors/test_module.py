"""Modules with torchvision's calling convention are detectors, torchvision's own functions included."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from mapopt.detectors.module import ModuleDetector
from mapopt.detectors.objective import Objective
from mapopt.detectors.own import from_module
from mapopt.detectors.registry import build_detector
from mapopt.errors import CheckpointError, ConfigError
from mapopt.registry import Choice
from mapopt.training import Checkpoint, LoadedDetector, Range, Trainer

OWN = Objective(loss="torchvision")


class QuadrantModule(nn.Module):
    """A module with torchvision's calling convention: one box per image, of the size and class it has learned."""

    knobs = {"scale": Range(0.5, 2.0)}
    scale = 1.0

    def __init__(self, num_classes: int, extra: bool = False) -> None:
        super().__init__()
        self.extra, self.columns = extra, num_classes
        self.score = nn.Linear(3, num_classes)
        self.frozen = nn.Linear(3, 1).requires_grad_(False)
        self.buffer = nn.Sequential(nn.BatchNorm1d(3))  # a name that states of ours use, too
        self.corner = nn.Parameter(torch.tensor([0.0, 0.0, 20.0, 20.0]))

    def forward(self, images, targets=None):
        assert isinstance(images, list)
        assert all(image.min() >= 0 and image.max() <= 1 for image in images)
        colors = self.buffer(torch.stack([image.mean((1, 2)) for image in images]))
        logits = self.score(colors) * self.scale + self.frozen(colors) * 0
        if self.training:
            wanted = torch.tensor([int(target["labels"].max()) if len(target["labels"]) else 0 for target in targets])
            boxes = torch.stack([target["boxes"].mean(0) for target in targets if len(target["boxes"])])
            terms = {
                "my_class_loss": nn.functional.cross_entropy(logits, wanted),
                "box": (boxes - self.corner).abs().mean() / 100,
            }
            return terms | ({"sparsity": self.corner.abs().mean()} if self.extra else {})
        probabilities = logits.softmax(-1)
        return [
            {"boxes": self.corner.expand(self.columns, 4), "scores": row, "labels": torch.arange(self.columns)}
            for row in probabilities
        ]


def quadrants(*, num_classes: int, size: tuple[int, int], extra: bool = False) -> nn.Module:
    assert size == (48, 48)
    return QuadrantModule(num_classes, extra)


def narrow_fcos(*, num_classes: int, weights: str | None, weights_backbone: str | None) -> nn.Module:
    """What torchvision's own functions look like, and cheaper."""
    from torchvision.models.detection import FCOS
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    assert weights is None
    assert weights_backbone is None
    backbone = nn.Sequential(nn.Conv2d(3, 32, 8, stride=8), nn.ReLU())
    backbone.out_channels = 32
    anchors = AnchorGenerator(((8,),), ((1.0,),))
    return FCOS(backbone, num_classes, anchor_generator=anchors, min_size=48, max_size=48)


wrapped = from_module(quadrants)


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that holds the parts above, as a user's own file would."""
    module = ModuleType("my_modules")
    for name, part in (
        ("wrapped", wrapped),
        *((part.__name__, part) for part in (QuadrantModule, quadrants, narrow_fcos)),
    ):
        setattr(module, name, part)
    monkeypatch.setitem(sys.modules, "my_modules", module)
    return "my_modules"


@pytest.mark.parametrize("name", ["QuadrantModule", "quadrants", "wrapped"])
def test_a_module_is_a_detector_in_all_three_ways(name, mine, scene, knob_table):
    images, targets = scene(size=48)
    detector = build_detector(f"{mine}:{name}", OWN, classes=3, size=(48, 48))
    assert isinstance(detector, ModuleDetector)
    assert detector.model.columns == 4
    detector.initialize(0, 1)
    plain = detector.losses(images, targets, knob_table(), seed=0)
    assert {kind: value.shape for kind, value in plain.items()} == {"class": (1,), "box": (1,)}
    turned = detector.losses(images, targets, knob_table(class_weight=2.0, box_weight=3.0), seed=0)
    assert turned["class"] == 2 * plain["class"]
    assert turned["box"] == 3 * plain["box"]


def test_a_term_of_another_name_is_minimized_as_it_is(mine, scene, knob_table):
    images, targets = scene(size=48)
    choice = Choice(name=f"{mine}:QuadrantModule", settings={"extra": True})
    detector = build_detector(choice, OWN, classes=3, size=(48, 48))
    losses = detector.losses(images, targets, knob_table(class_weight=2.0), seed=0)
    assert losses["sparsity"].tolist() == [10.0]


def test_a_modules_frozen_weights_statistics_and_modes_are_kept(scene, knob_table):
    images, targets = scene(size=48)
    detector = build_detector(QuadrantModule, OWN, classes=3, size=(48, 48))
    detector.initialize(0, 1)
    assert {name: value.shape for name, value in detector.buffers().items()} == {
        "buffer.0.running_mean": (1, 3),
        "buffer.0.running_var": (1, 3),
        "buffer.0.num_batches_tracked": (1,)}  # fmt: skip
    sum(detector.losses(images, targets, knob_table(), seed=0).values()).backward()
    gradient, decay = detector._row.split(detector.gradient()[0]), detector._row.split(detector.decay)
    assert gradient["score.weight"].any()
    assert not gradient["frozen.weight"].any()
    assert not decay["frozen.weight"].any()
    assert decay["score.weight"].all()
    before = {name: value.clone() for name, value in detector.buffers().items()}
    detector.detect(images, knob_table())
    assert detector.model.training
    assert detector.model.buffer.training
    assert all(torch.equal(value, before[name]) for name, value in detector.buffers().items())


def test_of_what_a_module_reports_the_strongest_real_ones_over_the_threshold_stay(scene, knob_table):
    images, _ = scene(size=48)
    detector = build_detector(QuadrantModule, OWN, classes=3, size=(48, 48))
    detector.initialize(0, 1)
    every = detector.detect(images, knob_table(score_threshold=0.0))
    assert every.images.tolist() == [0, 0, 0, 1, 1, 1], "the background is no category"
    assert (every.scores[:3].diff() <= 0).all()
    assert sorted(every.labels[:3].tolist()) == [0, 1, 2]
    few = detector.detect(images, knob_table(score_threshold=0.0, detections=2.0))
    assert torch.equal(few.scores, every.scores[[0, 1, 3, 4]])
    middle = float(every.scores.median())
    assert torch.equal(
        detector.detect(images, knob_table(score_threshold=middle)).scores, every.scores[every.scores >= middle]
    )
    candidates = detector.candidates(images, knob_table(score_threshold=0.0))
    assert candidates.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_torchvisions_own_functions_are_detectors_and_take_losses_of_ours(mine, scene, knob_table):
    images, targets = scene(size=48)
    for objective in (OWN, Objective(loss="rank_sort"), Objective(loss="focal"), Objective(loss="ap", memory=40)):
        detector = build_detector(f"{mine}:narrow_fcos", objective, classes=3, size=(48, 48))
        detector.initialize(0, 1)
        losses = detector.losses(images, targets, knob_table(), seed=0)
        sum(losses.values()).backward()
        assert detector.gradient().any()
        with torch.no_grad():  # its boxes are empty at first
            detector._row.split(detector.weights[0])["head.regression_head.bbox_reg.bias"].fill_(2.0)
        boxes = detector.detect(images, knob_table(score_threshold=0.0, nms_iou=0.1))
        assert boxes.labels.min() >= 0
        assert boxes.labels.max() < 3
        assert len(boxes.scores) < len(detector.detect(images, knob_table(score_threshold=0.0, nms_iou=0.9)).scores)
    focal = build_detector(f"{mine}:narrow_fcos", Objective(), classes=3, size=(48, 48))
    plain = focal.losses(images, targets, knob_table(), seed=0)["class"]
    focal.weigh_classes(0, torch.full((3,), 2.0))
    assert plain < focal.losses(images, targets, knob_table(), seed=0)["class"] < 2 * plain


@pytest.mark.slow
def test_torchvisions_ssdlite_is_named_by_where_it_is(scene, knob_table):
    images, targets = scene(size=48)
    name = "torchvision.models.detection:ssdlite320_mobilenet_v3_large"
    detector = build_detector(name, OWN, classes=3, size=(48, 48))
    assert detector.losses(images, targets, knob_table(), seed=0)["class"] > 0


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_own_detectors_train_are_stored_and_loaded_where_they_are_given(mine, make_task, tmp_path, ema):
    settings = {"extra": True}
    task = make_task(detector=f"{mine}:QuadrantModule", detector_settings=settings, loss="torchvision", ema=ema)
    assert task.knobs.get("scale") == 1.0
    trainer = Trainer(task, seed=1)
    trainer.set_knobs(trainer.knobs.replace(scale=1.5, lr=0.01))
    before = trainer.snapshot().tensors["weights"].clone()
    trainer.train(32)
    assert trainer.fleet._engines[0].detector.model.scale == 1.5
    snapshot = trainer.snapshot()
    assert not torch.equal(snapshot.tensors["weights"], before)
    path = tmp_path / "last.pt"
    Checkpoint(
        snapshot=snapshot, recipe=task.recipe, categories=("a", "b", "c"), size=(48, 48), history=(), settings={}
    ).save(path)
    ours = trainer.detect("test")
    for given in (f"{mine}:QuadrantModule", QuadrantModule):
        loaded = LoadedDetector(path, torch.device("cpu"), detector=given)
        assert loaded.detect(task.splits.test).scores.tolist() == ours.scores.tolist()
    sys.modules[mine] = None  # type: ignore[assignment]
    with pytest.raises(CheckpointError, match=r"its detector is 'my_modules:QuadrantModule', which is none of ours"):
        LoadedDetector(path, torch.device("cpu"))


class Terms(nn.Module):
    """Returns whatever it is given to return."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layer, self.answer = nn.Linear(1, 1), None

    def forward(self, images, targets=None):
        return self.answer


def test_a_module_that_returns_something_else_is_an_error_that_says_what_was_expected(scene, knob_table):
    images, targets = scene(size=48)
    detector = build_detector(Terms, OWN, classes=2, size=(48, 48))
    for answer, message in (
        (None, "returned a NoneType in training: expected a dictionary of scalar losses"),
        ({"class": torch.zeros(2)}, "returned a dictionary of class in training"),
    ):
        detector.model.answer = answer
        with pytest.raises(ConfigError, match=f"detector 'Terms' {message}"):
            detector.losses(images, targets, knob_table(), seed=0)
    for answer, message in (
        ([], r"returned a list of 0 in evaluation: expected a list with a dictionary of boxes, scores, labels"),
        ([{"boxes": 1}] * 2, "returned a list of 2 in evaluation"),
        ({}, "returned a dictionary of nothing in evaluation"),
    ):
        detector.model.answer = answer
        with pytest.raises(ConfigError, match=f"detector 'Terms' {message}"):
            detector.detect(images, knob_table())


def test_what_a_module_cannot_do_is_refused(mine):
    def build(part, objective=OWN, **request):
        return build_detector(part, objective, **{"classes": 2, "size": (48, 48)} | request)

    with pytest.raises(ConfigError, match=r"loss 'mal' with detector 'QuadrantModule', a QuadrantModule that brings"):
        build(QuadrantModule, Objective())
    with pytest.raises(ConfigError, match="weights 'DEFAULT' for detector 'QuadrantModule', which takes none"):
        build(QuadrantModule, weights="DEFAULT")
    with pytest.raises(ConfigError, match=r"unknown setting of detector 'QuadrantModule' 'extr': did you mean 'extra'"):
        build(Choice(name=f"{mine}:QuadrantModule", settings={"extr": 1}))
    with pytest.raises(ConfigError, match="'QuadrantModule' with 2 lanes: expected one; train the lanes in turn"):
        build(QuadrantModule, lanes=2)
