"""The battery for somebody else's detector: ours pass it, and every way to break a rule is named."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
import torch

from mapopt.detectors import Boxes, DenseDetector, DenseLoss, Objective
from mapopt.detectors.dense.tiny import TinyNetwork
from mapopt.training import Range
from mapopt.training.testing import check_detector


@pytest.mark.parametrize(
    "name", ["tiny", *(pytest.param(name, marks=pytest.mark.slow) for name in ("nano", "resnet18"))]
)
def test_our_detectors_have_the_properties(name: str) -> None:
    check_detector(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("ssdlite", "torchvision"),
        ("retinanet_resnet18", "focal"),
        ("fcos_resnet18", "rank_sort"),
        ("faster_rcnn_resnet18", "torchvision"),
    ],
)
def test_detectors_of_torchvision_have_the_properties(name: str, loss: str) -> None:
    """Those that train for many steps are held to in the tests of the detectors."""
    properties = ["losses", "gradient", "boxes", "knobs are read at every call", "seeded", "failure is a value"]
    check_detector(name, objective=Objective(loss=loss), properties=properties)


class Tiny(DenseDetector):
    """The tiny detector as somebody's own, to be broken in one way after the other."""

    supports_lanes = True
    size_multiple = 8

    def __init__(self, request, **settings):
        network, loss = TinyNetwork(request.classes), DenseLoss(request.objective)
        super().__init__(network, loss, lanes=request.lanes, size=request.size, device=request.device, **settings)
        self.count = 0


class NanWithoutObjects(Tiny):
    def losses(self, images, targets, knobs, *, seed):
        terms = super().losses(images, targets, knobs, seed=seed)
        return terms if bool((targets.labels >= 0).any()) else {name: 0 * value / 0 for name, value in terms.items()}


class OneNumber(Tiny):
    def losses(self, images, targets, knobs, *, seed):
        return {name: value.sum() for name, value in super().losses(images, targets, knobs, seed=seed).items()}


class NoBoxLoss(Tiny):
    def losses(self, images, targets, knobs, *, seed):
        return {"class": super().losses(images, targets, knobs, seed=seed)["class"]}


class CutOff(Tiny):
    def gradient(self):
        return torch.zeros_like(self.weights)


class Piling(Tiny):
    def clear_gradient(self):
        pass


class Percent(Tiny):
    def detect(self, images, knobs):
        boxes = super().detect(images, knobs)
        return dataclasses.replace(boxes, scores=100 * boxes.scores)


class FromOne(Tiny):
    def candidates(self, images, knobs):
        boxes = super().candidates(images, knobs)
        return dataclasses.replace(boxes, labels=boxes.labels + 1)

    def detect(self, images, knobs):
        return DenseDetector.detect(self, images, knobs)


class Corners(Tiny):
    def detect(self, images, knobs):
        boxes = super().detect(images, knobs)
        return dataclasses.replace(boxes, boxes=boxes.boxes.flip(1))


class Backwards(Tiny):
    def detect(self, images, knobs):
        boxes = super().detect(images, knobs)
        return Boxes(*(getattr(boxes, name).flip(0) for name in ("boxes", "scores", "labels", "lanes", "images")))


class Unweighted(Tiny):
    def losses(self, images, targets, knobs, *, seed):
        return super().losses(images, targets, {**knobs, "box_weight": torch.ones_like(knobs["lr"])}, seed=seed)


class Unlimited(Tiny):
    def detect(self, images, knobs):
        return super().detect(images, {**knobs, "detections": torch.full_like(knobs["lr"], 50.0)})


class Thresholdless(Tiny):
    def detect(self, images, knobs):
        return super().detect(images, {**knobs, "score_threshold": torch.zeros_like(knobs["lr"])})


class Idle(Tiny):
    knobs = {"zeal": Range(0.0, 1.0)}
    zeal = 0.5


class Unseeded(Tiny):
    def initialize(self, lane, seed):
        super().initialize(lane, 0)


class Haphazard(Tiny):
    def initialize(self, lane, seed):
        super().initialize(lane, random.randrange(1000))


class Noisy(Tiny):
    def losses(self, images, targets, knobs, *, seed):
        return super().losses(images + torch.rand(1), targets, knobs, seed=seed)


