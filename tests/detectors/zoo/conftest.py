"""What the tests of torchvision's detectors share: small models of each family, which stand in the table of models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn
from torchvision.models import detection as models
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.ssd import SSD
from torchvision.ops import MultiScaleRoIAlign

from mapopt.detectors.objective import Objective
from mapopt.detectors.torchvision import TorchvisionDetector
from mapopt.detectors.torchvision_models import MODELS, ZooModel

SIZE = 64
FAMILIES = ["retinanet", "fcos", "ssd", "faster_rcnn"]


class Backbone(nn.Sequential):
    """One map of stride 8, with batch norms, so that there are running statistics."""

    def __init__(self) -> None:
        layers = [nn.Conv2d(3, 16, 8, stride=4, padding=2), nn.BatchNorm2d(16), nn.ReLU()]
        layers += [nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
        super().__init__(*layers)
        self.out_channels = 32


def small(family: str, columns: int) -> Any:
    """Torchvision's model of a family on a small backbone; its transform resizes nothing."""
    sizes = {"min_size": SIZE, "max_size": SIZE}
    if family == "retinanet":
        anchors = AnchorGenerator(((16, 32),), ((1.0,),))
        head = RetinaNetHead(32, 2, columns)
        head.regression_head._loss_type = "giou"
        return models.RetinaNet(Backbone(), columns, anchor_generator=anchors, head=head, **sizes)
    if family == "fcos":
        anchors = AnchorGenerator(((8,),), ((1.0,),))
        head = FCOSHead(32, 1, columns, num_convs=1)
        return models.FCOS(Backbone(), columns, anchor_generator=anchors, head=head, **sizes)
    if family == "ssd":
        body = Backbone()
        body.out_channels = [32]
        return SSD(body, DefaultBoxGenerator([[2]], 0.3, 0.6), (SIZE, SIZE), columns)
    return models.FasterRCNN(
        Backbone(),
        columns,
        rpn_anchor_generator=AnchorGenerator(((16, 32),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 4, 2),
        rpn_batch_size_per_image=32,
        box_batch_size_per_image=32,
        rpn_post_nms_top_n_train=80,
        _skip_resize=True,  # choosing a size, even the only one, would draw from the stream that samples boxes
        **sizes,
    )


@pytest.fixture(autouse=True)
def small_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the small models into the zoo, under their families' names."""
    for family in FAMILIES:
        background = family in ("ssd", "faster_rcnn")
        spec = ZooModel(lambda columns, pretrained, family=family: small(family, columns), background=background)
        monkeypatch.setitem(MODELS, f"small_{family}", spec)


@pytest.fixture
def detector_of() -> Callable[..., TorchvisionDetector]:
    """Builds the small detector of a family, with torchvision's losses or with one of ours."""

    def build(family: str, loss: str = "torchvision", seed: int = 0, **settings: Any) -> TorchvisionDetector:
        own = {name: settings.pop(name) for name in ("weights", "autocast") if name in settings}
        detector = TorchvisionDetector(f"small_{family}", Objective(loss=loss, **settings), classes=3, **own)
        detector.initialize(0, seed)
        return detector

    return build


@pytest.fixture
def plain_model() -> Callable[[TorchvisionDetector, str], Any]:
    """Builds torchvision's own model with a detector's weights."""

    def build(detector: TorchvisionDetector, family: str) -> Any:
        model = small(family, 3 + (family in ("ssd", "faster_rcnn")))
        values = detector._row.split(detector.weights[0].detach())
        model.load_state_dict({**values, **{name: value[0] for name, value in detector.buffers().items()}})
        return model

    return build
