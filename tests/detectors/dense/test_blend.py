"""What a ranking loss is blended with while its fraction of the class loss is below 1."""

from __future__ import annotations

import pytest
import torch

from mapopt.detectors import build_detector
from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.objective import Objective
from mapopt.errors import ConfigError
from mapopt.losses import LOSSES, FocalLoss
from mapopt.settings import from_mapping, to_mapping
from mapopt.training import Fleet, Knobs, Recipe, Task, Trainer

POINTWISE = [name for name in LOSSES if LOSSES[name].pointwise]


def evaluate(criterion, problem, knobs):
    """Returns values of the terms, and the gradients of their sum in logits and boxes."""
    logits, boxes, *_ = problem
    losses = criterion(*problem, knobs)
    gradients = torch.autograd.grad(sum(losses.values()).sum(), (logits, boxes), retain_graph=True)
    return losses["class"], losses["box"], *gradients


def same(first, second):
    return all(torch.equal(left, right) for left, right in zip(first, second, strict=True))


@pytest.mark.parametrize("partner", POINTWISE)
@pytest.mark.parametrize("loss", ["ap", "rank_sort", "alrp", "smooth_ap"])
def test_a_fraction_of_0_is_the_partner_alone_bit_for_bit(loss, partner, problem, knob_table, dense_loss):
    blended = evaluate(dense_loss(loss, blend_with=partner), problem, knob_table(2, surrogate_weight=0.0))
    alone = evaluate(dense_loss(partner), problem, knob_table(2))
    assert same(blended, alone)
    assert blended[0].gt(0).all()


@pytest.mark.parametrize("partner", POINTWISE)
def test_a_fraction_of_1_is_the_ranking_loss_alone_bit_for_bit(partner, problem, knob_table, dense_loss):
    for loss in ("ap", "rank_sort"):
        blended = evaluate(dense_loss(loss, blend_with=partner), problem, knob_table(2))
        assert same(blended, evaluate(dense_loss(loss), problem, knob_table(2)))


def test_between_them_values_are_mixed_lane_by_lane(problem, knob_table, dense_loss):
    ranking, partner = (dense_loss(loss)(*problem, knob_table(2))["class"] for loss in ("ap", "quality_focal"))
    mixed = dense_loss("ap", blend_with="quality_focal")(*problem, knob_table(2, surrogate_weight=[0.25, 1.0]))["class"]
    assert mixed[0].item() == pytest.approx((0.25 * ranking + 0.75 * partner)[0].item(), rel=1e-6)
    assert mixed[1] == ranking[1]


def test_the_partner_is_focal_loss_unless_another_is_named(problem, knob_table, dense_loss):
    knobs = knob_table(2, surrogate_weight=0.5)
    default, focal, other = (
        dense_loss("ap", **given)(*problem, knobs)["class"]
        for given in ({}, {"blend_with": "focal"}, {"blend_with": "bce"})
    )
    assert torch.equal(default, focal)
    assert not torch.allclose(default, other)


def test_settings_and_knobs_are_set_in_the_partner(problem, knob_table, dense_loss):
    def value(settings, **knobs):
        criterion = dense_loss("ap", blend_with="focal", blend_settings=settings)
        return criterion(*problem, knob_table(2, surrogate_weight=0.0, **knobs))["class"]

    alone = dense_loss(FocalLoss(alpha=0.9))(*problem, knob_table(2))["class"]
    assert torch.equal(value({"alpha": 0.9}), alone)
    assert not torch.allclose(value({}), alone)
    sharp = value({}, focal_gamma=[2.0, 5.0])
    assert sharp[0] == value({})[0]
    assert sharp[1] < value({})[1]


def test_a_ranking_without_soft_labels_stays_without_them(problem, knob_table, dense_loss):
    logits, boxes, priors, targets = problem
    criterion = dense_loss("ap", blend_with="quality_focal")
    moved = [
        criterion(logits, boxes + shift, priors, targets, knob_table(2, surrogate_weight=fraction))["class"]
        for fraction in (1.0, 0.5)
        for shift in (0.0, 3.0)
    ]
    assert torch.equal(moved[0], moved[1])
    assert not torch.allclose(moved[2], moved[3])


