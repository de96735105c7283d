"""A ranking loss faded in from the class loss that a torchvision model brings along."""

from __future__ import annotations

import copy

import pytest
import torch

from mapopt.detectors.drop_in import replace_class_loss, restore_class_loss, weigh_class_loss
from mapopt.detectors.objective import Objective
from mapopt.errors import ConfigError

FAMILIES = ["retinanet", "fcos", "ssd", "faster_rcnn", "mask_rcnn", "keypoint_rcnn"]
FADING = Objective(loss="rank_sort", box_loss="torchvision", blend_with="torchvision")


def gradients_of(model, losses):
    return torch.autograd.grad(sum(losses.values()), list(model.parameters()), allow_unused=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fraction_of_0_is_the_models_own_loss_bit_for_bit(family, build, losses_of, names):
    own = build(family)
    faded = weigh_class_loss(replace_class_loss(build(family), FADING), surrogate_weight=0.0, class_weight=1.0)
    expected, losses = losses_of(own, family), losses_of(faded, family)
    assert list(losses) == list(expected)
    assert all(torch.equal(losses[name], value) for name, value in expected.items())
    for first, second in zip(gradients_of(own, expected), gradients_of(faded, losses), strict=True):
        assert (first is None) == (second is None)
        assert first is None or torch.equal(first, second)


@pytest.mark.parametrize("family", FAMILIES)
def test_between_them_values_are_mixed_and_at_1_the_ranking_is_alone(family, build, losses_of, names):
    name = names(family)[0]
    own = losses_of(build(family), family)[name]
    ranking = losses_of(replace_class_loss(build(family), "rank_sort", class_weight=1.0), family)[name]
    model = replace_class_loss(build(family), FADING, class_weight=1.0)
    assert losses_of(model, family)[name] == ranking
    mixed = losses_of(weigh_class_loss(model, surrogate_weight=0.3), family)[name]
    assert mixed.item() == pytest.approx(0.3 * ranking.item() + 0.7 * own.item(), rel=1e-5)
    heavy = losses_of(weigh_class_loss(model, class_weight=2.0), family)[name]
    assert heavy.item() == pytest.approx(2 * mixed.item(), rel=1e-6)
    assert losses_of(weigh_class_loss(model, surrogate_weight=1, class_weight=1), family)[name] == ranking


@pytest.mark.parametrize("family", ["retinanet", "faster_rcnn"])
def test_any_pointwise_loss_can_be_faded_out(family, build, losses_of, names):
    name = names(family)[0]
    model = replace_class_loss(build(family), Objective(loss="ap", blend_with="quality_focal"), class_weight=1.0)
    alone = losses_of(replace_class_loss(build(family), "quality_focal"), family)[name]
    assert losses_of(weigh_class_loss(model, surrogate_weight=0.0), family)[name] == alone


@pytest.mark.parametrize("family", ["retinanet", "fcos", "ssd", "faster_rcnn"])
def test_what_is_faded_is_balanced_by_its_whole_gradient(family, build, losses_of, names):
    objective = Objective(loss="rank_sort", blend_with="torchvision", balance="gradients", balance_ratio=0.5)
    values = {}
    for fraction in (1.0, 0.5, 0.0):
        model = weigh_class_loss(replace_class_loss(build(family), objective), surrogate_weight=fraction)
        losses = losses_of(model, family)
        values[fraction] = losses[names(family)[1]].item()
    # What is shorter or longer than a ranking's gradient makes the box loss shorter or longer.
    assert len(set(values.values())) == 3
    plain = losses_of(replace_class_loss(build(family), Objective(loss="rank_sort")), family)[names(family)[1]].item()
    assert plain not in values.values()
    with torch.no_grad():
        assert all(torch.isfinite(value) for value in losses_of(model, family).values())


def test_a_copy_is_weighed_by_itself(build, losses_of):
    model = replace_class_loss(build("retinanet"), FADING)
    other = weigh_class_loss(copy.deepcopy(model), surrogate_weight=0.0)
    first, second = (losses_of(each, "retinanet")["classification"] for each in (model, other))
    assert first != second


def test_weights_that_make_no_sense_are_named(build):
    model = replace_class_loss(build("retinanet"), FADING)
    with pytest.raises(ConfigError, match=r"surrogate_weight is 1\.5: expected a number from 0 to 1"):
        weigh_class_loss(model, surrogate_weight=1.5)
    with pytest.raises(ConfigError, match="class_weight is nan: expected a number from 0 to 1000000"):
        weigh_class_loss(model, class_weight=float("nan"))
    restore_class_loss(model)
    with pytest.raises(ConfigError, match="a model of type RetinaNet with its own class loss: call replace_class_loss"):
        weigh_class_loss(model, surrogate_weight=0.5)
