"""The learning rate that nobody gives: every way to train takes the one that the optimizer starts from."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mapopt
from mapopt.data import Splits
from mapopt.envs import DetectorTrainingEnv, RescueFamily
from mapopt.errors import ConfigError
from mapopt.experiments.comparison.config import load_experiment
from mapopt.settings import to_yaml
from mapopt.training import Budget, Decision, Knobs, Recipe, Schedule, Task, Trainer, run
from mapopt.training.checkpoint import Checkpoint
from mapopt.training.optimizers.sgd import RowSGD
from mapopt.training.optimizers.table import OPTIMIZER_TABLE

MakeTask = Callable[..., Task]


@pytest.mark.parametrize("name", OPTIMIZER_TABLE)
def test_a_task_takes_the_rate_of_its_optimizer_unless_it_is_given(name: str, make_task: MakeTask) -> None:
    assert make_task(optimizer=name).knobs.lr == OPTIMIZER_TABLE[name].default_lr
    assert make_task(optimizer=name, knobs={"lr": 0.2}).knobs.lr == 0.2
    assert make_task(optimizer=name).knobs.weight_decay == OPTIMIZER_TABLE[name].default_weight_decay
    assert make_task(optimizer=name, knobs={"weight_decay": 0.02}).knobs.weight_decay == 0.02
    assert make_task(optimizer=name, knobs={"augment": 0.1}).info.knobs.lr == OPTIMIZER_TABLE[name].default_lr


class Slow(RowSGD):
    """Somebody's own, that says where to start."""

    default_lr = 0.003
    default_weight_decay = 0.01


class TooFast(RowSGD):
    """A rate that no knob can have."""

    default_lr = 30.0


def test_an_optimizer_of_ones_own_may_say_where_to_start(make_task: MakeTask) -> None:
    assert make_task(optimizer=Slow).knobs.lr == 0.003
    assert make_task(optimizer=Slow).knobs.weight_decay == 0.01
    assert make_task(optimizer="torch.optim:RAdam").knobs.lr == 0.2
    with pytest.raises(ConfigError, match=r"TooFast' has a default_lr of 30: expected 1e-05 to 3"):
        make_task(optimizer=TooFast)


def test_a_detector_says_what_trains_it() -> None:
    assert Recipe().optimizer == Recipe(optimizer="default").optimizer == "muon"
    assert Recipe(detector="nowhere.detectors:Mine").optimizer == "sgd"
    assert (Recipe(detector="fcos").optimizer, Recipe(detector="fcos").lr) == ("adamw", 0.001)
    small = Recipe(detector="nano")
    assert (small.optimizer, small.lr, small.weight_decay) == ("muon", 0.03, 0.12)
    assert small.settle(Knobs()).get("soft_nms_sigma") == 0.5
    larger = Recipe(detector="resnet18")
    assert (larger.optimizer, larger.lr, larger.weight_decay) == ("adamw", 0.001, 0.05)
    assert larger.settle(Knobs(lr=0.02)).lr == 0.02
    assert Recipe(detector="resnet18", optimizer="sgd").lr == 0.2, "rates are of a detector and its own optimizer"
    assert Recipe(optimizer="adamw").lr == 0.01
    assert Recipe(detector="resnet18", optimizer="muon").optimizer == "muon"
    assert "optimizer: muon" in to_yaml(Recipe()), "what is stored does not change with the default"


class Careless:
    """A controller that does not start from the task's knobs."""

    def decide(self, history: object, task: object, budget: object) -> Decision:
        return Decision(knobs=Knobs(augment=0.1), ramp_from=Knobs(augment=0.2))


def test_a_record_says_what_was_trained_with(make_task: MakeTask) -> None:
    played = run(Trainer(make_task(optimizer="adamw")), Careless(), Budget(images=8, rounds=1)).history[0]
    assert (played.knobs.lr, played.ramp_from.lr) == (0.01, 0.01)  # type: ignore[union-attr]


def test_train_compare_and_the_environments_zero_action_agree(small_splits: Splits, tmp_path: Path) -> None:
    mapopt.train(small_splits, out=tmp_path / "run", images=32, rounds=1, optimizer="adamw", controller="constant")
    checkpoint = Checkpoint.load(tmp_path / "run" / "last.pt")
    assert checkpoint.snapshot.knobs.lr == 0.01
    assert "lr: 0.01" in (tmp_path / "run" / "config.yaml").read_text()

    content = {
        "name": "x",
        "budget": {"images": 32, "rounds": 1},
        "reference": "adamw",
        "tasks": {"shapes": {}},
        "methods": {
            "adamw": {"recipe": {"optimizer": "adamw"}},
            "fast": {"recipe": {"optimizer": "adamw"}, "knobs": {"lr": 0.2}},
        },
    }
    experiment = load_experiment(content)
    assert [experiment.knobs("shapes", method).lr for method in ("adamw", "fast")] == [0.01, 0.2]

    budget = Budget(images=16, rounds=1)
    family = {"name": "shapes", "images": (16, 8, 8), "recipe": {"optimizer": "adamw", "batch_size": 8}}
    env = DetectorTrainingEnv(family=family, budget=budget)
    env.reset(seed=0)
    task = env.lanes.family.instance(0).task
    assert task.knobs.lr == 0.01
    played = env.step(np.zeros(env.action_space.shape))[-1]["knobs"]["lr"]
    assert played == pytest.approx(Schedule().decide((), task.info, budget).knobs.lr)
    assert played < 0.011


def test_a_mistake_is_made_around_the_optimizers_rate() -> None:
    family = RescueFamily(
        recipe=Recipe(optimizer="adamw"), mistakes=("learning-rate-too-high",), count=1, images=(8, 4, 4)
    )
    assert family.instance(0).task.knobs.lr == pytest.approx(0.1)


def test_recipes_settle_knobs_without_torch() -> None:
    code = """import sys
from mapopt.training.knobs import Knobs
from mapopt.training.recipe import Recipe
print(Recipe(optimizer="muon").settle(Knobs()).lr)
print(Recipe(optimizer="prodigy").settle(Knobs(lr=0.5)).lr)
print("torch" in sys.modules)"""
    given = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert given.split() == ["0.08", "0.5", "False"]
