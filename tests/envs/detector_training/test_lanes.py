"""What ends an episode, what lanes have in common, and which instances are refused before anything begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import gymnasium
import numpy as np
import pytest

from mapopt.envs.detector_training.action_forms import RelativeAction
from mapopt.envs.detector_training.actions import Action, make_action
from mapopt.envs.detector_training.env import DetectorTrainingEnv
from mapopt.envs.detector_training.states import Start
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import Instance, ShapesFamily
from mapopt.errors import ConfigError, DataError
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Controller, Decision
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.controllers.reactive import Patience
from mapopt.training.fleet import Trainer
from mapopt.training.history import Round
from mapopt.training.knobs import Knobs, Range
from mapopt.training.loop import run
from mapopt.training.recipe import Recipe
from mapopt.training.task import Task

FAMILY = ShapesFamily(images=(16, 8, 8), count=4, recipe=Recipe(batch_size=4))
BUDGET = Budget(images=8 * 6, rounds=6)
DEFAULT_INSTANCE = FAMILY.instance(0)


@dataclass(frozen=True)
class Given:
    """A family of instances that are made when they are asked for."""

    make: tuple[Callable[[], Instance], ...]
    split: Literal["train", "eval"] = "train"

    @property
    def count(self) -> int:
        return len(self.make)

    def instance(self, number: int) -> Instance:
        return self.make[number]()


@dataclass(frozen=True, kw_only=True)
class Knobless(Task):
    """A task without one of the knobs."""

    @property
    def ranges(self) -> dict[str, Range]:
        return {name: bounds for name, bounds in super().ranges.items() if name != "augment"}


def default_instance(**task: Any) -> Instance:
    return replace(DEFAULT_INSTANCE, task=replace(DEFAULT_INSTANCE.task, **task))


def of_another_recipe() -> Instance:
    return default_instance(recipe=Recipe(batch_size=4, clip=1.0))


def of_other_steps() -> Instance:
    return default_instance(recipe=Recipe(batch_size=3))


def of_an_impossible_recipe() -> Instance:
    return default_instance(recipe=Recipe(batch_size=4, optimizer="dog", frozen="stem"))


def of_another_length() -> Instance:
    splits = DEFAULT_INSTANCE.task.splits
    return default_instance(splits=replace(splits, train=splits.test, test=splits.train))


def without_val_objects() -> Instance:
    splits = DEFAULT_INSTANCE.task.splits
    notes = splits.val.annotations
    ignored = replace(notes, crowd=np.ones(len(notes.boxes), dtype=bool))
    return default_instance(splits=replace(splits, val=replace(splits.val, annotations=ignored)))


@pytest.mark.parametrize(
    ("other", "error", "message"),
    [
        (of_other_steps, ConfigError, "no whole number of steps of 3"),
        (of_an_impossible_recipe, ConfigError, "which evaluates an average of its own"),
        (without_val_objects, DataError, "the val set has 8 images but no object to find"),
    ],
)
def test_an_instance_that_cannot_be_played_is_refused_and_what_is_played_goes_on(
    other: Callable[[], Instance], error: type[Exception], message: str
) -> None:
    family = Given((default_instance, other))
    env, twin = (DetectorTrainingVectorEnv(2, family, budget=BUDGET, knobs=("lr",)) for _ in range(2))
    with pytest.raises(error, match=message):
        env.lanes.reset({lane: Start(instance=lane, seed=lane) for lane in range(2)})
    assert not env.lanes.begun(0)
    for interface in (env, twin):
        interface.reset(seed=0, options={"instance": 0})
        interface.step(np.ones((2, 1)))
    with pytest.raises(error, match=message):
        env.lanes.reset({lane: Start(instance=lane, seed=lane) for lane in range(2)})
    ours, theirs = env.step(np.ones((2, 1))), twin.step(np.ones((2, 1)))
    assert ours[0].tobytes() == theirs[0].tobytes()
    assert ours[4]["round"].tolist() == [2, 2]


@pytest.mark.parametrize("other", [of_another_recipe, of_another_length])
def test_one_lane_takes_another_recipe_or_length_too(other: Callable[[], Instance]) -> None:
    env = DetectorTrainingEnv(Given((default_instance, other)), budget=BUDGET)
    for number, make in enumerate((default_instance, other, default_instance)):
        env.reset(options={"instance": number % 2, "training_seed": 3})
        played = [env.step(np.zeros(4))[4]["val_ap"] for _ in range(2)]
        trainer = Trainer(make().task, seed=3)
        rounds = run(trainer, Schedule(), BUDGET, select="last").history
        assert played == [each.val.ap for each in rounds[:2]]
        assert env.lanes.histories[0][1].interval.class_loss == rounds[1].interval.class_loss


def test_an_instance_without_a_knob_that_actions_set_is_refused() -> None:
    def of_no_such_knob() -> Instance:
        task = DEFAULT_INSTANCE.task
        own = Knobless(name=task.name, splits=task.splits, recipe=task.recipe, knobs=task.knobs)
        return replace(DEFAULT_INSTANCE, task=own)

    env = DetectorTrainingEnv(Given((default_instance, of_no_such_knob)), budget=BUDGET)
    env.reset(options={"instance": 0})
    with pytest.raises(ConfigError, match="unknown knob 'augment'"):
        env.reset(options={"instance": 1})
    assert env.step(np.zeros(4))[4]["round"] == 1


def test_every_lane_plays_the_budget_of_its_instance() -> None:
    budgets = (Budget(images=8, rounds=2), Budget(images=24, rounds=3))
    family = replace(FAMILY, budgets=budgets)
    env = DetectorTrainingVectorEnv(2, family, budget=BUDGET, autoreset_mode="Disabled")
    numbers = [next(n for n in range(4) if family.budget_of(n) == budget) for budget in budgets]
    env.lanes.reset({lane: Start(instance=number, seed=3) for lane, number in enumerate(numbers)})
    assert [env.lanes.budget_of(lane) for lane in range(2)] == list(budgets)
    env.step(np.zeros((2, 4)))
    *_, terminated, _, infos = env.step(np.zeros((2, 4)))
    assert terminated.tolist() == [True, False]
    assert infos["images"].tolist() == [8, 16]


def stopping(form: str) -> Action:
    return make_action(form, knobs=("lr",), baseline=Patience(controller=Schedule(), rounds=2, margin=1.0))


@pytest.mark.parametrize(
    ("form", "zero"), [("relative", np.zeros(1)), ("discrete", np.int64(0)), ("multi_discrete", np.ones(1, int))]
)
def test_the_zero_action_stops_where_the_baseline_does(form: str, zero: Any) -> None:
    action = stopping(form)
    env = DetectorTrainingEnv(FAMILY, budget=BUDGET, action=action, cost_per_image=1e-3)
    env.reset(options={"instance": 1, "training_seed": 5})
    result = run(Trainer(FAMILY.instance(1).task, seed=5), action.baseline, BUDGET, select="last")
    assert result.status == "stopped"
    played = [env.step(zero) for _ in range(len(result.history) + 1)]
    assert [terminated for _, _, terminated, *_ in played] == [False] * len(result.history) + [True]
    assert [played.val for played in env.lanes.histories[0]] == [played.val for played in result.history]
    info = played[-1][4]
    assert info["stopped"] == result.reason
    assert result.test is not None
    assert info["test_ap"] == result.test.ap
    assert info["round"] == len(result.history) == 3
    assert played[-1][1] == 0
    assert all("stopped" not in info for *_, info in played[:-1])
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(zero)


def test_an_absolute_action_stops_with_its_baseline_too() -> None:
    env = DetectorTrainingEnv(FAMILY, budget=BUDGET, action=stopping("absolute"))
    env.reset(seed=0)
    steps = 1
    while not env.step(np.zeros(1))[2]:
        steps += 1
    assert steps == 4


@pytest.mark.parametrize("reward", ["gain", "final", "log_gap"])
def test_a_stopped_episode_returns_the_value_of_its_last_round(reward: str) -> None:
    env = DetectorTrainingEnv(FAMILY, budget=BUDGET, action=stopping("relative"), reward=reward)
    env.reset(seed=0)
    rewards, terminated = [], False
    while not terminated:
        _, paid, terminated, _, _ = env.step(np.zeros(1))
        rewards.append(paid)
    last = env.lanes.histories[0][-1].val
    assert last.ap > 0
    assert sum(rewards) == pytest.approx(env.lanes.reward.value(last))
    assert (rewards[-1] > 0) == (reward == "final")


def test_a_lane_that_stops_leaves_the_others_to_play() -> None:
    calm = replace(DEFAULT_INSTANCE, baseline=Schedule())
    env = DetectorTrainingVectorEnv(
        2,
        Given((default_instance, lambda: calm)),
        budget=BUDGET,
        action=stopping("relative"),
        autoreset_mode="Disabled",
    )
    env.lanes.reset({lane: Start(instance=lane, seed=7) for lane in range(2)})
    for _ in range(4):
        *_, terminated, _, infos = env.step(np.zeros((2, 1)))
    assert terminated.tolist() == [True, False]
    assert infos["_stopped"].tolist() == [True, False]
    assert infos["round"].tolist() == [3, 4]


def test_a_run_that_is_stopped_before_its_first_round_is_refused() -> None:
    @dataclass(frozen=True)
    class Never:
        def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
            return Decision(knobs=Knobs(), stop="no wish")

    never: Controller = Never()
    env = DetectorTrainingEnv(FAMILY, budget=BUDGET, action=RelativeAction(baseline=never))
    env.reset(seed=0)
    with pytest.raises(ConfigError, match=r"stopped before its first round \(no wish\): let it play at least one"):
        env.step(np.zeros(4))
    with pytest.raises(ConfigError, match="stopped before its first round"):
        run(Trainer(DEFAULT_INSTANCE.task), never, BUDGET)
    with pytest.raises(ConfigError, match="rounds is 0: expected 1 or more"):
        Patience(controller=Schedule(), rounds=0)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_a_step_before_the_first_reset_is_gymnasiums_own_error(mode: str) -> None:
    env = DetectorTrainingVectorEnv(2, FAMILY, budget=BUDGET, autoreset_mode=mode)
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"lanes \[0, 1\]"):
        env.step(np.zeros((2, 4)))


@pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
def test_what_never_began_is_not_drawn(mode: str) -> None:
    env = DetectorTrainingEnv(FAMILY, budget=BUDGET, render_mode=mode)
    with pytest.raises(ConfigError, match="lane 0 was never reset: call reset"):
        env.render()


def test_a_picture_of_every_lane_looks_at_every_lane_once(monkeypatch: pytest.MonkeyPatch) -> None:
    env = DetectorTrainingVectorEnv(3, FAMILY, budget=BUDGET, render_mode="rgb_array")
    env.reset(seed=0)
    env.step(np.zeros((3, 4)))
    asked: list[Any] = []
    fleet, _ = env.lanes.fleet_of(0)
    detect = fleet.detect

    def counted(split: Any, *, lanes: Sequence[int] | None = None) -> Any:
        asked.extend(range(3) if lanes is None else lanes)
        return detect(split, lanes=lanes)

    monkeypatch.setattr(fleet, "detect", counted)
    assert env.render() is not None
    assert asked == [0, 1, 2]
