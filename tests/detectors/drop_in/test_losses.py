"""What a torchvision model trains on when a loss of ours is in it."""

from collections.abc import Callable
from itertools import chain

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import box_iou, generalized_box_iou_loss

from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.drop_in import replace_class_loss
from mapopt.detectors.objective import Objective
from mapopt.errors import ConfigError
from mapopt.losses import (
    ALRPLoss,
    APLoss,
    EffectiveClassMarginLoss,
    EqualizedFocalLoss,
    FocalLoss,
    IoUAwareBCELoss,
    ListLoss,
    MatchabilityAwareLoss,
    RankSortLoss,
    TaskAlignedBCELoss,
    VarifocalLoss,
)

CLASSES = 3
COUNTS = [60, 30, 0]
"""Objects of each class to train on; one without any counts as having one."""
POINTWISE = [MatchabilityAwareLoss(), IoUAwareBCELoss(), TaskAlignedBCELoss(), EffectiveClassMarginLoss()]


DENSE = ["retinanet", "fcos", "ssd"]
STAGED = ["faster_rcnn", "mask_rcnn", "keypoint_rcnn"]
FAMILIES = [*DENSE, *STAGED]
Parts = tuple[list[Tensor], list[Tensor], list[Tensor], list[dict[str, Tensor]]]


def watch(model: nn.Module, family: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Parts]:
    """Looks into a model while it trains; returns a function for what was seen of every image.

    The class logits, the boxes predicted (for the object's class), and the object of each location or -1 or -2.
    """
    seen: dict[str, object] = {}
    transform = model.transform.forward

    def keep_targets(*arguments):
        images, seen["targets"] = transform(*arguments)
        return images, seen["targets"]

    monkeypatch.setattr(model.transform, "forward", keep_targets)
    if family in STAGED:
        select = RoIHeads.select_training_samples

        def keep_samples(*arguments):
            seen["samples"] = select(*arguments)
            return seen["samples"]

        monkeypatch.setattr(RoIHeads, "select_training_samples", keep_samples)
        model.roi_heads.box_predictor.register_forward_hook(lambda m, i, outputs: seen.update(outputs=outputs))
    else:
        model.head.register_forward_hook(lambda m, i, outputs: seen.update(outputs=outputs))
        model.anchor_generator.register_forward_hook(lambda m, i, outputs: seen.update(anchors=outputs))

    def staged() -> Parts:
        proposals, matched, labels, _ = seen["samples"]
        logits, deltas = seen["outputs"]
        probability = logits.double().softmax(-1)[:, 1:]
        odds = (probability / (1 - probability)).log().float()
        boxes = model.roi_heads.box_coder.decode(deltas, proposals)
        chosen = boxes[torch.arange(len(boxes)), torch.cat(labels)]
        counts = [len(column) for column in labels]
        objects = [torch.where(label > 0, match, -1) for label, match in zip(labels, matched, strict=True)]
        return list(odds.split(counts)), list(chosen.split(counts)), objects, seen["targets"]

    def dense() -> Parts:
        logits, deltas = seen["outputs"]["cls_logits"], seen["outputs"]["bbox_regression"]
        if family == "ssd":
            probability = logits.double().softmax(-1)[..., 1:]
            logits = (probability / (1 - probability)).log().float()
        boxes, objects = [], []
        for delta, anchors, target in zip(deltas, seen["anchors"], seen["targets"], strict=True):
            if family == "fcos":
                boxes.append(model.box_coder.decode(delta, anchors))
            else:
                boxes.append(model.box_coder.decode_single(delta, anchors))
            if not len(target["boxes"]):
                objects.append(torch.full((len(anchors),), -1))
            elif family == "fcos":  # one level: a location in the middle of an object, of several the smallest
                centers = (anchors[:, :2] + anchors[:, 2:]) / 2
                best = torch.full((len(anchors),), -1)
                area = torch.full((len(anchors),), torch.inf)
                for number, box in enumerate(target["boxes"]):
                    near = (centers - (box[:2] + box[2:]) / 2).abs().amax(1) < 1.5 * 8
                    inside = torch.cat([centers - box[:2], box[2:] - centers], 1).amin(1) > 0
                    size = (box[2:] - box[:2]).prod()
                    better = near & inside & (size < area)
                    best[better], area[better] = number, size
                objects.append(best)
            else:
                objects.append(model.proposal_matcher(box_iou(target["boxes"], anchors)))
        return list(logits), boxes, objects, seen["targets"]

    return staged if family in STAGED else dense


