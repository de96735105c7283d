"""Augmentation that ends before the run does: to the step, under every controller, as a flag and in a comparison."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mapopt.data.augmentation.settings import Augmentation
from mapopt.errors import ConfigError
from mapopt.experiments.comparison.controllers import ControllerConfig
from mapopt.training import Budget, Constant, Plateau, Schedule, make_controller
from mapopt.training.controllers.ending import AugmentUntil
from mapopt.training.controllers.reactive import Patience
from mapopt.training.fleet import Trainer
from mapopt.training.loop import run
from mapopt.training.settings import TrainSettings
from mapopt.training.steps import StepPlan
from mapopt.training.task import Task

MakeTask = Callable[..., Task]
CPU = torch.device("cpu")


def per_image(controller: object, task: Task, budget: Budget, name: str = "augment") -> list[float]:
    """Returns a knob's value for every image of a run."""
    values: list[float] = []
    history: list[object] = []
    for _ in range(budget.rounds):
        decision = controller.decide(history, task.info, budget)  # type: ignore[attr-defined]
        steps = StepPlan(
            [decision.knobs], [decision.ramp_from], [decision.via], images=budget.interval, batch_size=4, device=CPU
        )
        values += steps.per_image(name)[0].tolist()
        history.append(None)
    return values


@pytest.mark.parametrize("inner", [
    Constant(), Schedule(), Schedule(augment=(0.1, 0.9)),
    Schedule(augment=((0, 0.2), (0.6, 0.2), (0.6, 0.8), (0.65, 0.4))),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 0.65, 0.9])
@pytest.mark.parametrize("name", ["augment", "augment_kinds", "lr"])
def test_it_is_the_inner_controllers_until_the_step_and_then_off(
    inner: Schedule, fraction: float, name: str, make_task: MakeTask
) -> None:
    task, budget = make_task(), Budget(images=160, rounds=4)
    if isinstance(inner, Constant) and name == "lr":
        task = make_task(knobs={"lr": 0.1})
    before = per_image(inner, task, budget, name)
    after = per_image(AugmentUntil(controller=inner, fraction=fraction), task, budget, name)
    ends = round(160 * fraction)
    expected = before if name == "lr" else before[:ends] + [0.0] * (160 - ends)
    assert after == pytest.approx(expected)


def test_it_wraps_any_controller_and_keeps_what_that_wants() -> None:
    made = make_controller("plateau", patience=3, augment_until=0.5)
    assert made == Patience(controller=AugmentUntil(controller=Plateau(), fraction=0.5), rounds=3)
    assert make_controller("constant") == Constant()
    greedy = make_controller("hypergradient", augment_until=0.5)
    assert greedy.measures == make_controller("hypergradient").measures  # type: ignore[attr-defined]


@pytest.mark.parametrize("fraction", [-0.1, 1.5])
def test_a_fraction_outside_of_the_budget_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"augment_until is .*: expected a fraction of the budget"):
        make_controller("constant", augment_until=fraction)
    with pytest.raises(ConfigError, match="augment_until is"):
        ControllerConfig(augment_until=fraction)
    with pytest.raises(ConfigError, match="augment_until is"):
        AugmentUntil(controller=Constant(), fraction=fraction)


def test_planners_whose_trials_would_not_know_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"augment_until is 0.5 with controller 'lookahead', whose trials would know"):
        make_controller("lookahead", augment_until=0.5)


def test_a_run_trains_on_plain_images_in_the_end(make_task: MakeTask) -> None:
    task, budget = make_task(augmentation=Augmentation(mosaic=1.0)), Budget(images=64, rounds=4)
    ended = run(Trainer(task, seed=0), AugmentUntil(controller=Constant(), fraction=0.625), budget)
    assert [played.knobs.augment_kinds for played in ended.history] == [1.0, 1.0, 0.0, 0.0]
    assert ended.history[2].via[0][0] == pytest.approx(0.5)
    by_hand = Trainer(task, seed=0)
    by_hand.train(40)
    by_hand.set_knobs(task.knobs.replace(augment=0.0, augment_kinds=0.0))
    by_hand.train(8)
    assert by_hand.train(16).class_loss == ended.history[3].interval.class_loss


def test_it_is_a_flag_and_a_setting_of_a_comparison() -> None:
    assert TrainSettings(augment_until=0.75).make_controller() == AugmentUntil(controller=Schedule(), fraction=0.75)
    config = ControllerConfig.of(AugmentUntil(controller=Constant(), fraction=0.75))
    assert (config.kind, config.augment_until) == ("constant", 0.75)
    assert config.make() == AugmentUntil(controller=Constant(), fraction=0.75)
