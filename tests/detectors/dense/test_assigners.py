"""The assignments of dense detectors: task-aligned against plain loops, lanes, padding, crowds, and refusals."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mapopt.detectors import ASSIGNMENTS, Assigner, Objective, Targets, build_detector, replace_class_loss
from mapopt.detectors.assignments import ASSIGNMENT_TABLE
from mapopt.detectors.dense.assigners import IouAssigner, TaskAlignedAssigner
from mapopt.detectors.dense.geometry import Assignment, Priors, assign, decode, make_priors, prior_boxes
from mapopt.detectors.torchvision_models import build_model
from mapopt.errors import ConfigError
from mapopt.losses import LOSSES

CLASSES, SEEDS = 3, st.integers(0, 2**31)
KNOBS = {"assign_iou": torch.full((2,), 0.3)}
Problem = tuple[Tensor, Tensor, Priors, Targets]


def random_problem(seed: int, *, lanes: int = 2, batch: int = 3, objects: int = 5, cells: int = 6) -> Problem:
    """Logits, boxes near the priors of two levels, and objects of which some pad, some are crowds and some are tiny."""
    generator = torch.Generator().manual_seed(seed)
    priors = make_priors([(cells, cells), (cells // 2, cells // 2)], (8, 16), (16.0, 32.0))
    shape = (lanes, batch, len(priors.sizes))
    boxes = decode(torch.randn(*shape, 4, generator=generator) * 0.3, priors)
    logits = 3 * torch.randn(*shape, CLASSES, generator=generator)
    corner = torch.rand(lanes, batch, objects, 2, generator=generator) * 8.0 * cells * 0.8
    sides = 2 + torch.rand(lanes, batch, objects, 2, generator=generator) * 4.0 * cells
    labels = torch.randint(-1, CLASSES, (lanes, batch, objects), generator=generator)
    crowd = torch.rand(lanes, batch, objects, generator=generator) < 0.2
    return logits, boxes, priors, Targets(torch.cat([corner, corner + sides], -1), labels, crowd)


def iou(first: list[float], second: list[float]) -> float:
    wide = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    high = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return wide * high / (sum(areas) - wide * high)


def plainly(problem: Problem, lane: int, image: int, *, topk: int, alpha: float, beta: float) -> list[int]:
    """Assigns the locations of an image by loops over objects and locations."""
    logits, boxes, priors, targets = problem
    centers = priors.centers.tolist()
    takers: list[list[tuple[float, int]]] = [[] for _ in centers]
    for number in range(targets.labels.shape[-1]):
        label = int(targets.labels[lane, image, number])
        if label < 0 or targets.crowd[lane, image, number]:
            continue
        truth = targets.boxes[lane, image, number].tolist()
        candidates = []
        for location, (x, y) in enumerate(centers):
            overlap = iou(boxes[lane, image, location].tolist(), truth)
            if truth[0] < x < truth[2] and truth[1] < y < truth[3] and overlap > 0:
                chance = 1 / (1 + math.exp(-float(logits[lane, image, location, label])))
                candidates.append((chance**alpha * overlap**beta, overlap, location))
        for _, overlap, location in sorted(candidates, reverse=True)[:topk]:
            takers[location].append((overlap, number))
    return [max(taken)[1] if taken else -1 for taken in takers]


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.sampled_from([(13, 1.0, 6.0), (10, 0.5, 6.0), (3, 1.0, 6.0), (1, 2.0, 1.0), (100, 0.0, 2.0)]))
def test_task_aligned_assignment_equals_plain_loops(seed: int, values: tuple[int, float, float]) -> None:
    topk, alpha, beta = values
    problem = random_problem(seed)
    assigned = TaskAlignedAssigner(topk=topk, alpha=alpha, beta=beta)(*problem, KNOBS)
    for lane in range(2):
        for image in range(3):
            expected = plainly(problem, lane, image, topk=topk, alpha=alpha, beta=beta)
            assert assigned.objects[lane, image].tolist() == expected


def test_the_values_are_toods_and_the_table_knows_them() -> None:
    assigner = TaskAlignedAssigner()
    assert (assigner.topk, assigner.alpha, assigner.beta) == (13, 1.0, 6.0)
    assert list(ASSIGNMENT_TABLE["task_aligned"].parameters) == list(vars(assigner))


@pytest.mark.parametrize("assigner", [IouAssigner(), TaskAlignedAssigner()])
def test_a_lane_does_not_see_its_neighbors_and_padding_changes_nothing(assigner: Assigner) -> None:
    logits, boxes, priors, targets = random_problem(3)
    together = assigner(logits, boxes, priors, targets, KNOBS)
    alone = assigner(
        logits[1:],
        boxes[1:],
        priors,
        Targets(targets.boxes[1:], targets.labels[1:], targets.crowd[1:]),
        {"assign_iou": torch.tensor([0.3])},
    )
    longer = Targets(
        torch.nn.functional.pad(targets.boxes, (0, 0, 0, 3)),
        torch.nn.functional.pad(targets.labels, (0, 3), value=-1),
        torch.nn.functional.pad(targets.crowd, (0, 3)),
    )
    padded = assigner(logits, boxes, priors, longer, KNOBS)
    assert (together.objects >= 0).any()
    for name in ("objects", "ignored"):
        assert torch.equal(getattr(together, name)[1], getattr(alone, name)[0])
        assert torch.equal(getattr(together, name), getattr(padded, name))


def test_objects_in_another_order_take_the_same_locations() -> None:
    logits, boxes, priors, targets = random_problem(4)
    order = torch.tensor([3, 0, 4, 2, 1])
    moved = Targets(targets.boxes[:, :, order], targets.labels[:, :, order], targets.crowd[:, :, order])
    first, second = (TaskAlignedAssigner()(logits, boxes, priors, given, KNOBS).objects for given in (targets, moved))
    assert torch.equal(torch.where(second >= 0, order[second.clamp(min=0)], -1), first)


def whole_image(*objects: list[float], crowd: tuple[bool, ...] = ()) -> Targets:
    boxes = torch.tensor([[objects]])
    flags = torch.tensor([[crowd or (False,) * len(objects)]])
    return Targets(boxes, torch.zeros(boxes.shape[:-1], dtype=torch.int64), flags)


def placed(boxes: Tensor | None = None, logits: Tensor | None = None) -> tuple[Tensor, Tensor, Priors]:
    """Four by four locations 8 pixels apart, whose boxes are their priors unless others are given."""
    priors = make_priors([(4, 4)], (8,), (16.0,))
    boxes = prior_boxes(priors) if boxes is None else boxes
    return torch.zeros(1, 1, 16, 1) if logits is None else logits, boxes.expand(1, 1, 16, 4), priors


def objects_of(assigned: Assignment) -> list[list[int]]:
    return assigned.objects.view(4, 4).tolist()


def test_an_object_between_the_locations_has_no_positive_and_neither_has_one_that_no_box_touches() -> None:
    between = whole_image([5.0, 5.0, 11.0, 11.0])
    assert (TaskAlignedAssigner()(*placed(), between, KNOBS).objects == -1).all()
    away = placed(torch.tensor([100.0, 100.0, 120.0, 120.0]))
    assert (TaskAlignedAssigner()(*away, whole_image([0.0, 0.0, 32.0, 32.0]), KNOBS).objects == -1).all()
    assert (IouAssigner()(*placed(), between, {"assign_iou": torch.tensor([0.3])}).objects == 0).sum() == 1


def test_a_confident_prediction_is_taken_before_one_that_fits_as_well() -> None:
    logits = torch.full((1, 1, 16, 1), -2.0)
    logits[0, 0, 10] = 2.0
    truth = whole_image([0.0, 0.0, 32.0, 32.0])
    inner = placed(torch.tensor([0.0, 0.0, 32.0, 32.0]), logits)
    taken = TaskAlignedAssigner(topk=1)(*inner, truth, KNOBS).objects.flatten()
    assert (taken == 0).nonzero().flatten().tolist() == [10]


def test_equal_predictions_are_taken_in_the_order_of_the_locations() -> None:
    same = placed(torch.tensor([0.0, 0.0, 32.0, 32.0]))
    taken = TaskAlignedAssigner(topk=5)(*same, whole_image([0.0, 0.0, 32.0, 32.0]), KNOBS).objects.flatten()
    assert (taken == 0).nonzero().flatten().tolist() == [0, 1, 2, 3, 4]


def test_a_location_that_two_objects_take_goes_to_the_one_it_overlaps_best() -> None:
    both = whole_image([0.0, 0.0, 30.0, 30.0], [0.0, 0.0, 32.0, 32.0])
    same = placed(torch.tensor([0.0, 0.0, 32.0, 32.0]))
    assert objects_of(TaskAlignedAssigner(topk=16)(*same, both, KNOBS)) == [[1] * 4] * 4


def test_crowd_regions_are_neither_objects_nor_background_but_where_an_object_is() -> None:
    targets = whole_image([0.0, 0.0, 32.0, 32.0], [8.0, 8.0, 24.0, 24.0], crowd=(True, False))
    assigned = TaskAlignedAssigner()(*placed(), targets, KNOBS)
    assert objects_of(assigned) == [[-1] * 4, [-1, 1, 1, -1], [-1, 1, 1, -1], [-1] * 4]
    assert torch.equal(assigned.ignored, assigned.objects < 0)


@pytest.mark.parametrize("size", [-1e4, 1e4])
def test_scores_that_say_nothing_leave_the_overlap_to_decide(size: float) -> None:
    logits, boxes, priors = placed(logits=torch.full((1, 1, 16, 1), size))
    truth = whole_image([0.0, 0.0, 32.0, 32.0])
    assigned = TaskAlignedAssigner(topk=4)(logits, boxes, priors, truth, KNOBS)
    assert objects_of(assigned) == [[-1] * 4, [-1, 0, 0, -1], [-1, 0, 0, -1], [-1] * 4]


def test_boxes_that_are_no_numbers_are_positives_so_that_the_loss_shows_them() -> None:
    broken = placed(torch.full((4,), torch.nan))
    assert (TaskAlignedAssigner()(*broken, whole_image([0.0, 0.0, 32.0, 32.0]), KNOBS).objects == 0).sum() == 13


def test_the_default_is_the_overlap_of_the_priors() -> None:
    logits, boxes, priors, targets = random_problem(6)
    expected = assign(
        prior_boxes(priors).expand_as(boxes), priors, targets.boxes, targets.labels, targets.crowd, KNOBS["assign_iou"]
    )
    assert Objective().assignment == "iou"
    assigned = ASSIGNMENTS.make("iou")(logits, boxes, priors, targets, KNOBS)
    assert torch.equal(assigned.objects, expected.objects)
    assert torch.equal(assigned.ignored, expected.ignored)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_with_it(
    loss: str, problem: Problem, knob_table: Callable[..., dict[str, Tensor]], dense_loss: Callable
) -> None:
    logits, boxes, _, _ = problem
    boxes.retain_grad()
    losses = dense_loss(loss, assignment="task_aligned")(*problem, knob_table(2))
    sum(losses.values()).sum().backward()
    for gradient in (logits.grad, boxes.grad):
        assert torch.isfinite(gradient).all()
        assert gradient.any()


def test_settings_make_a_difference(
    problem: Problem, knob_table: Callable[..., dict[str, Tensor]], dense_loss: Callable
) -> None:
    values = [
        dense_loss(assignment="task_aligned", assignment_settings=given)(*problem, knob_table(2))["class"]
        for given in ({}, {"topk": 1}, {"topk": 2, "alpha": 0.0}, {"topk": 2, "beta": 0.1})
    ]
    assert len({tuple(value.tolist()) for value in values}) == 4
    given = Objective(assignment=TaskAlignedAssigner(topk=10, alpha=0.5))  # type: ignore[arg-type]
    assert (given.assignment, given.assignment_settings) == ("task_aligned", {"topk": 10, "alpha": 0.5})


class FirstLocation:
    """An assignment of one's own: the first location answers for the first object."""

    def __call__(
        self, logits: Tensor, boxes: Tensor, priors: Priors, targets: Targets, knobs: dict[str, Tensor]
    ) -> Assignment:
        objects = torch.full(boxes.shape[:-1], -1)
        objects[..., 0] = 0
        return Assignment(objects, torch.zeros_like(objects, dtype=torch.bool))


