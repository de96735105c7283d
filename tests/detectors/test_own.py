"""Detectors of one's own: a class with our interface, and every mistake there is to make."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from mapopt.detectors.dense.detector import DenseDetector
from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.dense.tiny import TinyNetwork
from mapopt.detectors.interface import Detector
from mapopt.detectors.objective import Objective
from mapopt.detectors.registry import DETECTORS, build_detector, detector_kind, supports_lanes
from mapopt.detectors.request import DetectorRequest
from mapopt.errors import ConfigError
from mapopt.postprocessing.suppression import take_candidates
from mapopt.registry import Choice
from mapopt.training import Range, Recipe


class PatchDetector(Detector):
    """Four boxes per image, each a quadrant, scored by a linear map of the mean color; two lanes or more."""

    size_multiple = 2
    supports_lanes = True
    knobs = {"sharpness": Range(0.1, 10.0, log=True)}
    sharpness = 2.0

    def __init__(self, request: DetectorRequest, *, bias: float = 0.0) -> None:
        self.lanes, self.classes, self._bias = request.lanes, request.classes, bias
        self.weights = torch.zeros(request.lanes, 4 * request.classes, requires_grad=True)
        self.decay = torch.ones(4 * request.classes)
        self.seen: list[Tensor] = []

    def initialize(self, lane: int, seed: int) -> None:
        with torch.no_grad():
            self.weights[lane] = torch.randn(4 * self.classes, generator=torch.Generator().manual_seed(seed))

    def _scores(self, images: Tensor) -> tuple[Tensor, Tensor]:
        half = images.shape[-1] // 2
        means = images.unfold(-2, half, half).unfold(-2, half, half).mean((-1, -2)) / 255
        colors = means.flatten(3).transpose(-1, -2)
        maps = self.weights.view(len(self.weights), 1, 4, self.classes)
        logits = colors @ maps[:, :, :3] + maps[:, :, 3:] + self._bias
        corner = torch.tensor([[0, 0], [half, 0], [0, half], [half, half]]).float()
        boxes = torch.cat([corner, corner + half], -1)
        return logits, boxes.expand(*logits.shape[:3], 4)

    def losses(self, images, targets, knobs, *, seed):
        logits, _ = self._scores(images)
        self.seen.append(knobs["sharpness"])
        value = (logits.square().mean((1, 2, 3)) * knobs["sharpness"]) * knobs["class_weight"]
        return {"class": value, "box": torch.zeros_like(value)}

    def candidates(self, images, knobs):
        logits, boxes = self._scores(images)
        size = (images.shape[-2], images.shape[-1])
        return take_candidates(boxes, logits.sigmoid(), knobs["score_threshold"], size=size)


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that holds the detector above, as a user's own file would."""
    module = ModuleType("my_detectors")
    module.PatchDetector = PatchDetector  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_detectors", module)
    return "my_detectors"


def test_a_class_with_our_interface_is_built_with_its_settings_and_says_what_it_can_do(mine):
    built = build_detector(
        Choice(name=f"{mine}:PatchDetector", settings={"bias": 0.5}), Objective(), classes=2, size=(48, 48), lanes=3
    )
    assert (type(built), built.lanes, built._bias) == (PatchDetector, 3, 0.5)
    assert detector_kind(PatchDetector).size_multiple == 2
    assert supports_lanes(PatchDetector)
    assert supports_lanes(f"{mine}:PatchDetector")
    with pytest.raises(ConfigError, match="multiples of 2, such as 48x48 or 48x50"):
        build_detector(PatchDetector, Objective(), classes=2, size=(48, 49))


def test_what_a_detector_inherits_is_enough(scene, knob_table):
    images, targets = scene(lanes=2, size=48)
    detector = build_detector(PatchDetector, Objective(), classes=3, size=(48, 48), lanes=2)
    detector.initialize(1, 5)
    assert detector.buffers() == {}
    assert not detector.gradient().any()
    losses = detector.losses(images, targets, knob_table(2, sharpness=[1.0, 3.0]), seed=0)
    sum(losses.values()).sum().backward()
    assert detector.gradient()[1].any()
    detector.clear_gradient()
    assert not detector.gradient().any()
    boxes = detector.detect(images, knob_table(2, score_threshold=0.0, detections=3.0))
    assert (boxes.lanes * 2 + boxes.images).bincount().tolist() == [3] * 4
    with pytest.raises(ConfigError, match=r"class weights for the losses of PatchDetector, which takes none"):
        detector.weigh_classes(0, torch.ones(3))


