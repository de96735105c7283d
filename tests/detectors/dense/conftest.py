"""What the tests of dense detectors share: a small problem, and ways to compute its losses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mapopt.detectors.dense.geometry import Assignment, decode, make_priors
from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.interface import KnobTable, Targets
from mapopt.detectors.objective import Objective
from mapopt.losses import ListLoss

CLASSES = 3


@pytest.fixture
def problem():
    """Logits, boxes, priors and targets of two lanes; the last object of each image is padding."""
    generator = torch.Generator().manual_seed(0)
    priors = make_priors([(6, 6)], (8,), (16.0,))
    logits = torch.randn(2, 2, 36, CLASSES, generator=generator).requires_grad_()
    deltas = (torch.randn(2, 2, 36, 4, generator=generator) * 0.2).requires_grad_()
    corner = torch.rand(2, 2, 4, 2, generator=generator) * 25
    truth = torch.cat([corner, corner + 8 + torch.rand(2, 2, 4, 2, generator=generator) * 14], dim=-1)
    labels = torch.randint(0, CLASSES, (2, 2, 4), generator=generator)
    labels[..., -1] = -1
    return logits, decode(deltas, priors), priors, Targets(truth, labels, torch.zeros(2, 2, 4, dtype=torch.bool))


@pytest.fixture
def dense_loss() -> Callable[..., DenseLoss]:
    """Makes the losses of a name or of a finished loss, and of settings of an objective."""

    def make(loss: str | ListLoss = "focal", **settings: object) -> DenseLoss:
        if isinstance(loss, str):
            criterion = DenseLoss(Objective(loss=loss, **settings))  # type: ignore[arg-type]
        else:
            criterion = DenseLoss(Objective(**settings), loss=loss)  # type: ignore[arg-type]
        for lane, counts in enumerate([[6, 3, 1], [2, 7, 1]]):
            criterion.count_classes(lane, torch.tensor(counts), lanes=2)
        return criterion

    return make


class WatchedLoss(DenseLoss):
    """Remembers the assignment that it made."""

    def evaluate(self, logits, boxes, assignment, targets, knobs):  # type: ignore[no-untyped-def]
        self.seen = assignment
        return super().evaluate(logits, boxes, assignment, targets, knobs)


@pytest.fixture
def assignment() -> Callable[[tuple, KnobTable], Assignment]:
    """Says which object each location of a problem answers for."""

    def assign(problem: tuple, knobs: KnobTable) -> Assignment:
        criterion = WatchedLoss(Objective())
        criterion(*problem, knobs)
        return criterion.seen

    return assign


@pytest.fixture
def lane_of() -> Callable[[Targets, int], Targets]:
    """Takes the objects of a lane."""
    names = ("boxes", "labels", "crowd")
    return lambda targets, lane: Targets(*(getattr(targets, name)[lane : lane + 1] for name in names))


@pytest.fixture
def class_labels() -> Callable[[tuple, torch.Tensor], torch.Tensor]:
    """Makes one-hot labels ``[lanes, batch, locations, classes]`` of a problem, object by object."""

    def make(problem: tuple, objects: torch.Tensor) -> torch.Tensor:
        logits, _, _, targets = problem
        labels = torch.zeros_like(logits)
        for lane, image, location in (objects >= 0).nonzero().tolist():
            labels[lane, image, location, targets.labels[lane, image, objects[lane, image, location]]] = 1
        return labels

    return make