def by_hand(loss: ListLoss, parts: Parts, first: int) -> Tensor:
    """The mean of the loss over the lists of classes, one after the other; of a pointwise one on one list."""
    scores, labels, objects = ([[] for _ in range(CLASSES)] for _ in range(3))
    for image, (logits, boxes, matches, target) in enumerate(zip(*parts, strict=True)):
        for category in range(CLASSES):
            for score, box, match in zip(logits[:, category], boxes, matches.tolist(), strict=True):
                if match == -2:
                    continue
                label = score.new_zeros(())
                if match >= 0 and target["labels"][match] == category + first:
                    label = box_iou(box[None], target["boxes"][match][None])[0, 0].clamp(min=1e-3)
                scores[category].append(score)
                labels[category].append(label if loss.soft_labels or not label else torch.ones(()))
                objects[category].append(torch.tensor(1000 * image + match))
    rarity = [[torch.tensor(max(1, count) / 91)] * len(column) for count, column in zip(COUNTS, scores, strict=True)]
    if loss.pointwise:
        scores, labels, objects, rarity = ([list(chain(*columns))] for columns in (scores, labels, objects, rarity))
    values = []
    for column, marks, numbers, rare in zip(scores, labels, objects, rarity, strict=True):
        facts = {"objects": torch.stack(numbers), "frequencies": torch.stack(rare)}
        if any(marks):
            known = {name: facts[name] for name in loss.reads}
            values.append(loss(torch.stack(column), torch.stack(marks), facts=known))
    return sum(values) / len(values)


