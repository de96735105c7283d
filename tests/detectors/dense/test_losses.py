"""The class and box losses of dense detectors: lanes, weights, labels and boxes."""

import pytest
import torch

from mapopt.detectors.dense import losses as dense_losses
from mapopt.detectors.interface import Targets
from mapopt.errors import ConfigError
from mapopt.losses import BOX_LOSSES, LOSSES

POINTWISE = {"focal", "bce", "quality_focal", "varifocal", "mal", "ia_bce", "task_aligned_bce", "ecm", "efl"}


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_gives_each_lane_a_finite_gradient_in_logits_and_boxes(loss, problem, knob_table, dense_loss):
    logits, boxes, priors, targets = problem
    boxes.retain_grad()
    losses = dense_loss(loss, balance="none")(logits, boxes, priors, targets, knob_table(2))
    assert {name: value.shape for name, value in losses.items()} == {"class": (2,), "box": (2,)}
    sum(losses.values()).sum().backward()
    for gradient in (logits.grad, boxes.grad):
        assert torch.isfinite(gradient).all()
        assert gradient.any()


@pytest.mark.parametrize("loss", ["focal", "ap", "rank_sort"])
def test_lanes_do_not_see_each_other(loss, problem, knob_table, dense_loss, lane_of):
    logits, boxes, priors, targets = problem
    criterion = dense_loss(loss)
    together = criterion(logits, boxes, priors, targets, knob_table(assign_iou=[0.2, 0.6], focal_gamma=[0.5, 3.0]))
    for lane, (iou, gamma) in enumerate([(0.2, 0.5), (0.6, 3.0)]):
        alone = criterion(
            logits[lane : lane + 1],
            boxes[lane : lane + 1],
            priors,
            lane_of(targets, lane),
            knob_table(assign_iou=iou, focal_gamma=gamma),
        )
        for name in alone:
            assert torch.allclose(together[name][lane], alone[name][0])


@pytest.mark.parametrize("balance", ["none", "values", "gradients"])
@pytest.mark.parametrize("loss", ["focal", "ap"])
def test_a_weight_scales_its_own_term_and_no_other(loss, balance, problem, knob_table, dense_loss):
    criterion = dense_loss(loss, balance=balance)
    plain = criterion(*problem, knob_table(2))
    for term, other in (("class", "box"), ("box", "class")):
        doubled = criterion(*problem, knob_table(**{f"{term}_weight": [2.0, 3.0]}, **{f"{other}_weight": [1.0, 1.0]}))
        assert torch.allclose(doubled[term], plain[term] * torch.tensor([2.0, 3.0]))
        assert torch.equal(doubled[other], plain[other])


def test_balancing_values_makes_the_box_loss_as_large_as_the_class_loss_in_its_direction(
    problem, knob_table, dense_loss
):
    logits, boxes, priors, targets = problem
    gradients = []
    for balance in ("none", "values"):
        losses = dense_loss("ap", balance=balance)(logits, boxes, priors, targets, knob_table(2))
        gradients.append(torch.autograd.grad(losses["box"].sum(), boxes, retain_graph=True)[0].flatten(1))
    assert torch.allclose(losses["box"], losses["class"])
    assert torch.allclose(torch.cosine_similarity(*gradients, dim=1), torch.ones(2))
    assert not torch.allclose(*gradients)


def test_the_pointwise_losses_are_those_that_say_so():
    assert {name for name in LOSSES if LOSSES[name].pointwise} == POINTWISE


def test_the_surrogate_weight_blends_the_ranking_loss_with_focal_loss(problem, knob_table, dense_loss):
    def value(loss, **changes):
        return dense_loss(loss, balance="none")(*problem, knob_table(2, **changes))["class"]

    focal, ranking = value("focal"), value("ap")
    assert torch.allclose(value("ap", surrogate_weight=0.0), focal)
    assert torch.allclose(value("ap", surrogate_weight=[1.0, 0.25])[0], ranking[0])
    assert torch.allclose(value("ap", surrogate_weight=[1.0, 0.25])[1], (0.25 * ranking + 0.75 * focal)[1])
    assert torch.equal(value("focal", surrogate_weight=0.3), focal)


