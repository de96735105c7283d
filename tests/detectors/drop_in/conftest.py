"""What the tests of losses dropped into torchvision's models share: small models of each family, and a batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import detection as models
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.ssd import SSD
from torchvision.ops import MultiScaleRoIAlign

CLASSES = 3
DENSE = ["retinanet", "fcos", "ssd"]


class Backbone(nn.Sequential):
    """One map of stride 8."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 16, 8, stride=4, padding=2), nn.ReLU(), nn.Conv2d(16, 32, 4, stride=2, padding=1))
        self.out_channels = 32


def build_model(family: str, seed: int = 0) -> nn.Module:
    """A model of torchvision with its own transform, which resizes the shorter side to 64 pixels."""
    torch.manual_seed(seed)
    sizes = {"min_size": 64, "max_size": 96}
    anchors = AnchorGenerator(((16, 32),), ((1.0,),))
    if family == "retinanet":
        head = RetinaNetHead(32, 2, CLASSES)
        return models.RetinaNet(Backbone(), CLASSES, anchor_generator=anchors, head=head, **sizes)
    if family == "fcos":
        return models.FCOS(Backbone(), CLASSES, anchor_generator=AnchorGenerator(((8,),), ((1.0,),)), **sizes)
    if family == "ssd":
        body = Backbone()
        body.out_channels = [32]
        return SSD(body, DefaultBoxGenerator([[2]], 0.3, 0.6), (64, 64), CLASSES + 1)
    kind = {"faster_rcnn": models.FasterRCNN, "mask_rcnn": models.MaskRCNN, "keypoint_rcnn": models.KeypointRCNN}[
        family
    ]
    parts = {"box_roi_pool": MultiScaleRoIAlign(["0"], 4, 2)}
    if family == "mask_rcnn":
        parts |= {"mask_roi_pool": MultiScaleRoIAlign(["0"], 4, 2), "mask_head": MaskRCNNHeads(32, (256,), 1)}
    if family == "keypoint_rcnn":
        parts |= {"keypoint_roi_pool": MultiScaleRoIAlign(["0"], 4, 2), "keypoint_head": KeypointRCNNHeads(32, (16,))}
        parts["keypoint_predictor"] = KeypointRCNNPredictor(16, 17)
    return kind(
        Backbone(),
        CLASSES + 1,
        rpn_anchor_generator=anchors,
        rpn_batch_size_per_image=32,
        box_batch_size_per_image=32,
        rpn_post_nms_top_n_train=80,
        box_score_thresh=0.0,
        **parts,
        **sizes,
    )


def draw_batch(family: str) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Three images of different sizes, the last without objects."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(3, *size, generator=generator) for size in ((64, 96), (80, 64), (64, 64))]
    boxes = [[[4, 6, 40, 50], [50, 10, 90, 60]], [[6, 20, 30, 70], [30, 2, 60, 40], [20, 20, 50, 60]], []]
    labels = [[0, 2], [2, 1, 0], []]
    targets = []
    for image, rows, columns in zip(images, boxes, labels, strict=True):
        target = {
            "boxes": torch.tensor(rows, dtype=torch.float32).view(-1, 4),
            "labels": torch.tensor(columns, dtype=torch.int64) + (family not in ("retinanet", "fcos")),
            "masks": torch.ones(len(rows), *image.shape[1:], dtype=torch.uint8),
            "keypoints": torch.full((len(rows), 17, 3), 30.0),
        }
        targets.append(target)
    return images, targets


@pytest.fixture
def build() -> Callable[..., nn.Module]:
    """Builds a model of a family: retinanet, fcos, ssd, faster_rcnn, mask_rcnn or keypoint_rcnn."""
    return build_model


@pytest.fixture
def batch() -> Callable[[str], tuple[list[Tensor], list[dict[str, Tensor]]]]:
    """Makes images and targets for a family."""
    return draw_batch


@pytest.fixture
def losses_of() -> Callable[..., dict[str, Tensor]]:
    """Computes the losses that a model of a family returns."""

    def compute(model: nn.Module, family: str, seed: int = 5) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        losses: dict[str, Tensor] = model(*draw_batch(family))
        return losses

    return compute


@pytest.fixture
def names() -> Callable[[str], tuple[str, str]]:
    """Names the class loss and the box loss of a family."""

    def name(family: str) -> tuple[str, str]:
        return ("classification", "bbox_regression") if family in DENSE else ("loss_classifier", "loss_box_reg")

    return name