@pytest.mark.parametrize(
    ("family", "loss"),
    [
        *((family, RankSortLoss(delta=0.7)) for family in FAMILIES),
        *((family, FocalLoss(gamma=1.5)) for family in FAMILIES),
        *(
            (family, loss)
            for family in ("retinanet", "faster_rcnn")
            for loss in (APLoss(), ALRPLoss(), VarifocalLoss(), *POINTWISE)
        ),
    ],
)
def test_the_class_loss_is_the_loss_of_the_lists(family, loss, monkeypatch, build, losses_of, names):
    labels = COUNTS if family in ("retinanet", "fcos") else [0, *COUNTS]  # the others' label 0 is the background
    model = replace_class_loss(build(family), loss, class_counts=labels if "frequencies" in loss.reads else None)
    look = watch(model, family, monkeypatch)
    value = losses_of(model, family)[names(family)[0]]
    expected = loss.start_weight() * by_hand(loss, look(), first=family not in ("retinanet", "fcos"))
    assert value.shape == ()
    assert value.item() > 0
    assert torch.allclose(value, expected, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_box_loss_is_the_mean_giou_loss_of_the_positives(family, monkeypatch, build, losses_of, names):
    model = replace_class_loss(build(family), APLoss(), balance="none")
    look = watch(model, family, monkeypatch)
    value = losses_of(model, family)[names(family)[1]]
    each = [
        generalized_box_iou_loss(boxes[objects >= 0], target["boxes"][objects[objects >= 0]])
        for _, boxes, objects, target in zip(*look(), strict=True)
        if (objects >= 0).any()
    ]
    assert torch.allclose(value, torch.cat(each).mean(), rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("box_loss", ["giou", "torchvision"])
def test_without_any_object_every_loss_is_finite_and_has_a_gradient(family, box_loss, build, batch, names):
    images, targets = batch(family)
    model = replace_class_loss(build(family), RankSortLoss(), box_loss=box_loss)
    losses = model(images[-1:], targets[-1:])
    assert all(torch.isfinite(value) for value in losses.values())
    assert losses[names(family)[0]] == 0
    sum(losses.values()).backward()
    gradients = [value.grad for value in model.parameters()]
    assert all(value is not None and torch.isfinite(value).all() for value in gradients)


@pytest.mark.parametrize("family", FAMILIES)
def test_crowd_regions_are_neither_objects_nor_background(family, build, batch, names):
    images, targets = batch(family)
    # A crowd all over the first image, as its first box.
    row = torch.tensor([[0.0, 0.0, 96.0, 64.0]])
    plain = targets[0]
    crowded = {
        "boxes": torch.cat([row, plain["boxes"]]),
        "labels": torch.cat([plain["labels"][:1], plain["labels"]]),
        "masks": torch.cat([plain["masks"][:1], plain["masks"]]),
        "keypoints": torch.cat([plain["keypoints"][:1], plain["keypoints"]]),
        "iscrowd": torch.tensor([1, 0, 0]),
        "image_id": torch.tensor([7]),
    }
    before = {name: value.clone() for name, value in crowded.items()}
    values = []
    for target in (plain, crowded, {**plain, "iscrowd": torch.zeros(2, dtype=torch.int64)}):
        model = replace_class_loss(build(family), FocalLoss(), balance="none")
        torch.manual_seed(5)
        values.append(model(images, [target, *targets[1:]]))
    without, within, unmarked = values
    assert all(torch.equal(value, unmarked[name]) for name, value in without.items())
    classification = names(family)[0]
    assert within[classification] < without[classification]
    assert all(torch.equal(value, within[name]) for name, value in without.items() if name != classification)
    assert all(torch.equal(value, crowded[name]) for name, value in before.items())


@pytest.mark.parametrize("family", ["retinanet", "fcos", "ssd", "faster_rcnn"])
def test_under_autocast_boxes_and_losses_are_computed_in_float32(family, monkeypatch, build, losses_of, names):
    model = replace_class_loss(build(family), RankSortLoss(), balance="none")
    exact = losses_of(model, family)
    evaluate, types = DenseLoss.evaluate, set()

    def look(self, logits, boxes, assignment, targets, knobs, *, own):
        types.update((logits.dtype, boxes.dtype, targets.boxes.dtype))
        return evaluate(self, logits, boxes, assignment, targets, knobs, own=own)

    monkeypatch.setattr(DenseLoss, "evaluate", look)
    with torch.autocast("cpu", torch.bfloat16):
        losses = losses_of(model, family)
    assert types == {torch.float32}
    for name in names(family):
        assert losses[name].dtype == torch.float32
        assert torch.allclose(losses[name], exact[name], rtol=0.2)
    sum(losses.values()).backward()


def test_counts_of_the_classes_are_given_to_losses_that_read_them_and_to_no_others(build, losses_of):
    model = build("fcos")
    for loss, counts, message in [
        ("ecm", None, "EffectiveClassMarginLoss reads how frequent the classes are: give class_counts, the objects of"),
        ("focal", COUNTS, "class_counts were given with FocalLoss, which does not read how frequent the classes are"),
    ]:
        with pytest.raises(ConfigError, match=message):
            replace_class_loss(model, loss, class_counts=counts)
        assert "compute_loss" not in vars(model.head)
    replace_class_loss(model, "ecm", class_counts=[60, 30])
    with pytest.raises(ConfigError, match="the objects of 2 classes were counted, but there are logits of 3"):
        losses_of(model, "fcos")


@pytest.mark.parametrize("family", ["retinanet", "faster_rcnn"])
def test_a_loss_that_remembers_is_given_as_an_object_which_keeps_what_it_has_seen(family, build, losses_of):
    for given in ("efl", EqualizedFocalLoss, Objective(loss="efl")):
        with pytest.raises(ConfigError, match=r"EqualizedFocalLoss by name or class, but it remem|given as an object"):
            replace_class_loss(build(family), given)
    loss, kept = EqualizedFocalLoss(), []
    model = replace_class_loss(build(family), loss)
    for _ in range(2):
        losses_of(model, family)
        kept.append(loss.lowered.clone())
    assert loss.ratios.shape == (1, CLASSES)
    assert (kept[1] > kept[0]).all()
    assert (kept[0] > 0).all()
    assert set(loss.state_dict()) == {"raised", "lowered"}
    assert not any("raised" in name for name in model.state_dict())