def test_gamma_reaches_the_focal_loss_lane_by_lane(problem, knob_table, dense_loss):
    criterion = dense_loss("focal")
    two, mixed = (criterion(*problem, knob_table(2, focal_gamma=value))["class"] for value in (2.0, [2.0, 0.0]))
    assert two[0] == mixed[0]
    assert mixed[1] > two[1]  # without fading, easy examples count in full


def test_a_location_in_a_crowd_gets_no_class_gradient(problem, knob_table, dense_loss, assignment):
    logits, boxes, priors, targets = problem
    targets.crowd[..., 0] = True
    targets.boxes[..., 0, :] = torch.tensor([0.0, 0.0, 24.0, 48.0])
    assigned = assignment(problem, knob_table(2))
    dense_loss("focal")(logits, boxes, priors, targets, knob_table(2))["class"].sum().backward()
    silent = logits.grad.abs().sum(-1) == 0
    assert assigned.ignored.any()
    assert torch.equal(silent, assigned.ignored)


@pytest.mark.parametrize("loss", [name for name in LOSSES if LOSSES[name].soft_labels])
def test_soft_losses_see_the_overlap_of_their_own_boxes(loss, problem, knob_table, dense_loss, assignment):
    logits, boxes, _, targets = problem
    criterion = dense_loss(loss, balance="none")
    assigned = assignment(problem, knob_table(2))
    index = assigned.objects.clamp(min=0)[..., None].expand(*assigned.objects.shape, 4)
    perfect = torch.where(assigned.objects[..., None] >= 0, targets.boxes.gather(2, index), boxes)
    first = criterion.evaluate(logits, boxes, assigned, targets, knob_table(2))
    second = criterion.evaluate(logits, perfect, assigned, targets, knob_table(2))
    assert not torch.allclose(first["class"], second["class"])
    hard = dense_loss("ap", balance="none")
    assert torch.equal(
        hard.evaluate(logits, boxes, assigned, targets, knob_table(2))["class"],
        hard.evaluate(logits, perfect, assigned, targets, knob_table(2))["class"],
    )


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
def test_the_box_loss_is_the_mean_over_the_positives(box_loss, problem, knob_table, dense_loss, assignment):
    _, boxes, _, targets = problem
    objects = assignment(problem, knob_table(2)).objects
    value = dense_loss(box_loss=box_loss)(*problem, knob_table(2))["box"]
    for lane in range(2):
        image, location = (objects[lane] >= 0).nonzero(as_tuple=True)
        truth = targets.boxes[lane][image, objects[lane][image, location]]
        expected = BOX_LOSSES[box_loss](boxes[lane][image, location], truth).mean()
        assert value[lane].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("loss", ["focal", "rank_sort"])
def test_images_without_objects_have_no_box_loss_and_no_invalid_numbers(loss, problem, knob_table, dense_loss):
    logits, boxes, priors, targets = problem
    targets.labels.fill_(-1)
    losses = dense_loss(loss)(logits, boxes, priors, targets, knob_table(2))
    sum(losses.values()).sum().backward()
    assert losses["box"].tolist() == [0, 0]
    assert torch.isfinite(losses["class"]).all()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
