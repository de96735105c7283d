"""What a class loss is told of every entry, and what a loss that remembers keeps of each lane."""

import pytest
import torch
from torchvision.ops import box_iou

from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.objective import Objective
from mapopt.errors import ConfigError
from mapopt.losses import PointwiseLoss

CLASSES = 3
FREQUENCIES = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
"""Of the classes in each lane, as the fixture counts them."""


class ReadingLoss(PointwiseLoss):
    """Keeps what it is given of every entry."""

    reads = ("classes", "objects", "frequencies")

    def entries(self, lists):
        self.given = {name: value.reshape(*lists.leading, -1) for name, value in lists.facts.items()}
        self.positive = lists.positive.reshape(*lists.leading, -1)
        return lists.scores


@pytest.mark.parametrize("scope", ["class", "image", "batch"])
def test_a_loss_is_given_what_it_reads_of_every_entry_in_every_scope(
    scope, problem, knob_table, dense_loss, assignment
):
    loss, targets = ReadingLoss(), problem[3]
    dense_loss(loss, scope=scope)(*problem, knob_table(2))
    objects = assignment(problem, knob_table(2)).objects
    assert set(loss.given) == set(loss.reads)
    shaped = {
        "class": lambda values: values.view(2, CLASSES, 2, 36).permute(0, 2, 3, 1),
        "image": lambda values: values.view(2, 2, 36, CLASSES),
        "batch": lambda values: values.view(2, 2, 36, CLASSES),
    }[scope]
    classes, numbers, frequencies = (shaped(loss.given[name]) for name in ("classes", "objects", "frequencies"))
    torch.testing.assert_close(frequencies, FREQUENCIES[:, None, None].expand(2, 2, 36, CLASSES))
    assert torch.equal(classes, torch.arange(CLASSES).expand(2, 2, 36, CLASSES))
    expected = torch.where(objects < 0, -1, objects + 4 * torch.arange(2)[:, None])
    assert torch.equal(numbers, expected[..., None].expand_as(numbers))
    lane, image, location, category = shaped(loss.positive).nonzero(as_tuple=True)
    assert torch.equal(targets.labels[lane, image, objects[lane, image, location]], category)


def test_an_auxiliary_loss_is_given_what_it_reads(problem, knob_table, dense_loss):
    plain, added = (
        dense_loss("quality_focal", auxiliary=given)(*problem, knob_table(2))["class"]
        for given in ({}, {"task_aligned_bce": 0.5})
    )
    alone = dense_loss("task_aligned_bce")(*problem, knob_table(2))["class"]
    torch.testing.assert_close(added - plain, 0.5 * alone)


def test_task_aligned_targets_are_those_of_each_object(problem, knob_table, dense_loss, assignment):
    logits, boxes, _, targets = problem
    objects = assignment(problem, knob_table(2)).objects
    value = dense_loss("task_aligned_bce")(*problem, knob_table(2))["class"]
    for lane in range(2):
        labels, total = torch.zeros(2, 36, CLASSES), 0.0
        for image in range(2):
            for number in range(4):
                places = (objects[lane, image] == number).nonzero().flatten()
                if len(places):
                    category = int(targets.labels[lane, image, number])
                    fit = box_iou(boxes[lane, image, places].detach(), targets.boxes[lane, image, number][None])[:, 0]
                    aligned = logits[lane, image, places, category].detach().sigmoid() * fit**6
                    labels[image, places, category] = aligned / aligned.max() * fit.max()
                    total += float(labels[image, places, category].sum())
        cost = torch.nn.functional.binary_cross_entropy_with_logits(logits[lane], labels, reduction="sum")
        assert value[lane].item() == pytest.approx(cost.item() / max(1.0, total), rel=1e-4)


def test_what_no_detector_knows_of_an_entry_is_named(dense_loss):
    class Curious(ReadingLoss):
        reads = ("clases",)

    with pytest.raises(ConfigError, match="Curious reads: unknown fact 'clases': did you mean 'classes'"):
        dense_loss(Curious())

    class Ranking(ReadingLoss):
        pointwise = False

    for settings in ({"memory": 8}, {"soft_labels": True}):
        with pytest.raises(
            ConfigError, match="Ranking reads classes, objects, frequencies, which is not known of scores in a memory"
        ):
            dense_loss(Ranking(), **settings)


