"""The class weight that nobody gives: every way to train takes the one that the class loss starts from."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

import mapopt
from mapopt.data import Splits
from mapopt.errors import ConfigError
from mapopt.experiments.comparison.config import load_experiment
from mapopt.losses import LOSSES, ListLoss
from mapopt.training import Budget, Decision, Knobs, Task, Trainer, run
from mapopt.training.checkpoint import Checkpoint

MakeTask = Callable[..., Task]
ERROR_DRIVEN = {name for name in LOSSES if getattr(LOSSES[name](), "gradient", "") == "error-driven"}


def weights_of(trainer: Trainer) -> torch.Tensor:
    return trainer.snapshot().tensors["weights"]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_task_starts_from_the_weight_of_its_loss(loss: str, make_task: MakeTask) -> None:
    others = {"mal": 0.5}
    expected = 0.25 if loss in ERROR_DRIVEN else others.get(loss, 1.0)
    assert make_task(loss=loss).knobs.class_weight == expected
    assert make_task(loss=loss, knobs={"class_weight": 3.0}).knobs.class_weight == 3.0


@pytest.mark.parametrize(
    "recipe",
    [
        {"balance": "gradients"},
        {"balance": "values"},
        {"balance": None},
        {"loss_settings": {"gradient": "exact"}},
    ],
    ids=str,
)
def test_a_balance_or_an_exact_gradient_takes_the_place_of_the_constant(
    recipe: dict[str, object], make_task: MakeTask
) -> None:
    assert make_task(loss="rank_sort", **recipe).knobs.class_weight == 1.0


def test_it_is_the_weight_that_is_trained_with(make_task: MakeTask) -> None:
    left_open, given, other = (
        Trainer(make_task(loss="ap", knobs=knobs), seed=1)
        for knobs in ({}, {"class_weight": 0.25}, {"class_weight": 1.0})
    )
    for trainer in (left_open, given, other):
        trainer.train(8)
    assert torch.equal(weights_of(left_open), weights_of(given))
    assert not torch.equal(weights_of(left_open), weights_of(other))


def test_knobs_that_leave_it_open_later_take_the_tasks(make_task: MakeTask) -> None:
    task = make_task(loss="ap", knobs={"class_weight": 0.5})
    trainer = Trainer(task, seed=0)
    trainer.set_knobs(Knobs(lr=0.1))
    filled = {"weight_decay": task.knobs.weight_decay, "class_weight": 0.5, "soft_nms_sigma": 0.5}
    assert trainer.knobs == Knobs(lr=0.1, assign_iou=0.4, **filled)
    ramped, constant = Trainer(task, seed=0), Trainer(task, seed=0)
    for each, start in ((ramped, Knobs(lr=0.1)), (constant, Knobs(lr=0.1, class_weight=0.5))):
        each.set_knobs(Knobs(lr=0.1))
        each.train(8, ramp_from=start, via=((0.5, start),))
    assert torch.equal(weights_of(ramped), weights_of(constant))


@dataclass(frozen=True)
class Careless:
    """A controller that does not start from the task's knobs."""

    def decide(self, history: Sequence[object], task: object, budget: object) -> Decision:
        return Decision(knobs=Knobs(lr=0.1), ramp_from=Knobs(lr=0.2), via=((0.5, Knobs(lr=0.3)),))


def test_a_record_says_what_was_trained_with(make_task: MakeTask) -> None:
    played = run(Trainer(make_task(loss="ap")), Careless(), Budget(images=8, rounds=1)).history[0]
    assert [knobs.class_weight for _, knobs in played.points] == [0.25] * 3


def test_train_compare_and_the_environments_zero_action_agree(small_splits: Splits, tmp_path: Path) -> None:
    mapopt.train(small_splits, out=tmp_path / "run", images=32, rounds=1, loss="rank_sort", knobs={"lr": 0.1})
    checkpoint = Checkpoint.load(tmp_path / "run" / "last.pt")
    assert checkpoint.snapshot.knobs.class_weight == 0.25
    assert checkpoint.settings["knobs"]["class_weight"] == 0.25
    assert "class_weight: 0.25" in (tmp_path / "run" / "config.yaml").read_text()

    content = {
        "name": "x",
        "budget": {"images": 32, "rounds": 1},
        "reference": "ap",
        "tasks": {"shapes": {}},
        "methods": {
            "ap": {"recipe": {"loss": "ap"}},
            "heavy": {"recipe": {"loss": "ap"}, "knobs": {"class_weight": 2}},
        },
    }
    experiment = load_experiment(content)
    assert [experiment.knobs("shapes", method).class_weight for method in ("ap", "heavy")] == [0.25, 2.0]

    env = gymnasium.make(
        "mapopt.envs:mapopt/DetectorTraining-v0",
        family={"name": "shapes", "images": (16, 8, 8), "recipe": {"loss": "ap", "batch_size": 8}},
        budget=Budget(images=16, rounds=1),
    )
    env.reset(seed=0)
    info = env.step(np.zeros(env.action_space.shape))[-1]
    assert info["knobs"]["class_weight"] == 0.25


def test_a_run_is_resumed_where_the_weight_was_left_open(small_splits: Splits, tmp_path: Path) -> None:
    settings = {"loss": "ap", "controller": Careless(), "device": "cpu"}
    first = mapopt.train(small_splits, out=tmp_path, images=64, rounds=2, **settings)
    longer = mapopt.train(small_splits, out=tmp_path, resume=True, images=96, rounds=3, **settings)
    assert [played.val for played in longer.history[:2]] == [played.val for played in first.history]
    assert len(longer.history) == 3


class Heavy(ListLoss):
    """A loss of somebody's own that says where to start."""

    default_class_weight = 0.125

    def evaluate(self, lists):  # type: ignore[no-untyped-def]
        return {"rank": (lists.scores.sigmoid() * lists.negative).sum(-1)}


class TooHeavy(Heavy):
    """A weight that no knob can have."""

    default_class_weight = 100.0


def test_a_loss_of_ones_own_may_say_where_to_start(make_task: MakeTask) -> None:
    assert make_task(loss=Heavy).knobs.class_weight == 0.125
    with pytest.raises(ConfigError, match=r"TooHeavy' has a default_class_weight of 100: expected 0\.05 to 20"):
        make_task(loss=TooHeavy)


def test_recipes_settle_knobs_without_torch() -> None:
    code = """import sys
from mapopt.training.knobs import Knobs
from mapopt.training.recipe import Recipe
settled = Recipe(loss="alrp").settle(Knobs(lr=0.3, weight_decay=0.1))
print(settled == Knobs(lr=0.3, weight_decay=0.1, class_weight=0.25, soft_nms_sigma=0.5))
own = Recipe(loss="torchvision", detector="fcos").settle(Knobs())
print(own.class_weight, own.soft_nms_sigma)
print("torch" in sys.modules)"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["True", "1.0", "0.0", "False"]