def test_a_lane_has_the_same_bits_however_many_positives_its_neighbor_has(box_loss, problem, knob_table, dense_loss):
    logits, boxes, priors, targets = problem
    logits, boxes = logits.detach(), boxes.detach()
    outcome = []
    for objects in range(5):
        labels = targets.labels.clone()
        labels[0, :, objects:] = -1
        changed = Targets(targets.boxes, labels, targets.crowd)
        own = boxes.clone().requires_grad_()
        value = dense_loss("rank_sort", box_loss=box_loss)(logits, own, priors, changed, knob_table(2))["box"]
        outcome.append((value.detach()[1], torch.autograd.grad(value.sum(), own)[0][1]))
    for value, gradient in outcome[1:]:
        assert torch.equal(value, outcome[0][0])
        assert torch.equal(gradient, outcome[0][1])


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("box_loss", BOX_LOSSES)
def test_off_the_cpu_all_locations_are_computed_and_it_comes_to_the_same(
    box_loss, soft, problem, knob_table, dense_loss, monkeypatch
):
    logits, boxes, priors, targets = problem
    outcome = []
    for everywhere in (False, True):
        if everywhere:
            monkeypatch.setattr(dense_losses, "rows_of", lambda positive: None)
        criterion = dense_loss("rank_sort" if soft else "focal", box_loss=box_loss)
        values = criterion(logits, boxes, priors, targets, knob_table(2))
        gradients = torch.autograd.grad(sum(values.values()).sum(), (logits, boxes), retain_graph=True)
        outcome.append([*values.values(), *gradients])
    for some, every in zip(*outcome, strict=True):
        torch.testing.assert_close(some, every, rtol=1e-5, atol=1e-6)


def test_unknown_losses_are_named_with_the_nearest_known_one(dense_loss):
    with pytest.raises(ConfigError, match="unknown loss 'focl': did you mean 'focal'"):
        dense_loss("focl")
    with pytest.raises(ConfigError, match="unknown box loss 'goiu': did you mean 'giou'"):
        dense_loss(box_loss="goiu")


def test_the_localization_part_of_a_loss_moves_the_boxes(problem, knob_table, dense_loss):
    boxes = problem[1]
    boxes.retain_grad()
    for loss, moves in (("alrp", True), ("mean_ap", True), ("rank_sort", False), ("quality_focal", False)):
        boxes.grad = None
        dense_loss(loss)(*problem, knob_table(2))["class"].sum().backward(retain_graph=True)
        assert (boxes.grad is not None and bool(boxes.grad.any())) == moves, loss


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "focal", "soft_labels": True}, "only knows positives and negatives"),
        ({"loss": "focal", "memory": 5}, "leave memory at 0"),
        ({"loss": "ap", "scope": "image", "memory": 5}, "leave memory at 0"),
    ],
)
def test_what_a_loss_has_no_use_for_is_refused(settings, message, dense_loss):
    with pytest.raises(ConfigError, match=message):
        dense_loss(**settings)


def test_an_auxiliary_loss_is_added_with_its_weight_and_leaves_the_labels_alone(problem, knob_table, dense_loss):
    plain = dense_loss("ap")(*problem, knob_table(2))["class"]
    added = [
        dense_loss("ap", auxiliary={"correlation": value})(*problem, knob_table(2))["class"] for value in (0.5, 1.0)
    ]
    assert (added[0] > plain).all()
    torch.testing.assert_close(added[1] - plain, 2 * (added[0] - plain))
    with pytest.raises(ConfigError, match="did you mean 'correlation'"):
        dense_loss("ap", auxiliary={"corelation": 1.0})


@pytest.mark.parametrize("loss", LOSSES)
def test_no_loss_scales_the_box_loss_unless_asked(loss, problem, knob_table, dense_loss):
    default, plain = (dense_loss(loss, **given)(*problem, knob_table(2)) for given in ({}, {"balance": "none"}))
    assert torch.equal(default["box"], plain["box"])
    assert not torch.allclose(default["box"], default["class"])


@pytest.mark.parametrize("loss", LOSSES)
def test_formerly_the_box_loss_was_scaled_to_the_class_loss_where_that_is_an_error_rate(
    loss, problem, knob_table, dense_loss
):
    default, plain = (dense_loss(loss, balance=value)(*problem, knob_table(2)) for value in ("former", "none"))
    scaled = loss not in (*POINTWISE, "listnet", "listmle", "lambda_ap")
    assert bool((default["box"] != plain["box"]).all()) == scaled
    if scaled:
        torch.testing.assert_close(default["box"], default["class"])
        assert (default["class"] < 2).all()