def test_an_assignment_of_ones_own_is_taken(
    problem: Problem, knob_table: Callable[..., dict[str, Tensor]], dense_loss: Callable
) -> None:
    logits = problem[0]
    criterion = dense_loss("bce", assignment=f"{__name__}:FirstLocation")
    criterion(*problem, knob_table(2))["class"].sum().backward()
    assert (logits.grad < 0).any(-1).nonzero().tolist() == [[lane, image, 0] for lane in range(2) for image in range(2)]


@pytest.mark.parametrize("detector", ["tiny", "nano", "resnet18"])
def test_every_dense_detector_has_it(
    detector: str, scene: Callable[..., tuple[Tensor, Targets]], knob_table: Callable[..., dict[str, Tensor]]
) -> None:
    images, targets = scene(lanes=1)
    built = build_detector(detector, Objective(assignment="task_aligned"), classes=3, size=(64, 64))
    built.initialize(0, 0)
    losses = built.losses(images, targets, knob_table(), seed=0)
    assert all(torch.isfinite(value).all() and (value > 0).all() for value in losses.values())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"assignment": "task"}, "unknown assignment 'task'.*or module:attribute"),
        ({"assignment": "task_aligned", "assignment_settings": {"topk": 0}}, "topk=0: expected a whole number above 0"),
        ({"assignment": "task_aligned", "assignment_settings": {"top": 3}}, "did you mean 'topk'"),
        ({"assignment_settings": {"topk": 3}}, "assignment 'iou' has no settings, but topk was given: leave it out"),
        ({"assignment": "task_aligned", "loss": "torchvision"}, "assignment='task_aligned' given with loss"),
        ({"assignment": 3}, "assignment of type int cannot be called"),
    ],
)
def test_assignments_that_make_no_sense_are_named(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Objective(**given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_torchvisions_detectors_assign_by_their_own_matchers() -> None:
    message = "assignment 'task_aligned' with a FCOS, whose own matcher .* leave assignment at 'iou', or use"
    with pytest.raises(ConfigError, match=message):
        build_detector("fcos_resnet18", Objective(assignment="task_aligned"), classes=3, size=(64, 64))
    with pytest.raises(ConfigError, match=message):
        replace_class_loss(build_model("fcos_resnet18", 3, weights=None), Objective(assignment="task_aligned"))
