"""Wrappers of actions: knobs that are held, and boxes that are cut into levels, also beside a baseline of their own."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium
import numpy as np
import pytest

import mapopt.envs  # noqa: F401 - registers the environment
from mapopt.envs.families import ShapesFamily
from mapopt.envs.post_processing.env import PostProcessingEnv
from mapopt.envs.post_processing.synthetic import SyntheticCandidates
from mapopt.envs.post_processing.vector import PostProcessingVectorEnv
from mapopt.envs.wrappers import (
    Discretize,
    FreezeKnobs,
    RewardNoise,
    VectorDiscretize,
    VectorFreezeKnobs,
)
from mapopt.errors import ConfigError
from mapopt.training.budget import Budget
from mapopt.training.recipe import Recipe

FAMILY = ShapesFamily(images=(16, 8, 8), count=4, recipe=Recipe(batch_size=4))
BUDGET = Budget(images=8 * 3, rounds=3)
KNOBS = ("lr", "augment", "assign_iou")
SOURCE = SyntheticCandidates(count=3, images=(8, 8))


class Levers(gymnasium.Env):
    """Shows the action it was given; its baseline is not zero."""

    observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    action_names = ("left", "middle", "right")
    baseline_action = np.array([0.5, -0.5, 1.0], dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.baseline_action, {"instance": 0}

    def step(self, action: Any) -> Any:
        return action, float(np.sum(action)), False, True, {}


def make(**changes: Any) -> gymnasium.Env:
    chosen = {"family": FAMILY, "budget": BUDGET, "knobs": KNOBS, **changes}
    return gymnasium.make("mapopt/DetectorTraining-v0", **chosen)


def play(env: gymnasium.Env, actions: list[Any], **reset: Any) -> tuple[list[float], list[dict[str, Any]]]:
    """Returns the rewards and infos of an episode."""
    env.reset(**reset)
    rewards, infos = [], []
    for action in actions:
        _, reward, terminated, truncated, info = env.step(action)
        rewards.append(float(reward))
        infos.append(info)
        if terminated or truncated:
            break
    return rewards, infos


def test_a_held_knob_stays_where_the_baseline_has_it_and_the_others_turn() -> None:
    frozen, whole = FreezeKnobs(make(), ("augment",)), make()
    assert frozen.action_space.shape == (2,)
    assert frozen.action_names == ("lr", "assign_iou")
    start = {"instance": 1, "training_seed": 2}
    ours = play(frozen, [np.array([0.5, -0.5], dtype=np.float32)] * 3, options=start)
    theirs = play(whole, [np.array([0.5, 0.0, -0.5], dtype=np.float32)] * 3, options=start)
    base = play(make(), [np.zeros(3, dtype=np.float32)] * 3, options=start)
    assert ours[0] == theirs[0]
    assert [info["knobs"]["augment"] for info in ours[1]] == [info["knobs"]["augment"] for info in base[1]]
    assert ours[1][0]["knobs"]["lr"] != base[1][0]["knobs"]["lr"]


def test_knobs_held_one_after_the_other_are_those_held_at_once() -> None:
    twice = FreezeKnobs(FreezeKnobs(make(), {"lr": 0.5}), ("assign_iou",))
    once = FreezeKnobs(make(), {"lr": 0.5, "assign_iou": 0.0})
    action = np.array([0.3], dtype=np.float32)
    assert twice.action_names == once.action_names == ("augment",)
    assert np.array_equal(twice.env.action(twice.action(action)), once.action(action))  # type: ignore[attr-defined]


def test_an_absolute_knob_is_held_at_the_value_that_was_given() -> None:
    from mapopt.training.knob_space import KnobSpace
    from mapopt.training.knobs import Knobs

    entry = float(KnobSpace(["augment"]).to_unit(Knobs(augment=0.7))[0])
    env = FreezeKnobs(make(action="absolute"), {"augment": entry})
    _, infos = play(env, [np.zeros(2, dtype=np.float32)])
    assert infos[0]["knobs"]["augment"] == pytest.approx(0.7, abs=1e-6)


@pytest.mark.parametrize("choices", ["each", "one", "all"])
def test_every_choice_stands_for_its_levels(choices: Any) -> None:
    levels = (-1.0, 0.0, 0.5)
    env = Discretize(make(), levels, choices=choices)
    if choices == "each":
        filled = [env.action(np.array(place)) for place in itertools.product(range(3), repeat=3)]
        expected = list(itertools.product(levels, repeat=3))
    elif choices == "all":
        filled = [env.action(np.int64(place)) for place in range(27)]
        expected = list(itertools.product(levels, repeat=3))
    else:
        filled = [env.action(np.int64(place)) for place in range(10)]
        expected = [(0.0, 0.0, 0.0)]
        for entry in range(3):
            expected += [tuple(level if place == entry else 0.0 for place in range(3)) for level in levels]
    assert env.action_space.n == len(expected) if choices != "each" else env.action_space.nvec.tolist() == [3, 3, 3]  # type: ignore[attr-defined]
    assert np.array_equal(np.array(filled), np.array(expected))


def test_entries_that_a_choice_leaves_alone_are_at_rest() -> None:
    env = Discretize(make(action="absolute"), (-1.0, 1.0), rest=(0.1, 0.2, 0.3))
    filled = [env.action(np.int64(place)).tolist() for place in (0, 1, 6)]
    assert filled == [pytest.approx(entries) for entries in ([0.1, 0.2, 0.3], [-1.0, 0.2, 0.3], [0.1, 0.2, 1.0])]


def test_a_knob_held_by_its_name_and_an_entry_at_rest_are_where_the_baseline_has_them() -> None:
    held = FreezeKnobs(Levers(), ("left", "right"))
    assert held.action(np.zeros(1, np.float32)).tolist() == [0.5, 0.0, 1.0]
    cut = Discretize(Levers(), (-1.0, 0.0))
    assert [cut.action(np.int64(choice)).tolist() for choice in (0, 4)] == [[0.5, -0.5, 1.0], [0.5, 0.0, 1.0]]


def test_a_wrapped_environment_says_which_action_is_the_baseline_now() -> None:
    levels = (-0.5, 0.5, 1.0)
    wrapped: list[Any] = [
        FreezeKnobs(Levers(), ("left",)),
        FreezeKnobs(Levers(), {"left": 0.5}),
        Discretize(Levers(), levels),
        Discretize(Levers(), levels, choices="each"),
        Discretize(Levers(), levels, choices="all"),
        Discretize(FreezeKnobs(Levers(), ("left",)), levels, choices="each"),
        Discretize(Levers(), (-1.0, 1.0)),
    ]
    for env in wrapped:
        default = env.baseline_action
        assert env.action_space.contains(default)
        inner = env
        while inner is not inner.unwrapped:
            default, inner = inner.action(default), inner.env
        assert default.tolist() == Levers.baseline_action.tolist()
    assert FreezeKnobs(Levers(), {"left": 0.25}).baseline_action.tolist() == [-0.5, 1.0]  # type: ignore[union-attr]
    without: list[Any] = [
        Discretize(Levers(), (-1.0, 1.0), choices="each"),
        Discretize(Levers(), (-1.0, 1.0), choices="all"),
        Discretize(Levers(), (-1.0, 1.0), rest=0.0),
        Discretize(make(action="absolute"), choices="each"),
    ]
    assert [env.baseline_action for env in without] == [None] * 4


def test_a_wrapper_that_changes_what_actions_mean_hides_their_names_and_baseline() -> None:
    scaled = gymnasium.wrappers.RescaleAction(Levers(), np.float32(0), np.float32(1))
    turned = gymnasium.wrappers.TransformAction(Levers(), lambda action: -action, Levers.action_space)
    for env in (scaled, turned):
        with pytest.raises(ConfigError, match="have no names"):
            FreezeKnobs(env, {"left": 0.5})
        with pytest.raises(ConfigError, match="give rest, or choose 'each' or 'all'"):
            Discretize(env, (0.0, 1.0))
    kept = gymnasium.wrappers.TimeLimit(RewardNoise(Levers(), 0.0), 3)
    assert FreezeKnobs(kept, ("left",)).action_names == ("middle", "right")


def test_knobs_of_post_processing_are_held_by_their_names_alone_and_in_lanes() -> None:
    held = {"soft_nms_sigma": -1.0, "detections": 0.5}
    names = PostProcessingEnv(SOURCE).action_names
    single = FreezeKnobs(PostProcessingEnv(SOURCE, length=3), held)
    many = VectorFreezeKnobs(PostProcessingVectorEnv(2, SOURCE, length=3), held)
    assert single.action_names == many.action_names == tuple(name for name in names if name not in held)
    whole = PostProcessingEnv(SOURCE, length=3)
    few = np.linspace(-0.9, 0.5, len(names) - 2, dtype=np.float32)
    all_of_them = [{**held, **dict(zip(single.action_names, few, strict=True))}[name] for name in names]
    for env in (single, whole):
        env.reset(seed=4)
    many.reset(seed=4)
    seen, reward, *_ = whole.step(np.array(all_of_them, np.float32))
    mine, lanes = single.step(few), many.step(np.stack([few, few]))
    assert mine[0].tobytes() == lanes[0][0].tobytes() == seen.tobytes()
    assert mine[1] == lanes[1][0] == reward != 0


def test_what_a_wrapper_of_actions_cannot_do_is_said() -> None:
    with pytest.raises(ConfigError, match="did you mean 'augment'"):
        FreezeKnobs(make(), ("augmnt",))
    with pytest.raises(ConfigError, match=r"expected the names of knobs, such as \('lr',\)"):
        FreezeKnobs(make(), "lr")
    with pytest.raises(ConfigError, match="no knob to hold was named"):
        FreezeKnobs(make(), ())
    with pytest.raises(ConfigError, match="leave at least one to turn"):
        FreezeKnobs(make(), KNOBS)
    with pytest.raises(ConfigError, match="lr would be held at 3: expected -1 to 1"):
        FreezeKnobs(make(), {"lr": 3.0})
    with pytest.raises(ConfigError, match="no action is the baseline here"):
        FreezeKnobs(make(action="absolute"), ("lr",))
    with pytest.raises(ConfigError, match="make the environment with fewer knobs"):
        FreezeKnobs(make(action="discrete"), ("lr",))
    with pytest.raises(ConfigError, match="have no names"):
        FreezeKnobs(gymnasium.make("Pendulum-v1"), ("lr",))
    with pytest.raises(ConfigError, match="expected 2 entries"):
        FreezeKnobs(make(), ("lr",)).action(np.zeros(3))
    with pytest.raises(ConfigError, match="expected a Box of one dimension"):
        Discretize(make(action="discrete"))
    with pytest.raises(ConfigError, match="two or more, all different"):
        Discretize(make(), (0.0, 0.0))
    with pytest.raises(ConfigError, match="level 2 lies outside of an action, which is -1 to 1"):
        Discretize(make(), (0.0, 2.0))
    with pytest.raises(ConfigError, match="7529536 combinations, more than 4096"):
        Discretize(
            make(knobs=("lr", "weight_decay", "augment", "assign_iou", "momentum", "box_weight")),
            np.linspace(-1, 1, 14).tolist(),
            choices="all",
        )
    with pytest.raises(ConfigError, match="rest is 2: expected a number in the box"):
        Discretize(make(), rest=2)
    with pytest.raises(ConfigError, match="or 3 of them"):
        Discretize(make(), rest=(0.0, 0.0))
    with pytest.raises(ConfigError, match="did you mean 'each'"):
        Discretize(make(), choices="eac")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="whole numbers from 0 to 15"):
        Discretize(make()).action(16)
    with pytest.raises(ConfigError, match="no action is the baseline here"):
        FreezeKnobs(PostProcessingEnv(SOURCE), ("nms_iou",))
    with pytest.raises(ConfigError, match="give rest, or choose 'each' or 'all'"):
        Discretize(make(action="absolute"))
    with pytest.raises(ConfigError, match="give rest, or choose 'each' or 'all'"):
        VectorDiscretize(PostProcessingVectorEnv(2, SOURCE))
    with pytest.raises(ConfigError, match="rest was given for choices 'each', which leave no entry at rest"):
        Discretize(make(), choices="each", rest=0.0)

    class Misnamed(Levers):
        action_names = ("left", "middle")  # type: ignore[assignment]

    with pytest.raises(ConfigError, match="an action has 3 entries and 2 names"):
        FreezeKnobs(Misnamed(), ("left",))