class Remembering(Tiny):
    def losses(self, images, targets, knobs, *, seed):
        self.count += 1
        return super().losses(images * (1 + self.count / 10), targets, knobs, seed=seed)


class Sticky(Tiny):
    """Keeps what it remembers among its buffers, and never forgets it."""

    def __init__(self, request):
        self.total = torch.zeros(request.lanes, 1)
        super().__init__(request)

    def buffers(self):
        return {**super().buffers(), "total": self.total}

    def losses(self, images, targets, knobs, *, seed):
        self.total += 1
        return super().losses(images, targets, knobs, seed=seed)


class Marking(Sticky):
    def detect(self, images, knobs):
        self.total += 1
        return super().detect(images, knobs)

    def initialize(self, lane, seed):
        super().initialize(lane, seed)
        self.total[lane] = 0


class Gambling(Tiny):
    def detect(self, images, knobs):
        torch.rand(1)
        return super().detect(images, knobs)


class Leveling(Tiny):
    def losses(self, images, targets, knobs, *, seed):
        terms = super().losses(images, targets, knobs, seed=seed)
        return {name: value / len(value) for name, value in terms.items()}


class Hiding(Tiny):
    def losses(self, images, targets, knobs, *, seed):
        return {
            name: value.nan_to_num(1.0) for name, value in super().losses(images, targets, knobs, seed=seed).items()
        }

    def gradient(self):
        return super().gradient().nan_to_num(0.0)


@pytest.mark.parametrize(
    ("detector", "message"),
    [
        (NanWithoutObjects, "NanWithoutObjects fails 'losses': the class loss of images without objects is .*nan"),
        (OneNumber, r"fails 'losses': the class loss has shape \[\], expected one per lane, \[2\]"),
        (NoBoxLoss, r"fails 'losses': losses returned \['class'\]: expected class and box"),
        (CutOff, "fails 'gradient': no gradient reaches the weights"),
        (Piling, "fails 'gradient': a second backward pass gave another gradient: `clear_gradient` is to forget it"),
        (Percent, "fails 'boxes': detect returned scores of .*: expected 0 to 1"),
        (FromOne, "fails 'boxes': detect returned labels of .* to 3: expected positions from 0 to 2"),
        (Corners, "fails 'boxes': detect returned boxes that are not left, top, right, bottom"),
        (Backwards, "fails 'boxes': detect returned boxes that do not stand by lane and image"),
        (Unweighted, "fails 'knobs are read at every call': with box_weight 3 the box loss is .*, expected"),
        (Unlimited, "fails 'knobs are read at every call': with detections 2 an image has 50 boxes"),
        (Thresholdless, r"fails 'knobs are read at every call': with score_threshold \S+ scores of \S+ to \S+ are"),
        (Idle, "fails 'knobs are read at every call': the own knob 'zeal' changes neither losses nor boxes"),
        (Unseeded, "fails 'seeded': another seed gave the same first weights"),
        (Haphazard, "fails 'seeded': the same seed gave other first weights: draw them from the seed alone"),
        (Noisy, "fails 'gradient': a second backward pass gave another gradient|fails 'determined'"),
        (Remembering, r"fails 'gradient'|fails 'snapshot': .*is all that is remembered in `buffers`"),
        (Sticky, "fails 'reset': a detector after `initialize`: 'buffer.total' differs by up to 2"),
        (Marking, "fails 'evaluation leaves no trace': a state after `detect`: 'buffer.total' differs by up to"),
        (Gambling, "fails 'evaluation leaves no trace': `detect` drew from torch's global random stream"),
        (Leveling, "fails 'lanes': a lane among 2 and among 3: 'weights' differs by up to"),
        (Hiding, "fails 'failure is a value': weights of NaN gave a finite loss and gradient"),
    ],
)
def test_a_detector_that_breaks_a_rule_is_named(detector: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_detector(detector)


def test_single_properties_are_checked_by_name() -> None:
    check_detector(Noisy, properties=["losses", "boxes"])
    with pytest.raises(AssertionError, match="'determined': 4 steps at once and in 2 calls: 'weights' differs"):
        check_detector(Noisy, properties=["determined"])
    with pytest.raises(AssertionError, match="Remembering fails 'snapshot': 2 steps after a state was restored"):
        check_detector(Remembering, properties=["snapshot"])
