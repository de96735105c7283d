"""The box loss scaled to the class loss by their gradients at the outputs, lane by lane."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mapopt.detectors.dense.balance import by_gradients
from mapopt.detectors.dense.geometry import Priors
from mapopt.detectors.dense.losses import DenseLoss
from mapopt.losses import LOSSES, make_loss
from mapopt.training import Fleet, Recipe, Trainer


def lengths(losses, problem, assigned):
    """How long the gradients are in each lane: the class loss's in logits, the box loss's in units of the objects."""
    logits, boxes, _, targets = problem
    of_class, of_boxes = (
        torch.autograd.grad(losses[name].sum(), outputs, retain_graph=True)[0]
        for name, outputs in (("class", logits), ("box", boxes))
    )
    lengths_by_lane = []
    for lane in range(2):
        parts = []
        for image, location in (assigned.objects[lane] >= 0).nonzero().tolist():
            left, top, right, bottom = targets.boxes[lane, image, assigned.objects[lane, image, location]]
            sides = torch.stack([right - left, bottom - top, right - left, bottom - top])
            parts.append(of_boxes[lane, image, location] * sides)
        lengths_by_lane.append(
            (of_class[lane].square().sum().sqrt().item(), torch.cat(parts).square().sum().sqrt().item())
        )
    return lengths_by_lane


@pytest.mark.parametrize("ratio", [1.0, 0.25])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_in_the_boxes_is_a_ratio_of_the_one_in_the_logits(
    loss, ratio, problem, knob_table, dense_loss, assignment
):
    assigned = assignment(problem, knob_table(2))
    criterion = dense_loss(loss, balance="gradients", balance_ratio=ratio)
    for of_class, of_boxes in lengths(criterion(*problem, knob_table(2)), problem, assigned):
        assert of_boxes == pytest.approx(ratio * of_class, rel=1e-4)
    plain = dense_loss(loss)(*problem, knob_table(2))
    both = lengths(plain, problem, assigned)
    assert all(of_boxes != pytest.approx(ratio * of_class, rel=1e-2) for of_class, of_boxes in both)


def test_knobs_weigh_what_is_balanced(problem, knob_table, dense_loss, assignment):
    assigned = assignment(problem, knob_table(2))
    criterion = dense_loss("rank_sort", balance="gradients", balance_ratio=2.0)
    losses = criterion(*problem, knob_table(2, box_weight=[3.0, 1.0], class_weight=[0.5, 1.0]))
    (first, first_boxes), (second, second_boxes) = lengths(losses, problem, assigned)
    assert first_boxes == pytest.approx(12 * first, rel=1e-4)
    assert second_boxes == pytest.approx(2 * second, rel=1e-4)


@pytest.mark.parametrize("loss", ["ap", "alrp", "quality_focal"])
def test_balancing_gradients_changes_the_length_of_the_box_gradient_alone(loss, problem, knob_table, dense_loss):
    logits, boxes, *_ = problem
    plain, scaled = (dense_loss(loss, balance=balance)(*problem, knob_table(2)) for balance in ("none", "gradients"))
    for outputs in (logits, boxes):
        # What a class loss itself sends into the boxes stays, too.
        first, second = (
            torch.autograd.grad(losses["class"].sum(), outputs, retain_graph=True, allow_unused=True)[0]
            for losses in (plain, scaled)
        )
        assert (first is None) == (second is None) == (loss != "alrp" and outputs is boxes)
        assert first is None or torch.equal(first, second)
    first, second = (torch.autograd.grad(losses["box"].sum(), boxes)[0].flatten(1) for losses in (plain, scaled))
    assert torch.allclose(torch.cosine_similarity(first, second, dim=1), torch.ones(2))
    assert torch.equal(plain["class"], scaled["class"])
    assert not torch.allclose(plain["box"], scaled["box"])


@pytest.mark.parametrize("loss", ["ap", "focal"])
def test_a_lane_is_balanced_by_itself_bit_for_bit(loss, problem, knob_table, dense_loss):
    logits, boxes, priors, targets = problem
    criterion = dense_loss(loss, balance="gradients")
    before = criterion(*problem, knob_table(2))["box"]
    with torch.no_grad():
        changed = torch.stack([logits[0], 3 * logits[1] - 1]), torch.stack([boxes[0], boxes[1] + 1.5])
    after = criterion(*changed, priors, targets, knob_table(2))["box"]
    assert after[0] == before[0]
    assert after[1] != before[1]
    turned = [values.flip(0) for values in (logits, boxes)]
    flipped = replace(targets, **{name: getattr(targets, name).flip(0) for name in ("boxes", "labels", "crowd")})
    assert torch.equal(criterion(*turned, priors, flipped, knob_table(2))["box"], before.flip(0))


def test_a_lane_without_objects_has_the_factor_1_and_one_that_is_not_finite_is_seen(problem, knob_table, dense_loss):
    logits, boxes, priors, targets = problem
    criterion = dense_loss("ap", balance="gradients")
    before = criterion(*problem, knob_table(2))["box"]
    broken = logits.detach().clone()
    broken[1, 0, 3] = torch.nan
    losses = criterion(broken, boxes, priors, targets, knob_table(2))
    assert losses["class"].isnan().tolist() == [False, True]
    assert losses["box"][0] == before[0]
    assert torch.isfinite(losses["box"]).all()
    targets.labels[1] = -1
    losses = criterion(*problem, knob_table(2))
    assert losses["box"].tolist() == [before[0].item(), 0.0]
    sum(losses.values()).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_factors_are_ratios_of_lengths_and_1_where_there_is_no_length():
    scores, boxes = torch.ones(4, 2, requires_grad=True), torch.ones(4, 1, 4, requires_grad=True)
    class_term = (scores * torch.tensor([[3.0, 4.0], [3.0, 4.0], [3.0, torch.inf], [0.0, 0.0]])).sum(-1)
    slopes = torch.tensor([[0.1, 0.0, 0.0, 0.2], [0.0] * 4, [0.1] * 4, [1e-30] * 4])
    box_term = (boxes * slopes[:, None]).sum((1, 2))
    sides = torch.tensor([10.0, 20.0]).expand(4, 1, 2)
    factors = by_gradients(class_term, box_term, scores=scores, boxes=boxes, sides=sides, ratio=0.5)
    assert factors.tolist() == pytest.approx([0.5 * 5 / 17**0.5, 1.0, 1.0, 0.0])
    assert not factors.requires_grad


def test_the_size_of_the_image_does_not_matter(problem, knob_table, dense_loss):
    logits, boxes, priors, targets = problem
    criterion = dense_loss("rank_sort", balance="gradients")
    large = Priors(priors.centers * 4, priors.sizes * 4, priors.strides * 4)
    losses = criterion(*problem, knob_table(2))
    scaled = criterion(logits, boxes * 4, large, replace(targets, boxes=targets.boxes * 4), knob_table(2))
    assert torch.allclose(scaled["box"], losses["box"], rtol=1e-4)


def test_the_value_is_the_same_where_nobody_asks_for_a_gradient(problem, knob_table, dense_loss):
    criterion = dense_loss("rank_sort", balance="gradients")
    expected = criterion(*problem, knob_table(2))
    with torch.no_grad():
        silent = criterion(*problem, knob_table(2))
    logits, boxes, *rest = problem
    plain = criterion(logits.detach(), boxes.detach(), *rest, knob_table(2))
    for name, value in expected.items():
        assert torch.equal(silent[name], value)
        assert torch.equal(plain[name], value)
        assert not silent[name].requires_grad
    assert value.requires_grad


def test_a_memory_is_filled_once_a_step(problem, knob_table, dense_loss):
    both = []
    for balance in ("none", "gradients"):
        criterion = dense_loss("ap", balance=balance, memory=100)
        criterion.prepare(lanes=2, classes=3, device=torch.device("cpu"))
        for _ in range(2):
            value = criterion(*problem, knob_table(2))["class"]
        both.append((value, *criterion.buffers().values()))
    assert all(torch.equal(first, second) for first, second in zip(*both, strict=True))


def test_blends_and_auxiliary_losses_count_as_the_class_loss(problem, knob_table, dense_loss, assignment):
    assigned = assignment(problem, knob_table(2))
    criterion = dense_loss("ap", balance="gradients", balance_ratio=0.5, auxiliary={"correlation": 0.7})
    losses = criterion(*problem, knob_table(2, surrogate_weight=0.4))
    for of_class, of_boxes in lengths(losses, problem, assigned):
        assert of_boxes == pytest.approx(0.5 * of_class, rel=1e-4)


def test_lanes_of_a_fleet_are_balanced_by_themselves_bit_for_bit(make_task):
    task = make_task(loss="rank_sort", balance="gradients")
    pair, many, alone = Fleet(task, [4, 9]), Fleet(task, [7, 9, 1, 4, 5]), Trainer(task, seed=4)
    pair.train(16), many.train(16), alone.train(16)
    weights = pair.snapshot(0).tensors["weights"]
    assert torch.equal(weights, many.snapshot(3).tensors["weights"])
    assert torch.equal(weights, alone.snapshot().tensors["weights"])
    plain = Trainer(make_task(loss="rank_sort"), seed=4)
    plain.train(16)
    assert not torch.equal(weights, plain.snapshot().tensors["weights"])


@pytest.mark.parametrize(
    ("given", "loss", "expected"),
    [
        (True, "focal", "values"),
        (False, "ap", "none"),
        (None, "ap", "values"),
        (None, "listnet", "none"),
        (None, "focal", "none"),
        ("former", "rank_sort", "values"),
        ("gradients", "focal", "gradients"),
    ],
)
def test_what_the_balance_was_called_in_earlier_versions_means_what_it_did(given, loss, expected, dense_loss):
    assert Recipe(loss=loss, balance=given).balance == expected
    assert dense_loss(loss, balance=given).balance == expected


def test_what_earlier_versions_did_with_a_loss_of_ones_own_the_loss_says():
    recipe = Recipe(loss="somebody.losses:Hinge", balance=None)
    assert recipe.balance == "former"
    assert DenseLoss(recipe, loss=make_loss("rank_sort")).balance == "values"
    assert DenseLoss(recipe, loss=make_loss("listmle")).balance == "none"
