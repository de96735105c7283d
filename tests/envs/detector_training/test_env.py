"""The environment of one run: its bits, its ends, its infos, and that it is the run that the trainer would make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from mapopt.agents.agent import Agent
from mapopt.agents.policy import PolicyController
from mapopt.envs.detector_training.action_forms import RelativeAction
from mapopt.envs.detector_training.actions import SCALE
from mapopt.envs.detector_training.env import DetectorTrainingEnv
from mapopt.envs.detector_training.features import FEATURES
from mapopt.envs.detector_training.rewards import REWARDS
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import FAMILIES, Instance, NumberedFamily, ShapesFamily
from mapopt.envs.lanes import lane_info
from mapopt.errors import ConfigError
from mapopt.training.budget import Budget
from mapopt.training.controllers.base import Decision
from mapopt.training.controllers.fixed import Constant, Schedule
from mapopt.training.fleet import Trainer
from mapopt.training.knobs import Knobs
from mapopt.training.loop import run
from mapopt.training.recipe import Recipe

MakeFamily = Callable[..., NumberedFamily]

FAMILY = ShapesFamily(images=(16, 8, 8), count=4, recipe=Recipe(batch_size=4))
BUDGET = Budget(images=8 * 3, rounds=3)
KNOBS = ("lr", "augment", "score_threshold")
EVERYTHING = (*FEATURES, "knobs")


def make(**changes: Any) -> DetectorTrainingEnv:
    return DetectorTrainingEnv(**{"family": FAMILY, "budget": BUDGET, "knobs": KNOBS, **changes})


def play(env: DetectorTrainingEnv, action: Any = None, **reset: Any) -> list[tuple[bytes, float, bool, bool, str]]:
    """Plays an episode, with the actions of a sampler unless one is given; returns everything it gave."""
    env.action_space.seed(0)
    seen, info = env.reset(**{"seed": 0, **reset})
    rows = [(seen.tobytes(), 0.0, False, False, repr(info))]
    ended = False
    while not ended:
        seen, reward, terminated, truncated, info = env.step(env.action_space.sample() if action is None else action)
        shown = {name: value for name, value in info.items() if name != "seconds" and not name.startswith("test_")}
        rows.append((seen.tobytes(), reward, terminated, truncated, repr(shown)))
        ended = terminated or truncated
    return rows


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize(("action", "nothing"), [("relative", np.zeros(3)), ("discrete", 0)])
def test_doing_nothing_is_the_baselines_run_bit_for_bit(
    family: str, action: str, nothing: object, tiny_family: MakeFamily
) -> None:
    chosen = tiny_family(family)
    env = make(family=chosen, action=action)
    play(env, nothing, options={"instance": 2, "training_seed": 7})
    instance = chosen.instance(2)
    result = run(Trainer(instance.task_for(BUDGET), seed=7), instance.baseline or Schedule(), BUDGET)
    for ours, theirs in zip(env.lanes.histories[0], result.history, strict=True):
        assert ours.val == theirs.val
        assert replace(ours.interval, seconds=0.0, processor_seconds=0.0) == replace(
            theirs.interval, seconds=0.0, processor_seconds=0.0
        )
        assert Decision.of(ours) == Decision.of(theirs)


def test_the_zero_action_over_a_schedule_that_moves_other_knobs_is_a_run_with_it(tiny_family: MakeFamily) -> None:
    schedule = Schedule(warmup=0.0, assign_iou=(0.1, 0.8), augment={0: 0, 0.5: 1})
    env = make(
        knobs=None, family=tiny_family("shapes"), action=RelativeAction(knobs=("lr", "augment"), baseline=schedule)
    )
    play(env, np.zeros(2), options={"instance": 2, "training_seed": 7})
    result = run(Trainer(tiny_family("shapes").instance(2).task, seed=7), schedule, BUDGET)
    played = env.lanes.histories[0]
    assert [Decision.of(ours) for ours in played] == [Decision.of(theirs) for theirs in result.history]
    assert any(ours.via for ours in played)
    assert [ours.val for ours in played] == [theirs.val for theirs in result.history]
    assert [ours.knobs.assign_iou for ours in played][-1] == 0.8


def test_a_baseline_that_moves_a_knob_of_nobody_is_refused_when_the_environment_is_made() -> None:
    action = RelativeAction(knobs=("lr",), baseline=Schedule(own={"margin": (0.0, 1.0)}))
    with pytest.raises(ConfigError, match="unknown knob in the schedule 'margin'"):
        make(knobs=None, action=action)


@pytest.mark.parametrize("reward", ["gain", "f1", "oLRP"])
@pytest.mark.parametrize("family", ["shapes", "rescue", "from-data", "shift"])
def test_a_policy_in_the_environment_equals_the_same_policy_in_a_run(
    family: str, reward: str, tiny_family: MakeFamily
) -> None:
    chosen = tiny_family(family)
    env = make(family=chosen, reward=reward, features=EVERYTHING if reward == "f1" else None)
    names = env.observation_names
    weights = np.random.default_rng(0).normal(0, 0.3, (3, len(names)))
    agent = Agent(((weights, np.zeros(3)),), KNOBS, SCALE, {"shape": "cosine"}, names)
    seen, _ = env.reset(seed=0, options={"instance": 1, "training_seed": 4})
    for _ in range(BUDGET.rounds):
        seen, *_ = env.step(agent.act(seen))
    instance = chosen.instance(1)
    result = run(Trainer(instance.task_for(BUDGET), seed=4), PolicyController(agent, instance.baseline), BUDGET)
    assert [played.val for played in env.lanes.histories[0]] == [played.val for played in result.history]
    assert [played.knobs for played in env.lanes.histories[0]] == [played.knobs for played in result.history]
    assert env.lanes.histories[0][-1].knobs != instance.task.knobs


@pytest.mark.parametrize("action", ["relative", "moving", "absolute", "discrete", "multi_discrete"])
def test_the_same_seed_gives_the_same_episode_twice(action: str) -> None:
    assert play(make(action=action), seed=3) == play(make(action=action), seed=3)
    assert play(make(action=action), seed=3) != play(make(action=action), seed=4)


@dataclass(frozen=True)
class OtherTest:
    """A family whose instances have the test split of another instance."""

    family: ShapesFamily
    split: Any = "train"

    @property
    def count(self) -> int:
        return self.family.count - 1

    def instance(self, number: int) -> Instance:
        mine, other = self.family.instance(number), self.family.instance(number + 1)
        splits = replace(mine.task.splits, test=other.task.splits.test)
        return replace(mine, task=replace(mine.task, splits=splits))


@pytest.mark.parametrize("reward", list(REWARDS))
def test_the_test_split_is_ignored_in_observations_rewards_and_infos_before_the_end(reward: str) -> None:
    tests = []
    episodes = []
    for family in (FAMILY, OtherTest(FAMILY)):
        env = make(family=family, reward=reward, features=EVERYTHING)
        episodes.append(play(env, options={"instance": 0, "training_seed": 1}))
        tests.append(env.lanes.fleet_of(0)[0].detect("test")[0].scores.tolist())
    assert episodes[0] == episodes[1]
    assert tests[0] != tests[1]


def test_only_the_last_info_knows_the_test_and_the_seconds() -> None:
    env = make()
    env.reset(seed=1)
    for step in range(BUDGET.rounds):
        _, _, ended, _, info = env.step(np.zeros(3))
        for name in ("test_ap", "test_ap50", "test_ap75", "seconds"):
            assert (name in info) == ended == (step == BUDGET.rounds - 1)
    report = env.lanes.fleet_of(0)[0].evaluate("test")[0]
    assert (info["test_ap"], info["test_ap50"], info["test_ap75"]) == (report.ap, report.ap50, report.ap75)


def test_infos_tell_what_a_log_wants() -> None:
    env = make(reward="f1", cost_per_image=1e-3)
    _, start = env.reset(seed=1, options={"instance": 3})
    assert start["instance"] == 3
    assert start["description"] == str(FAMILY.instance(3))
    _, reward, _, _, info = env.step(np.zeros(3))
    last = env.lanes.histories[0][-1]
    assert (info["round"], info["images"], info["evaluated"], info["diverged"]) == (1, 8, 8, False)
    assert (info["val_ap"], info["val_f1"]) == (last.val.ap, last.val.f1)
    assert info["val_ap_per_category"].tolist() == list(last.val.per_category)
    for name in ("class_loss", "box_loss", "weight_norm", "gradient_ratio", "steps"):
        assert info[name] == getattr(last.interval, name)
    assert (info["steps"], info["weight_norm"] > 0) == (2, True)
    assert info["knobs"] == last.knobs.as_dict()
    assert info["reward_parts"] == {"value": last.val.f1, "cost": pytest.approx(8e-3)}
    assert reward == pytest.approx(last.val.f1 - 8e-3)


@pytest.mark.parametrize("cost", [0.0, 1e-3])
@pytest.mark.parametrize("reward", list(REWARDS))
def test_a_diverged_episode_ends_with_nothing_but_the_cost_of_the_budget(reward: str, cost: float) -> None:
    env = make(reward=reward, cost_per_image=cost, features=EVERYTHING)
    env.reset(seed=0)
    _, first, *_ = env.step(np.zeros(3))
    with torch.no_grad():
        env.lanes.fleet_of(0)[0]._place[0][0].detector.weights[0] = float("nan")
    seen, second, terminated, _, info = env.step(np.zeros(3))
    assert terminated
    assert info["diverged"]
    assert info["test_ap"] == 0.0
    assert env.observation_space.contains(seen)
    assert first + second == pytest.approx(-cost * BUDGET.images)


def test_a_limit_of_seconds_truncates() -> None:
    env = make(seconds_limit=1e-9)
    rows = play(env)
    assert [row[2:4] for row in rows] == [(False, False), (False, True)]
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(3))
    assert len(play(make(seconds_limit=1e9))) == 1 + BUDGET.rounds


@dataclass(frozen=True)
class OwnBudgets:
    """A family whose instances bring budgets and a baseline of their own."""

    split: Any = "train"
    count: int = 3

    def instance(self, number: int) -> Instance:
        budgets = [Budget(images=16, rounds=2), Budget(images=12, rounds=3), None]
        return replace(FAMILY.instance(number), budget=budgets[number], baseline=Constant())


def test_an_instance_may_bring_its_budget_and_its_baseline_to_every_interface() -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (3, 3, 3))
    vector = DetectorTrainingVectorEnv(3, OwnBudgets(), budget=BUDGET, knobs=KNOBS, autoreset_mode="NextStep")
    seeds = [next(s for s in range(99) if np_instance(s) == number) for number in range(3)]
    first, _ = vector.reset(seed=seeds)
    rows = [vector.step(actions[step]) for step in range(2)]
    assert rows[1][2].tolist() == [True, False, False]
    assert rows[1][4]["images"].tolist() == [16, 8, 16]
    for lane, seed in enumerate(seeds):
        env = make(family=OwnBudgets())
        assert np.array_equal(env.reset(seed=seed)[0], first[lane])
        for step in range(2):
            seen, reward, terminated, _, info = env.step(actions[step, lane])
            assert np.array_equal(seen, rows[step][0][lane])
            assert (reward, terminated) == (rows[step][1][lane], rows[step][2][lane])
            assert info["val_ap"] == lane_info(rows[step][4], lane)["val_ap"]
    env.reset(seed=seeds[0])
    env.step(np.zeros(3))
    assert env.lanes.histories[0][0].knobs == Recipe().settle(Knobs()).settled()


def np_instance(seed: int) -> int:
    """The instance that a seed draws from a family of three."""
    return int(np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed))).integers(3))


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'lr'"):
        make(knobs=("lrr",))
    with pytest.raises(ConfigError, match="unknown family 'shape': did you mean 'shapes'"):
        make(family="shape")
    with pytest.raises(ConfigError, match="unknown reward"):
        make(reward="points")
    with pytest.raises(ConfigError, match="unknown action form"):
        make(action="sometimes")
    with pytest.raises(ConfigError, match="unknown feature"):
        make(features=("mood",))
    with pytest.raises(ConfigError, match="render_mode is 'human': expected 'ansi', 'rgb_array' or None"):
        make(render_mode="human")
    with pytest.raises(ConfigError, match="seconds_limit is 0: expected a positive number"):
        make(seconds_limit=0)
    with pytest.raises(ConfigError, match="which it brings: leave them out"):
        make(action=make().lanes.action)
    with pytest.raises(ConfigError, match="unknown reset option "):
        make().reset(options={"instnce": 1})
    with pytest.raises(ConfigError, match="reset option 'instance' is 9: expected a whole number from 0 to 3"):
        make().reset(options={"instance": 9})
    with pytest.raises(ConfigError, match="no whole number of steps of 4"):
        make(budget=Budget(images=6, rounds=1)).reset()
    env = make()
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(3))
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="finite"):
        env.step(np.array([np.nan, 0, 0]))
    assert env.lanes.histories[0] == []


def test_it_can_be_drawn_at_any_time() -> None:
    env = make(render_mode="ansi")
    env.reset(seed=0)
    assert env.render() == f"round 0/3: {env.lanes.instances[0]}"
    env.step(np.zeros(3))
    assert env.render().startswith("round 1/3: val AP")
    assert "augment 0.3" in env.render()
    env = make(render_mode="rgb_array")
    env.reset(seed=0)
    before = env.get_state().snapshot.tensors["weights"]
    empty = env.render()
    assert torch.equal(env.get_state().snapshot.tensors["weights"], before)
    env.step(np.full(3, 0.5))
    played = env.render()
    assert empty.dtype == played.dtype == np.uint8
    assert empty.shape == played.shape
    assert not np.array_equal(empty, played)
    assert make().render() is None


def test_what_is_drawn_is_what_was_played() -> None:
    from mapopt.envs.detector_training.scene import scene_of

    env = make()
    env.reset(seed=0, options={"instance": 1})
    env.step(np.array([0.5, 0.5, 0.0]))
    scene = scene_of(env.lanes, 0)
    last, val = env.lanes.histories[0][0], FAMILY.instance(1).task.splits.val
    assert scene.ap == (last.val.ap,)
    assert [(knob.name, knob.values) for knob in scene.knobs] == [
        (name, (getattr(last.knobs, name),)) for name in KNOBS
    ]
    assert scene.knobs[1].baseline == (0.3,)
    image = scene.image
    assert image is not None
    assert np.array_equal(image.pixels, val.pixels[0].permute(1, 2, 0).numpy())
    notes = val.annotations
    np.testing.assert_allclose(image.true_boxes, notes.boxes[notes.images == 0] * float(val.scale[0]))
    detections = env.lanes.fleet_of(0)[0].detect("val")[0]
    assert len(image.scores) == (detections.image_ids == 0).sum() > 0
