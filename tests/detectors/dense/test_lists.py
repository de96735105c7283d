"""What a class loss of a dense detector ranks as a list: memories, soft labels, temperatures and knobs of its own."""

import pytest
import torch

from mapopt.detectors.dense.geometry import decode
from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.interface import Targets
from mapopt.detectors.objective import Objective
from mapopt.losses import LOSSES, ListLoss, make_loss
from mapopt.training import Range

CLASSES = 3


def test_soft_labels_give_a_loss_that_only_counts_positives_a_list_per_iou_threshold(
    problem, knob_table, dense_loss, assignment
):
    logits, boxes, priors, targets = problem
    soft = dense_loss("ap", soft_labels=True)(*problem, knob_table(2))["class"]
    hard = dense_loss("ap")(*problem, knob_table(2))["class"]
    assert (soft != hard).all()
    exact = decode(torch.zeros_like(boxes), priors)
    objects = assignment((logits, boxes, priors, targets), knob_table(2)).objects
    matched = targets.boxes.gather(2, objects.clamp(min=0)[..., None].expand(*objects.shape, 4))
    perfect = torch.where((objects >= 0)[..., None], matched, exact)
    # Where every positive's box is exact, it is a positive at every threshold.
    values = [dense_loss("ap", soft_labels=value)(logits, perfect, priors, targets, knob_table(2)) for value in (0, 1)]
    torch.testing.assert_close(values[0]["class"], values[1]["class"])


def test_labels_can_be_made_hard_for_a_loss_that_reads_ious(problem, knob_table, dense_loss):
    losses = [dense_loss("rank_sort", soft_labels=value)(*problem, knob_table(2))["class"] for value in (True, False)]
    assert (losses[0] > losses[1]).all(), "without IoUs there is nothing to sort"


def test_a_remembered_batch_is_ranked_with_the_next(problem, knob_table, dense_loss):
    logits, boxes, priors, targets = problem
    criterion = dense_loss("ap", memory=72)
    criterion.prepare(lanes=2, classes=CLASSES, device=torch.device("cpu"))
    first = criterion(*problem, knob_table(2))["class"]
    torch.testing.assert_close(first, dense_loss("ap")(*problem, knob_table(2))["class"])
    second = criterion(logits * 2, boxes, priors, targets, knob_table(2))["class"]
    doubled = [torch.cat([a, b], 1) for a, b in ((logits * 2, logits), (boxes, boxes))]
    twice = Targets(*(torch.cat([getattr(targets, name)] * 2, 1) for name in ("boxes", "labels", "crowd")))
    expected = dense_loss("ap")(doubled[0], doubled[1], priors, twice, knob_table(2))["class"]
    torch.testing.assert_close(second, expected)
    criterion.forget(0)
    again = criterion(*problem, knob_table(2))["class"]
    assert again[0] == first[0]
    assert again[1] != first[1]


def filled_up(problem, *, images=2):
    """The problem with more images in every lane that do not count; they repeat those that do, without objects."""
    logits, boxes, priors, targets = problem
    more = [torch.cat([value, value[:, :images]], 1) for value in (logits, boxes, targets.boxes, targets.labels)]
    more[3][:, -images:] = -1
    counted = torch.arange(2 + images).expand(2, -1) < 2
    crowd = torch.cat([targets.crowd, targets.crowd[:, :images]], 1)
    return more[0], more[1], priors, Targets(more[2], more[3], crowd, counted)


@pytest.mark.parametrize("loss", LOSSES)
def test_images_that_do_not_count_change_no_loss_and_get_no_gradient(loss, problem, knob_table, dense_loss):
    logits, boxes, priors, targets = filled_up(problem)
    logits, boxes = (value.detach().requires_grad_() for value in (logits, boxes))
    knobs = knob_table(2, surrogate_weight=0.5)
    losses = dense_loss(loss)(logits, boxes, priors, targets, knobs)
    gradients = torch.autograd.grad(sum(losses.values()).sum(), (logits, boxes))
    expected = dense_loss(loss)(*problem, knobs)
    wanted = torch.autograd.grad(sum(expected.values()).sum(), (problem[0], problem[1]))
    for name in losses:
        torch.testing.assert_close(losses[name], expected[name])
    for gradient, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient[:, :2], other)
        assert not gradient[:, 2:].any()


@pytest.mark.parametrize("scope", ["class", "batch"])
@pytest.mark.parametrize("size", [30, 72, 150, 1000])
def test_images_that_do_not_count_take_no_place_in_the_memory(size, scope, problem, knob_table, dense_loss):
    memories = []
    for scene in (problem, filled_up(problem)):
        criterion = dense_loss("ap", memory=size, scope=scope)
        criterion.prepare(lanes=2, classes=CLASSES, device=torch.device("cpu"))
        for factor in (1.0, 0.5, 2.0):
            losses = criterion(scene[0] * factor, *scene[1:], knob_table(2))
        memories.append((losses, criterion.buffers()))
    (first, remembered), (second, filled) = memories
    torch.testing.assert_close(first, second)
    for name in remembered:
        assert torch.equal(remembered[name], filled[name]), name


def error_driven(loss):
    return getattr(make_loss(loss), "gradient", None) == "error-driven"


RANKING = [name for name in LOSSES if not LOSSES[name].pointwise]


