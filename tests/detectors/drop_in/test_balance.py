"""How the class loss and the box loss of a torchvision model weigh against each other, and what they train."""

import pytest
import torch
from torch import nn

from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.drop_in import replace_class_loss
from mapopt.detectors.objective import Objective
from mapopt.errors import ConfigError
from mapopt.losses import (
    FocalLoss,
    RankSortLoss,
)

DENSE = ["retinanet", "fcos", "ssd"]
STAGED = ["faster_rcnn", "mask_rcnn", "keypoint_rcnn"]
FAMILIES = [*DENSE, *STAGED]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_values_of_the_two_losses_are_balanced_only_where_that_is_asked_for(family, build, losses_of, names):
    for loss, given, expected in (
        (RankSortLoss(), {}, False),
        (RankSortLoss(), {"balance": "values"}, True),
        (FocalLoss(), {"balance": "values"}, True),
        # As earlier versions had it.
        (RankSortLoss(), {"balance": True}, True),
        (RankSortLoss(), {"balance": False}, False),
        (RankSortLoss(), {"balance": None}, True),
        (FocalLoss(), {"balance": None}, False),
    ):
        losses = losses_of(replace_class_loss(build(family), loss, **given), family)
        classification, box = (losses[name] for name in names(family))
        assert torch.allclose(classification, box) == expected


@pytest.mark.parametrize("family", ["retinanet", "faster_rcnn"])
def test_the_class_loss_weighs_what_it_starts_from_or_what_is_asked_for(family, build, losses_of, names):
    name = names(family)[0]

    def value(loss, **given):
        return losses_of(replace_class_loss(build(family), loss, **given), family)[name].item()

    whole = value("ap", class_weight=1.0)
    assert whole > 0
    assert value("ap") == pytest.approx(whole / 4)
    assert value(Objective(loss="ap")) == pytest.approx(whole / 4)
    assert value(Objective(loss="ap"), class_weight=3.0) == pytest.approx(whole * 3)
    assert value("ap", balance="gradients") == pytest.approx(whole)
    assert value("focal") == value("focal", class_weight=1.0)
    with pytest.raises(ConfigError, match="class_weight is -1: expected a number from 0 to 1000000"):
        replace_class_loss(build(family), "ap", class_weight=-1)


@pytest.mark.parametrize("family", ["retinanet", "fcos", "ssd", "faster_rcnn"])
@pytest.mark.parametrize("loss", ["rank_sort", "focal"])
def test_the_gradients_of_the_two_losses_can_be_balanced(family, loss, monkeypatch, build, losses_of, names):
    evaluate, seen = DenseLoss.evaluate, []

    def look(self, logits, boxes, assignment, targets, knobs, *, own):
        seen.append((own.outputs, boxes, assignment.objects, targets.boxes))
        return evaluate(self, logits, boxes, assignment, targets, knobs, own=own)

    monkeypatch.setattr(DenseLoss, "evaluate", look)
    objective = Objective(loss=loss, balance="gradients", balance_ratio=0.3)
    losses = losses_of(replace_class_loss(build(family), objective), family)
    logits, boxes, objects, truth = seen[0]
    of_class, of_boxes = (
        torch.autograd.grad(losses[name], outputs, retain_graph=True)[0]
        for name, outputs in zip(names(family), (logits, boxes), strict=True)
    )
    where = (objects >= 0).nonzero(as_tuple=True)
    matched = truth[where[0], where[1], objects[where]]
    sides = matched[:, 2:] - matched[:, :2]
    of_boxes = of_boxes[where] * torch.cat([sides, sides], 1)
    assert of_boxes.norm().item() == pytest.approx(0.3 * of_class.norm().item(), rel=1e-3)
    assert of_class.norm() > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_but_the_class_loss_can_stay_torchvisions(family, build, losses_of, names):
    own = losses_of(build(family), family)
    ours = losses_of(replace_class_loss(build(family), RankSortLoss(), box_loss="torchvision"), family)
    assert list(ours) == list(own)
    changed = {name for name in own if not torch.equal(own[name], ours[name])}
    assert changed == {names(family)[0]}
    balanced = losses_of(replace_class_loss(build(family), RankSortLoss(), balance="values"), family)
    assert {name for name in own if not torch.equal(own[name], balanced[name])} == set(names(family))


@pytest.mark.parametrize("family", ["retinanet", "fcos", "ssd", "faster_rcnn"])
@pytest.mark.parametrize("loss", [RankSortLoss(), FocalLoss()])
def test_steps_of_sgd_reduce_the_losses_and_move_every_parameter(family, loss, build, losses_of):
    model = replace_class_loss(build(family), loss, balance="none")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    values = []
    for _ in range(6):
        losses = losses_of(model, family)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        if not values:
            silent = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
            # A ranking is the same for all scores raised alike.
            assert set(silent) <= {"head.classification_head.cls_logits.bias"}
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        values.append(sum(losses.values()).item())
    assert values[-1] < values[0]


@pytest.mark.parametrize("family", DENSE)
def test_the_class_loss_alone_trains_the_class_head(family, build, losses_of):
    model = replace_class_loss(build(family), RankSortLoss())
    losses_of(model, family)["classification"].backward()
    weights = [value for name, value in model.named_parameters() if "classification_head" in name and "weight" in name]
    assert weights
    assert all(value.grad.any() for value in weights)
    assert all(value.grad is None or not value.grad.any() for value in model.head.regression_head.parameters())