def test_lanes_of_an_own_detector_have_their_own_knobs(mine, make_task):
    from mapopt.training import Fleet

    fleet = Fleet(make_task(detector=f"{mine}:PatchDetector"), [1, 2, 3])
    fleet.set_knobs([knobs.replace(sharpness=value) for knobs, value in zip(fleet.knobs, (1.0, 2.0, 4.0), strict=True)])
    assert len(fleet._engines) == 1
    fleet.train(16)
    assert fleet._engines[0].detector.seen[0].tolist() == [1.0, 2.0, 4.0]
    assert len(fleet.evaluate("val", lanes=[1])) == 1


def test_a_recipe_keeps_the_text_of_a_detector_and_imports_nothing():
    recipe = Recipe(detector="nowhere.detectors:Mine", detector_settings={"width": 3})
    assert recipe.detector == "nowhere.detectors:Mine"
    recipe = Recipe.of(detector=DetectorStandIn, detector_settings={"width": 3})
    assert recipe.detector.endswith(":DetectorStandIn")
    assert recipe.detector_settings == {"width": 3}
    with pytest.raises(ConfigError, match="detector_settings width with detector 'tiny', which has none"):
        Recipe(detector_settings={"width": 3})
    with pytest.raises(ConfigError, match="unknown detector 'tinny': did you mean 'tiny'"):
        Recipe(detector="tinny")


class DetectorStandIn:
    """Can be named, and that is all."""


class HalfDetector:
    def __init__(self, request: DetectorRequest) -> None: ...

    def losses(self, images, targets, knobs, *, seed): ...


class WrongDetector(Detector):
    """A detector, but for what is changed about it."""

    changes: dict[str, object] = {}

    def __init__(self, request: DetectorRequest) -> None:
        self.lanes, self.classes = request.lanes, request.classes
        self.weights, self.decay = torch.zeros(1, 5, requires_grad=True), torch.zeros(5)
        for name, value in self.changes.items():
            setattr(self, name, value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": torch.zeros(5)}, r"has weights of shape \[5\]: expected a row for each lane, \[1, n\]"),
        ({"weights": None}, "has weights of type NoneType: expected a row for each lane"),
        ({"weights": torch.zeros(1, 5)}, r"has weights that get no gradient: call .requires_grad_\(\)"),
        ({"decay": torch.zeros(4)}, r"has decay of shape \[4\]: expected 1 or 0 for each number of a lane, \[5\]"),
        ({"lanes": 4}, "has lanes 4: expected the request's 1"),
        ({"classes": 4}, "has classes 4: expected the request's 2"),
    ],
)
def test_what_is_wrong_with_a_detector_is_named(changes, message, monkeypatch):
    monkeypatch.setattr(WrongDetector, "changes", changes)
    with pytest.raises(ConfigError, match=f"detector 'WrongDetector' {message}"):
        build_detector(WrongDetector, Objective(), classes=2, size=(48, 48))


def test_what_is_no_detector_is_refused():
    def build(part):
        return build_detector(part, Objective(), classes=2, size=(48, 48))

    for part, message in (
        (3, "detector of type int cannot be called: expected a class or a function that builds a detector"),
        (HalfDetector, r"detector 'HalfDetector' has no initialize and no candidates and no detect.*mapopt.detectors"),
        (lambda request: 3, r"builds a int without initialize, losses, candidates"),
        (lambda request: nn.Linear(1, 1), "builds a module of torch without the methods of a detector.*num_classes"),
        (lambda request, width: 3, "needs 'width', and it is not given: give it among its settings"),
        (lambda: 3, "cannot be built of these settings"),
        (lambda num_classes: 3, "builds a int: expected a torch.nn.Module"),
        (nn.Conv2d, "detector 'Conv2d' takes no num_classes: expected an argument of that name"),
        ("nowhere:Net", "there is no module 'nowhere'"),
    ):
        with pytest.raises(ConfigError, match=message):
            build(part)


def test_a_dense_detector_of_an_own_network_needs_no_more_than_these_lines(scene, knob_table):
    def build(request: DetectorRequest) -> Detector:
        loss = DenseLoss(request.objective)
        return DenseDetector(TinyNetwork(request.classes), loss, lanes=request.lanes, size=request.size)

    images, targets = scene(size=48)
    detector = build_detector(build, Objective(loss="ap"), classes=3, size=(48, 48))
    assert detector.losses(images, targets, knob_table(), seed=0)["class"].shape == (1,)
    assert "tiny" in DETECTORS