def test_frequencies_follow_from_counts_and_are_a_lanes_own(problem, knob_table):
    criterion = DenseLoss(Objective(loss="ecm"))
    message = "EffectiveClassMarginLoss reads how frequent the classes are, and nobody has counted them: call"
    with pytest.raises(ConfigError, match=message):
        criterion(*problem, knob_table(2))
    criterion.count_classes(0, torch.tensor([7, 0, 3]), lanes=2)
    before = criterion(*problem, knob_table(2))["class"]
    assert criterion.facts.frequencies[0].tolist() == pytest.approx([7 / 11, 1 / 11, 3 / 11])
    criterion.count_classes(1, torch.tensor([1, 1, 98]), lanes=2)
    after = criterion(*problem, knob_table(2))["class"]
    assert before[0] == after[0]
    assert before[1] != after[1]
    short = DenseLoss(Objective(loss="ecm"))
    short.count_classes(0, torch.tensor([7, 3]), lanes=2)
    with pytest.raises(ConfigError, match="the objects of 2 classes were counted, but there are logits of 3"):
        short(*problem, knob_table(2))


def pulls(loss, problem, knobs, labels):
    """What a loss's gradient pulls up and down in all, ``[lanes, classes]`` each."""
    logits = problem[0].detach().requires_grad_()
    value = loss(logits, *problem[1:], knobs)["class"]
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    positive = labels > 0
    return [torch.where(chosen, gradient.abs(), 0.0).sum((1, 2)).double() for chosen in (positive, ~positive)]


@pytest.mark.parametrize("scope", ["class", "image", "batch"])
def test_equalized_focal_loss_remembers_what_pulled_each_class_of_each_lane(
    scope, problem, knob_table, dense_loss, assignment, class_labels
):
    knobs, criterion = knob_table(2), dense_loss("efl", scope=scope)
    criterion.prepare(lanes=2, classes=CLASSES, device=torch.device("cpu"))
    criterion(*problem, knobs)
    labels = class_labels(problem, assignment(problem, knobs).objects)
    raised, lowered = pulls(dense_loss("focal", scope=scope), problem, knobs, labels)
    if scope == "batch":  # the mean over lists divides what a list's loss pulls
        torch.testing.assert_close(criterion.buffers()["loss.raised"], raised, rtol=1e-5, atol=1e-8)
        torch.testing.assert_close(criterion.buffers()["loss.lowered"], lowered, rtol=1e-5, atol=1e-8)
    present = raised > 0
    assert torch.equal(criterion.buffers()["loss.raised"] > 0, present)
    assert present.any()


def test_a_state_belongs_to_a_lane_and_is_forgotten_with_it(problem, knob_table, dense_loss, lane_of):
    logits, boxes, priors, targets = problem
    together, alone = dense_loss("efl"), dense_loss("bce", auxiliary={"efl": 1.0})
    for criterion, lanes in ((together, 2), (alone, 1)):
        criterion.prepare(lanes=lanes, classes=CLASSES, device=torch.device("cpu"))
    assert set(together.buffers()) == {"loss.raised", "loss.lowered"}
    assert set(alone.buffers()) == {"auxiliary.0.raised", "auxiliary.0.lowered"}
    for scale in (1.0, 0.5):
        together(logits * scale, boxes, priors, targets, knob_table(2))
        alone(logits[1:] * scale, boxes[1:], priors, lane_of(targets, 1), knob_table())
    for name in ("raised", "lowered"):
        assert torch.equal(together.buffers()[f"loss.{name}"][1], alone.buffers()[f"auxiliary.0.{name}"][0])
    together.forget(0)
    assert [bool(value[lane].any()) for value in together.buffers().values() for lane in (0, 1)] == [False, True] * 2


def test_a_loss_that_nobody_prepared_is_prepared_by_the_first_logits(problem, knob_table, dense_loss):
    criterion = dense_loss("efl")
    assert criterion.buffers() == {}
    first, second = (criterion(*problem, knob_table(2))["class"] for _ in range(2))
    assert criterion.buffers()["loss.raised"].shape == (2, CLASSES)
    assert not torch.allclose(first, second)
