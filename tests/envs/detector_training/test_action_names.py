"""What every environment says of its actions: what their entries are called, and which of them is the baseline."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Discrete

from mapopt.envs.detector_training.env import DetectorTrainingEnv
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import ShapesFamily
from mapopt.envs.post_processing.env import PostProcessingEnv
from mapopt.envs.post_processing.synthetic import SyntheticCandidates
from mapopt.envs.post_processing.vector import PostProcessingVectorEnv
from mapopt.training.budget import Budget
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.fleet import Trainer
from mapopt.training.loop import run
from mapopt.training.recipe import Recipe

FAMILY = ShapesFamily(images=(16, 8, 8), count=2, recipe=Recipe(batch_size=4))
BUDGET = Budget(images=16, rounds=2)
SOURCE = SyntheticCandidates(count=2, images=(8, 8))
KNOBS = ("lr", "augment")


def training(form: str) -> tuple[DetectorTrainingEnv, DetectorTrainingVectorEnv]:
    same: dict[str, Any] = {"budget": BUDGET, "knobs": KNOBS, "action": form}
    return DetectorTrainingEnv(FAMILY, **same), DetectorTrainingVectorEnv(2, FAMILY, **same)


def post_processing(form: Any) -> tuple[PostProcessingEnv, PostProcessingVectorEnv]:
    return PostProcessingEnv(SOURCE, action=form, length=3), PostProcessingVectorEnv(2, SOURCE, action=form, length=3)


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ("relative", KNOBS),
        ("moving", KNOBS),
        ("absolute", KNOBS),
        ("multi_discrete", KNOBS),
        ("discrete", ("stay", "lr_down", "lr_up", "augment_down", "augment_up")),
    ],
)
def test_entries_and_choices_of_training_have_names(form: str, names: tuple[str, ...]) -> None:
    for env in training(form):
        assert env.action_names == names


def test_the_choice_of_a_name_moves_its_knob_its_way() -> None:
    env, _ = training("discrete")
    for choice, name in enumerate(env.action_names):
        env.reset(options={"instance": 0, "training_seed": 0})
        default = env.lanes.action_of(0).decide(0, [], env.lanes.instances[0].task.info, BUDGET).knobs.as_dict()
        knobs = env.step(choice)[4]["knobs"]
        moved = {
            knob_name: np.sign(knobs[knob_name] - default[knob_name])
            for knob_name in knobs
            if knobs[knob_name] != default[knob_name]
        }
        knob, _, way = name.rpartition("_")
        assert moved == ({} if name == "stay" else {knob: 1.0 if way == "up" else -1.0})


@pytest.mark.parametrize("form", ["relative", "moving", "discrete", "multi_discrete"])
def test_the_baseline_action_is_the_baseline_bit_for_bit(form: str) -> None:
    env, vector = training(form)
    assert env.action_space.contains(env.baseline_action)
    assert np.array_equal(vector.baseline_action, env.baseline_action)
    env.reset(options={"instance": 1, "training_seed": 3})
    aps = [env.step(env.baseline_action)[4]["val_ap"] for _ in range(BUDGET.rounds)]
    result = run(Trainer(FAMILY.instance(1).task, seed=3), Schedule(), BUDGET, select="last")
    assert aps == [played.val.ap for played in result.history]


def test_absolute_actions_have_no_baseline() -> None:
    assert [env.baseline_action for env in (*training("absolute"), *post_processing("absolute"))] == [None] * 4


def test_entries_and_choices_of_post_processing_have_names() -> None:
    per_class = tuple(f"{name}_{k}" for name in ("score_threshold", "detections") for k in range(3))
    knobs = ("nms_iou", "soft_nms_sigma", "detections", *per_class)
    for env in post_processing("absolute"):
        assert env.action_names == knobs
    for env in post_processing("discrete"):
        assert env.action_names == ("stay", *(f"{name}_{way}" for name in knobs for way in ("down", "up")))
        space = env.action_space if isinstance(env, gymnasium.Env) else env.single_action_space
        assert isinstance(space, Discrete)
        assert space.n == len(env.action_names)


def test_the_baseline_action_of_post_processing_keeps_the_default_setting() -> None:
    env, vector = post_processing("discrete")
    assert env.action_space.contains(env.baseline_action)
    assert vector.baseline_action == env.baseline_action
    knobs = env.reset(seed=0)[1]["knobs"]
    assert env.step(env.baseline_action)[4]["knobs"] == knobs
    down = env.action_names.index("nms_iou_down")
    assert env.step(down)[4]["knobs"]["nms_iou"] < knobs["nms_iou"]
