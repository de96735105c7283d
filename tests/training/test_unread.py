"""Knobs that nothing reads are named, and a knob that is named changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mapopt
from mapopt.training.fleet import Trainer
from mapopt.training.knobs import Knobs
from mapopt.training.recipe import Recipe
from mapopt.training.task import Task
from mapopt.training.unread import unread_knobs

UNREAD: list[tuple[dict[str, Any], dict[str, float], str]] = [
    ({"loss": "rank_sort"}, {"focal_gamma": 2.5}, "loss 'rank_sort' has no gamma, as long as surrogate_weight is 1"),
    ({"loss": "ap", "blend_with": "bce"}, {"focal_gamma": 2.5, "surrogate_weight": 0.5}, "loss 'ap' has no gamma"),
    ({"loss": "quality_focal"}, {"focal_gamma": 2.5}, "loss 'quality_focal' has no gamma"),
    ({"loss": "bce"}, {"surrogate_weight": 0.5}, "loss 'bce' is no ranking loss"),
    ({"loss": "bce"}, {"temperature": 3.0}, "loss 'bce' is no ranking loss"),
    ({"assignment": "task_aligned"}, {"assign_iou": 0.8}, "assignment 'task_aligned' has no IoU to begin at"),
    ({}, {"nms_iou": 0.2}, "Soft-NMS stands in for it, and --knobs.soft-nms-sigma 0 turns that off"),
    ({"optimizer": "dog"}, {"momentum": 0.5}, "optimizer 'dog' has none"),
]


@pytest.mark.parametrize(("recipe", "turned", "reason"), UNREAD)
def test_a_knob_that_nothing_reads_is_named_and_changes_nothing(
    recipe: dict[str, Any], turned: dict[str, float], reason: str, make_task: Callable[..., Task]
) -> None:
    notes = unread_knobs(Recipe(**recipe), Knobs(**turned))
    name = next(iter(turned))
    assert notes == [f"knob {name} is {turned[name]:g}, and nothing reads it: {reason}"]
    task = make_task(**recipe)
    others = {other: value for other, value in turned.items() if other != name}
    outcomes = []
    for knobs in (task.knobs.replace(**others), task.knobs.replace(**turned)):
        trainer = Trainer(task, seed=0)
        trainer.set_knobs(knobs)
        trainer.train(16)
        outcomes.append((trainer.snapshot().tensors["weights"], trainer.detect("val").scores))
    assert (outcomes[0][0] == outcomes[1][0]).all()
    assert np.array_equal(outcomes[0][1], outcomes[1][1])


@pytest.mark.parametrize(
    ("recipe", "turned"),
    [
        ({}, {}),
        ({"loss": "focal"}, {"focal_gamma": 2.5}),
        ({"loss": "varifocal"}, {"focal_gamma": 2.5}),
        ({"loss": "mal", "auxiliary": {"focal": 0.5}}, {"focal_gamma": 2.5}),
        ({"loss": "rank_sort"}, {"focal_gamma": 2.5, "surrogate_weight": 0.5, "temperature": 2.0}),
        ({"loss": "mal", "reward": "ap"}, {"temperature": 2.0, "surrogate_weight": 0.5}),
        ({"loss": "mapopt.losses:RankSortLoss"}, {"temperature": 2.0}),
        ({}, {"assign_iou": 0.5}),
        ({}, {"nms_iou": 0.5, "soft_nms_sigma": 0.0}),
        ({"detector": "retinanet_resnet18"}, {"nms_iou": 0.5, "assign_iou": 0.6}),
    ],
)
def test_a_knob_that_something_reads_is_not_named(recipe: dict[str, Any], turned: dict[str, float]) -> None:
    assert unread_knobs(Recipe(**recipe), Knobs(**turned)) == []


def test_of_torchvisions_own_losses_no_weight_of_a_surrogate_is_read() -> None:
    recipe = Recipe(loss="torchvision", detector="fcos_resnet18")
    notes = unread_knobs(recipe, Knobs(surrogate_weight=0.5, focal_gamma=1.0, assign_iou=0.5))
    assert [note.split()[1] for note in notes] == ["focal_gamma", "surrogate_weight", "assign_iou"]


def test_training_says_at_its_start_what_nothing_reads(small_splits: Any, capsys: pytest.CaptureFixture[str]) -> None:
    settings: dict[str, Any] = {"images": 16, "rounds": 1, "loss": "rank_sort", "progress": True}
    mapopt.train(small_splits, knobs={"focal_gamma": 2.5}, **settings)
    assert "knob focal_gamma is 2.5, and nothing reads it" in capsys.readouterr().out