def distance(scores, labels, where):
    return (scores.sigmoid() - labels).abs().mean()


distance.pointwise = True


def hinge(scores, labels, where):
    return (scores[labels == 0].max() - scores[labels > 0].min()).clamp(min=0)


def test_a_partner_of_ones_own_is_taken_if_it_is_pointwise(problem, knob_table):
    criterion = DenseLoss(Objective(loss="ap", blend_with=distance))
    value = criterion(*problem, knob_table(2, surrogate_weight=0.0))["class"]
    assert torch.equal(value, DenseLoss(Objective(loss=distance))(*problem, knob_table(2))["class"])
    with pytest.raises(ConfigError, match=r"blend_with is '.*:hinge', which is no pointwise loss: expected one, such"):
        DenseLoss(Objective(loss="ap", blend_with=hinge))


def test_a_partner_is_a_setting_like_others(make_task):
    recipe = from_mapping(Recipe, {"loss": "ap", "blend_with": "varifocal", "blend_settings": {"gamma": 1.0}}, "x")
    assert recipe == Recipe.of(loss="ap", blend_with=LOSSES["varifocal"](gamma=1.0))
    assert to_mapping(recipe)["blend_with"] == "varifocal"
    assert not {"blend_with", "blend_settings"} & to_mapping(Recipe(loss="ap")).keys()
    assert Recipe.of(loss="ap", blend_with=FocalLoss) == Recipe(loss="ap")

    def weights(partner, fraction):
        task = make_task(loss="ap", blend_with=partner)
        trainer = Trainer(
            Task(name="x", splits=task.splits, recipe=task.recipe, knobs=Knobs(surrogate_weight=fraction))
        )
        trainer.train(16)
        return trainer.snapshot().tensors["weights"]

    assert torch.equal(weights("bce", 1.0), weights("focal", 1.0))
    assert not torch.equal(weights("bce", 0.5), weights("focal", 0.5))


def test_lanes_are_blended_by_themselves_bit_for_bit(make_task):
    task = make_task(loss="ap", blend_with="quality_focal")
    pair, many = Fleet(task, [4, 9]), Fleet(task, [7, 9, 4])
    pair.set_knobs([task.knobs.replace(surrogate_weight=0.4), task.knobs])
    many.set_knobs([task.knobs, task.knobs, task.knobs.replace(surrogate_weight=0.4)])
    pair.train(16), many.train(16)
    for mine, theirs in ((0, 2), (1, 1)):
        assert torch.equal(pair.snapshot(mine).tensors["weights"], many.snapshot(theirs).tensors["weights"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "ap", "blend_with": "focl"}, "unknown loss 'focl': did you mean 'focal'"),
        (
            {"loss": "ap", "blend_with": "rank_sort"},
            "blend_with is 'rank_sort', which is no pointwise loss: expected one",
        ),
        ({"loss": "ap", "blend_settings": {"gama": 1.0}}, "did you mean 'gamma'"),
        (
            {"blend_with": "bce"},
            "blend_with is 'bce' with loss 'mal', which is pointwise itself and blended with nothi",
        ),
        (
            {"loss": "bce", "blend_settings": {"gamma": 1.0}},
            "blend_with is 'focal' with loss 'bce', which is pointwise",
        ),
        (
            {"loss": "ap", "blend_with": "torchvision", "blend_settings": {"gamma": 1.0}},
            "'torchvision', which has none",
        ),
        (
            {"loss": "torchvision", "blend_with": "bce"},
            "blend_with='bce' given with loss 'torchvision', a detector's own",
        ),
    ],
)
def test_blends_that_make_no_sense_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        Objective(**settings)


def test_a_detector_without_a_class_loss_of_its_own_has_none_to_blend_with(problem, knob_table):
    objective = Objective(loss="ap", blend_with="torchvision")
    with pytest.raises(ConfigError, match="blend_with 'torchvision' with detector 'tiny': expected a loss of mapopt"):
        build_detector("tiny", objective, classes=3, size=(64, 64))
    criterion = DenseLoss(objective)
    criterion(*problem, knob_table(2))
    with pytest.raises(
        ConfigError, match="blend_with is 'torchvision', but this detector has no class loss of its own"
    ):
        criterion(*problem, knob_table(2, surrogate_weight=0.5))
