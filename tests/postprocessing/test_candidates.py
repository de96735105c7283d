"""Candidates of torchvision's detectors: what they would suppress among, and back to what they report."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import detection as models
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.ssd import SSD
from torchvision.ops import MultiScaleRoIAlign

from mapopt.errors import ConfigError, DataError
from mapopt.metrics import GroundTruth
from mapopt.postprocessing import CandidateSet, PostProcessingSettings, Scorer
from mapopt.postprocessing.torchvision import limits_of

FAMILIES = ["retinanet", "fcos", "ssd", "faster_rcnn"]
COLUMNS = 4


def build(family: str) -> nn.Module:
    """A model of torchvision with its own transform, which resizes the shorter side of an image to 64 pixels."""
    torch.manual_seed(3)
    backbone = nn.Sequential(nn.Conv2d(3, 32, 8, stride=8), nn.ReLU())
    backbone.out_channels = 32
    sizes = {"min_size": 64, "max_size": 96}
    anchors = AnchorGenerator(((24, 32),), ((1.0,),))
    if family == "retinanet":
        head = RetinaNetHead(32, 2, COLUMNS)
        model = models.RetinaNet(backbone, COLUMNS, anchor_generator=anchors, head=head, score_thresh=0.009, **sizes)
    elif family == "fcos":
        anchors, head = AnchorGenerator(((8,),), ((1.0,),)), FCOSHead(32, 1, COLUMNS, num_convs=1)
        model = models.FCOS(backbone, COLUMNS, anchor_generator=anchors, head=head, score_thresh=0.05, **sizes)
        nn.init.constant_(model.head.regression_head.bbox_reg.bias, 2.0)
    elif family == "ssd":
        backbone.out_channels = [32]
        model = SSD(backbone, DefaultBoxGenerator([[2]], 0.3, 0.6), (64, 64), COLUMNS, score_thresh=0.2)
    else:
        model = models.FasterRCNN(
            backbone,
            COLUMNS,
            rpn_anchor_generator=anchors,
            box_roi_pool=MultiScaleRoIAlign(["0"], 4, 2),
            box_score_thresh=0.2,
            **sizes,
        )
    with torch.no_grad():
        for parameter in model.parameters():  # more spread, fewer ties
            parameter += torch.randn_like(parameter) * 0.01
    return model


@pytest.fixture
def batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Three images of different sizes, the last without objects."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(3, *size, generator=generator) for size in ((64, 96), (80, 70), (50, 64))]
    boxes = [[[4.0, 6, 40, 50], [50, 10, 90, 60]], [[6.0, 20, 30, 70]], []]
    labels = [[1, 3], [2], []]
    return images, [
        {"boxes": torch.tensor(rows).reshape(-1, 4), "labels": torch.tensor(names, dtype=torch.int64)}
        for rows, names in zip(boxes, labels, strict=True)
    ]


def own_settings(model: nn.Module, classes: int) -> PostProcessingSettings:
    limits = limits_of(model)
    return PostProcessingSettings(
        nms_iou=limits.nms_thresh,
        soft_nms_sigma=0.0,
        detections=limits.detections_per_img,
        score_thresholds=(limits.score_thresh,) * classes,
        class_detections=(300,) * classes,
    )


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_models_own_settings_report_what_the_model_reports(family, batch_size, batch):
    images, targets = batch
    model = build(family)
    model.train()
    before = dict(vars(limits_of(model)))
    candidates = CandidateSet.from_torchvision(model, images, targets, batch=batch_size)
    assert model.training
    assert dict(vars(limits_of(model))) == before
    assert "postprocess" not in vars(model.transform)
    model.eval()
    with torch.no_grad():
        expected = model(images) if batch_size == 3 else [model([image])[0] for image in images]
    results = candidates.report(own_settings(model, candidates.classes))
    assert sum(len(result["scores"]) for result in expected) < len(candidates.scores)
    for result, own in zip(results, expected, strict=True):
        assert len(own["scores"]) > 0
        assert torch.equal(result["scores"], own["scores"].sort(descending=True).values)
        rows = [
            torch.cat([image["boxes"], image["labels"][:, None], image["scores"][:, None]], 1)
            for image in (result, own)
        ]
        assert torch.equal(*(table.unique(dim=0) for table in rows))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_set_is_a_split_with_the_targets_as_its_ground_truth(family, batch):
    images, targets = batch
    model = build(family)
    candidates = CandidateSet.from_torchvision(model, iter(images), targets, score_threshold=0.0)
    assert candidates.classes == COLUMNS
    assert candidates.truth.labels.tolist() == [1, 3, 2]
    assert candidates.truth.images.tolist() == [0, 1, 2]
    assert len(candidates.scores) >= len(CandidateSet.from_torchvision(model, images, targets).scores)
    # The second image is scaled by 64/70, up to whole pixels.
    second = candidates.images == 1
    scale = candidates.boxes[second].astype(float) / np.maximum(candidates.placed[second], 1e-9)
    sizes = (64 / 70, 64 / 80) if family == "ssd" else (64 / 70, 73 / 80)
    assert scale[candidates.placed[second] > 1] == pytest.approx(np.mean(sizes), abs=0.07)
    score = Scorer(candidates).score(own_settings(model, COLUMNS))
    assert score.reported.sum() > 0
    crowd = [{**target, "iscrowd": torch.ones_like(target["labels"]), "image_id": 9} for target in targets[:1]]
    assert CandidateSet.from_torchvision(model, images, [*crowd, *targets[1:]]).truth.crowd.tolist() == [1, 1, 0]


def test_settings_of_every_class_and_soft_suppression_apply(batch):
    images, targets = batch
    candidates = CandidateSet.from_torchvision(build("faster_rcnn"), images, targets, score_threshold=0.0)
    settings = own_settings(build("faster_rcnn"), COLUMNS)
    few = PostProcessingSettings(**{**vars(settings), "class_detections": (1,) * COLUMNS})
    for result in candidates.report(few):
        assert result["labels"].bincount().max() == 1
    soft = candidates.report(PostProcessingSettings(**{**vars(settings), "soft_nms_sigma": 0.5}))
    hard = candidates.report(settings)
    assert not all(torch.equal(left["scores"], right["scores"]) for left, right in zip(soft, hard, strict=True))


def test_what_cannot_be_done_is_named(batch):
    images, targets = batch
    with pytest.raises(ConfigError, match="candidates of a Linear: expected a detector of torchvision"):
        CandidateSet.from_torchvision(nn.Linear(1, 1), images, targets)
    with pytest.raises(DataError, match="2 targets were given for 3 images: give one for each"):
        CandidateSet.from_torchvision(build("fcos"), images, targets[:2])
    candidates = CandidateSet.from_torchvision(build("fcos"), images, targets)
    with pytest.raises(ConfigError, match="2 score thresholds were given for 4 classes"):
        candidates.report(own_settings(build("fcos"), 2))


def an_object(**settings) -> GroundTruth:
    return GroundTruth([[0, 0, 4, 4]], labels=[1], image_ids=[0], images=[0, 1], categories=[0, 1], **settings)


def columns(**changes) -> dict:
    plain = {
        "boxes": np.zeros((2, 4), np.float32),
        "placed": np.zeros((2, 4)),
        "scores": np.float32([0.5, 0.2]),
        "labels": np.array([0, 1]),
        "images": np.array([0, 1]),
        "truth": an_object(),
    }
    return plain | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": np.float32([0.5])}, r"columns of \[2, 2, 1, 2, 2\] rows"),
        ({"scores": np.float32([0.5, -1])}, "score is negative or not finite"),
        ({"labels": np.array([0, 2])}, "labels 0 to 2: expected positions, 0 to 1"),
        ({"images": np.array([-1, 0])}, "images -1 to 0: expected positions, 0 to 1"),
        ({"truth": an_object(crowd=[1])}, "no object to find: give images with objects"),
    ],
)
def test_columns_that_do_not_fit_are_refused(changes, message):
    CandidateSet(**columns())
    with pytest.raises(DataError, match=message):
        CandidateSet(**columns(**changes))