@pytest.mark.parametrize("loss", RANKING)
def test_a_temperature_ranks_divided_scores_and_the_others_get_the_true_chain(loss, problem, knob_table, dense_loss):
    logits, *rest = problem
    knobs = knob_table(2, temperature=[4.0, 0.5])
    hot = dense_loss(loss, balance="none")(logits, *rest, knobs)["class"]
    gradient = torch.autograd.grad(hot.sum(), logits, retain_graph=True)[0]
    factor = knobs["temperature"][:, None, None, None]
    divided = (logits / factor).detach().requires_grad_()
    expected = dense_loss(loss, balance="none")(divided, *rest, knob_table(2))["class"]
    chain = torch.autograd.grad(expected.sum(), divided, retain_graph=True)[0]
    torch.testing.assert_close(hot, expected)
    torch.testing.assert_close(gradient, chain if error_driven(loss) else chain / factor)


def test_the_losses_with_an_error_driven_gradient_are_the_five_that_have_it_by_default():
    expected = {"ap", "alrp", "rank_sort", "bucketed_rank_sort", "mean_ap"}
    assert {name for name in RANKING if error_driven(name)} == expected


def test_a_temperature_is_the_width_of_the_step_relative_to_its_own(problem, knob_table, dense_loss):
    hot = dense_loss("ap", balance="none")(*problem, knob_table(2, temperature=3.0))["class"]
    wide = dense_loss(make_loss("ap", {"delta": 3.0}), balance="none")(*problem, knob_table(2))["class"]
    gradients = [torch.autograd.grad(value.sum(), problem[0], retain_graph=True)[0] for value in (hot, wide)]
    torch.testing.assert_close(hot, wide)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_temperature_of_1_changes_no_bit_and_pointwise_losses_have_none(loss, problem, knob_table, dense_loss):
    logits, boxes, *rest = problem
    results = []
    for changes in ({}, {"temperature": 1.0}, {"temperature": [1.0, 5.0]}):
        losses = dense_loss(loss)(logits, boxes, *rest, knob_table(2, **changes))
        gradients = torch.autograd.grad(sum(losses.values()).sum(), (logits, boxes), retain_graph=True)
        results.append((*losses.values(), *gradients))
    for none, plain, mixed in zip(*results, strict=True):
        assert torch.equal(none, plain)
        assert torch.equal(none[0], mixed[0])
        assert torch.equal(none, mixed) or not LOSSES[loss].pointwise


def test_the_memory_holds_scores_as_they_were(problem, knob_table, dense_loss):
    buffers = []
    for temperature in (1.0, 5.0):
        criterion = dense_loss("ap", memory=72)
        criterion.prepare(lanes=2, classes=CLASSES, device=torch.device("cpu"))
        criterion(*problem, knob_table(2, temperature=temperature))
        buffers.append(criterion.buffers()["memory.scores"])
    assert torch.equal(*buffers)


def test_auxiliary_and_focal_losses_see_the_scores_as_they_are(problem, knob_table, dense_loss):
    values = [
        dense_loss("ap", auxiliary={"correlation": 1.0})(
            *problem, knob_table(2, temperature=temperature, surrogate_weight=0.0)
        )["class"]
        for temperature in (1.0, 5.0)
    ]
    assert torch.equal(*values)


class MarginLoss(ListLoss):
    """How far positives stand below the best negative and a margin, which is a knob."""

    error_rate = False
    knobs = {"margin": Range(0.0, 5.0)}

    def __init__(self, margin=1.0):
        super().__init__()
        self.margin = margin

    def evaluate(self, lists):
        best = lists.scores.masked_fill(~lists.negative, -torch.inf).amax(-1, keepdim=True)
        errors = (best - lists.scores + self.per_list("margin", lists)).clamp(min=0)
        return {"rank": (errors * lists.positive).sum(-1) / lists.count.clamp(min=1)}


def margin_of_positives(scores, labels, where, margin=1.0):
    return (scores[labels == 0].max() - scores[labels > 0] + margin).clamp(min=0).mean()


margin_of_positives.knobs = {"margin": Range(0.0, 5.0)}


@pytest.mark.parametrize("scope", ["class", "image", "batch"])
@pytest.mark.parametrize("settings", [{}, {"soft_labels": True}, {"memory": 50}])
@pytest.mark.parametrize("loss", [MarginLoss, margin_of_positives])
def test_a_knob_of_a_losses_own_has_each_lanes_value(loss, settings, scope, problem, knob_table, lane_of):
    if settings.get("memory") and scope == "image":
        pytest.skip("a memory is of the batch")
    logits, boxes, priors, targets = problem

    def value(lanes, margin, counted=None):
        criterion = DenseLoss(Objective(scope=scope, **settings), loss=make_loss(loss))
        part = slice(None) if counted is None else slice(counted, counted + 1)
        criterion.prepare(lanes=lanes, classes=CLASSES, device=torch.device("cpu"))
        chosen = targets if counted is None else lane_of(targets, counted)
        for _ in range(2):  # the second step ranks with what the first one left in the memory
            terms = criterion(logits[part], boxes[part], priors, chosen, knob_table(lanes, margin=margin))
        return terms["class"]

    together = value(2, [0.5, 3.0])
    for lane, margin in enumerate((0.5, 3.0)):
        torch.testing.assert_close(together[lane], value(1, margin, lane)[0])
        plain = DenseLoss(Objective(scope=scope, **settings), loss=make_loss(loss, {"margin": margin}))
        plain.prepare(lanes=2, classes=CLASSES, device=torch.device("cpu"))
        for _ in range(2):
            expected = plain(*problem, knob_table(2))["class"]
        torch.testing.assert_close(together[lane], expected[lane])
    assert together[1] > value(2, [0.5, 0.5])[1]
