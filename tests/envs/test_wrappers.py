"""Wrappers: they keep the environment's promises, and do what they say to actions and rewards."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import VectorEnv

import mapopt.envs  # noqa: F401 - registers the environment
from mapopt.envs.detector_training import DetectorTrainingEnv
from mapopt.envs.families import ShapesFamily
from mapopt.envs.vector import DetectorTrainingVectorEnv
from mapopt.envs.wrappers import (
    Discretize,
    EpisodeLog,
    FreezeKnobs,
    RecordSchedule,
    RelativeToBaseline,
    RewardNoise,
    VectorDiscretize,
    VectorFreezeKnobs,
    VectorRewardNoise,
)
from mapopt.errors import ConfigError
from mapopt.training.task import Budget, Recipe

FAMILY = ShapesFamily(images=(16, 8, 8), count=4, recipe=Recipe(batch_size=4))
BUDGET = Budget(images=8 * 3, rounds=3)
KNOBS = ("lr", "augment", "assign_iou")

WRAPPERS: dict[str, Callable[[gymnasium.Env], gymnasium.Env]] = {
    "RecordSchedule": RecordSchedule,
    "FreezeKnobs": lambda env: FreezeKnobs(env, ("augment",)),
    "FreezeKnobs at values": lambda env: FreezeKnobs(env, {"augment": 0.5, "lr": -1.0}),
    "Discretize each": lambda env: Discretize(env, choices="each"),
    "Discretize one": lambda env: Discretize(env, choices="one"),
    "Discretize all": lambda env: Discretize(env, (-1.0, 0.25), choices="all"),
    "RewardNoise": lambda env: RewardNoise(env, 0.02),
    "RelativeToBaseline": RelativeToBaseline,
    "EpisodeLog": EpisodeLog,
    "all at once": lambda env: EpisodeLog(
        RewardNoise(Discretize(RelativeToBaseline(RecordSchedule(FreezeKnobs(env, ("augment",))))), 0.01)
    ),
}


def make(**changes: Any) -> gymnasium.Env:
    chosen = {"family": FAMILY, "budget": BUDGET, "knobs": KNOBS, **changes}
    return gymnasium.make("mapopt/DetectorTraining-v0", **chosen)


def make_vector(lanes: int, mode: str = "NextStep") -> DetectorTrainingVectorEnv:
    return DetectorTrainingVectorEnv(lanes, FAMILY, budget=BUDGET, knobs=KNOBS, autoreset_mode=mode)


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


@pytest.mark.parametrize("name", WRAPPERS)
def test_gymnasium_checks_a_wrapped_environment_without_a_warning(name: str) -> None:
    env = WRAPPERS[name](make())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # What the checker has against wrappers as such; the wrapped environment is what is checked here.
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version.*")
        check_env(env)


@pytest.mark.parametrize("name", WRAPPERS)
def test_the_same_seed_gives_the_same_wrapped_episodes_twice(name: str) -> None:
    def trace() -> list[Any]:
        env = WRAPPERS[name](make())
        env.action_space.seed(0)
        seen: list[Any] = []
        for seed in (3, None):
            seen.append(env.reset(seed=seed)[0].tobytes())
            for _ in range(BUDGET.rounds):
                observation, reward, *_ = env.step(env.action_space.sample())
                seen += [observation.tobytes(), float(reward)]
        return seen

    assert trace() == trace()


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapped_environment_plays_the_episodes_of_the_bare_one(name: str) -> None:
    bare, wrapped = make(), WRAPPERS[name](make())
    for seed in (5, None, None):
        expected = bare.reset(seed=seed)[1]
        assert wrapped.reset(seed=seed)[1] == expected


def test_a_held_knob_stays_where_the_baseline_has_it_and_the_others_turn() -> None:
    frozen, whole = FreezeKnobs(make(), ("augment",)), make()
    assert frozen.action_space.shape == (2,)
    assert frozen.knobs == ("lr", "assign_iou")
    start = {"instance": 1, "training_seed": 2}
    ours = play(frozen, [np.array([0.5, -0.5], dtype=np.float32)] * 3, options=start)
    theirs = play(whole, [np.array([0.5, 0.0, -0.5], dtype=np.float32)] * 3, options=start)
    base = play(make(), [np.zeros(3, dtype=np.float32)] * 3, options=start)
    assert ours[0] == theirs[0]
    assert [one["knobs"]["augment"] for one in ours[1]] == [one["knobs"]["augment"] for one in base[1]]
    assert ours[1][0]["knobs"]["lr"] != base[1][0]["knobs"]["lr"]


def test_knobs_held_one_after_the_other_are_those_held_at_once() -> None:
    twice = FreezeKnobs(FreezeKnobs(make(), {"lr": 0.5}), ("assign_iou",))
    once = FreezeKnobs(make(), {"lr": 0.5, "assign_iou": 0.0})
    action = np.array([0.3], dtype=np.float32)
    assert twice.knobs == once.knobs == ("augment",)
    assert np.array_equal(twice.env.action(twice.action(action)), once.action(action))  # type: ignore[attr-defined]


def test_an_absolute_knob_is_held_at_the_value_that_was_given() -> None:
    from mapopt.training.knobs import Knobs, KnobSpace

    entry = float(KnobSpace(["augment"]).to_unit(Knobs(augment=0.7))[0])
    env = FreezeKnobs(make(action="absolute"), {"augment": entry})
    _, infos = play(env, [np.zeros(2, dtype=np.float32)])
    assert infos[0]["knobs"]["augment"] == pytest.approx(0.7, abs=1e-6)


@pytest.mark.parametrize("choices", ["each", "one", "all"])
def test_every_choice_stands_for_its_levels(choices: Any) -> None:
    levels = (-1.0, 0.0, 0.5)
    env = Discretize(make(), levels, choices=choices)
    if choices == "each":
        found = [env.action(np.array(place)) for place in itertools.product(range(3), repeat=3)]
        expected = list(itertools.product(levels, repeat=3))
    elif choices == "all":
        found = [env.action(np.int64(place)) for place in range(27)]
        expected = list(itertools.product(levels, repeat=3))
    else:
        found = [env.action(np.int64(place)) for place in range(10)]
        expected = [(0.0, 0.0, 0.0)]
        for entry in range(3):
            expected += [tuple(level if place == entry else 0.0 for place in range(3)) for level in levels]
    assert env.action_space.n == len(expected) if choices != "each" else env.action_space.nvec.tolist() == [3, 3, 3]  # type: ignore[attr-defined]
    assert np.array_equal(np.array(found), np.array(expected))


def test_entries_that_a_choice_leaves_alone_are_at_rest() -> None:
    env = Discretize(make(action="absolute"), (-1.0, 1.0), rest=(0.1, 0.2, 0.3))
    found = [env.action(np.int64(place)).tolist() for place in (0, 1, 6)]
    assert found == [pytest.approx(one) for one in ([0.1, 0.2, 0.3], [-1.0, 0.2, 0.3], [0.1, 0.2, 1.0])]


def test_post_processing_can_be_wrapped_as_well() -> None:
    def wrapped() -> EpisodeLog:
        env = gymnasium.make("mapopt/PostProcessing-v0", length=4)
        usual = env.reset(seed=0)[0][[*env.unwrapped.observation_names].index("knob_nms_iou") :][:6]  # type: ignore[attr-defined]
        return EpisodeLog(RelativeToBaseline(RewardNoise(Discretize(env, rest=usual.tolist()), 0.0), baseline=0))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version.*")
        check_env(wrapped())
    env = wrapped()
    assert env.action_space.n == 1 + 6 * 5  # type: ignore[attr-defined]
    for action in (0, 3):
        env.reset(seed=1)
        for _ in range(4):
            env.step(action)
    still, moved = env.log().episodes
    assert not still.rewards.any()
    assert moved.rewards.any()
    assert moved.infos["setting.nms_iou"].shape == (4,)


def test_noise_has_its_deviation_and_leaves_the_training_alone() -> None:
    class Blank(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(0, 1, (1,))
        action_space = gymnasium.spaces.Discrete(2)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            return np.zeros(1, dtype=np.float32), {}

        def step(self, action: Any) -> Any:
            return np.zeros(1, dtype=np.float32), 1.0, False, False, {}

    env = RewardNoise(Blank(), 0.5)
    env.reset(seed=0)
    noise = np.array([env.step(0)[1] for _ in range(4000)]) - 1.0
    assert abs(noise.mean()) < 4 * 0.5 / 4000**0.5
    assert noise.std() == pytest.approx(0.5, rel=0.05)

    actions = [np.full(3, 0.3, dtype=np.float32)] * 3
    noisy = play(RewardNoise(make(), 0.5), actions, seed=1)
    quiet = play(make(), actions, seed=1)
    assert [one["reward_without_noise"] for one in noisy[1]] == quiet[0]
    assert all(one != other for one, other in zip(noisy[0], quiet[0], strict=True))


def test_noise_goes_on_from_episode_to_episode_and_differs_from_seed_to_seed() -> None:
    env = RewardNoise(make(), 1.0)

    def noise(**reset: Any) -> list[float]:
        rewards, infos = play(env, [np.zeros(3, dtype=np.float32)] * 3, **reset)
        return [reward - info["reward_without_noise"] for reward, info in zip(rewards, infos, strict=True)]

    first, second, again, other = noise(seed=0), noise(), noise(seed=0), noise(seed=1)
    assert first == again
    assert len({tuple(one) for one in (first, second, other)}) == 3


def test_the_baseline_relative_to_itself_is_worth_nothing() -> None:
    rewards, _ = play(RelativeToBaseline(make()), [np.zeros(3, dtype=np.float32)] * 3, seed=4)
    assert rewards == [0.0, 0.0, 0.0]


def test_relative_rewards_are_the_own_less_the_baselines_of_the_same_instance_and_seed() -> None:
    start = {"instance": 2, "training_seed": 9}
    actions = [np.array([0.9, -0.9, 0.4], dtype=np.float32)] * 3
    own, base = play(make(), actions, options=start)[0], play(make(), [0 * one for one in actions], options=start)[0]
    env = RelativeToBaseline(make())
    for _ in range(2):
        rewards, infos = play(env, actions, options=start)
        assert rewards == [one - other for one, other in zip(own, base, strict=True)]
        assert [info["baseline_reward"] for info in infos] == base


def test_a_baseline_is_played_once_per_instance_and_seed_and_forgotten_in_time() -> None:
    class Counted(DetectorTrainingEnv):
        steps = 0

        def step(self, action: Any) -> Any:
            Counted.steps += 1
            return super().step(action)

    env = RelativeToBaseline(Counted(FAMILY, budget=BUDGET, knobs=KNOBS), remembered=1)

    def cost(seed: int) -> int:
        before = Counted.steps
        env.reset(options={"instance": 0, "training_seed": seed})
        return Counted.steps - before

    assert [cost(1), cost(1), cost(2), cost(1)] == [3, 0, 3, 3]


def test_an_episode_that_terminates_early_is_charged_the_whole_baseline() -> None:
    import torch

    start = {"instance": 0, "training_seed": 1}
    zero = np.zeros(3, dtype=np.float32)
    base = play(make(), [zero] * 3, options=start)[0]
    env = RelativeToBaseline(make())
    env.reset(options=start)
    total = float(env.step(zero)[1])
    with torch.no_grad():
        env.unwrapped.world.fleet._place[0][0].detector.weights[0] = float("nan")  # type: ignore[attr-defined]
    _, reward, terminated, *_ = env.step(zero)
    assert terminated
    assert total + float(reward) == pytest.approx(-sum(base))


VECTORS: dict[str, tuple[Callable[[VectorEnv], VectorEnv], Callable[[gymnasium.Env], gymnasium.Env]]] = {
    "FreezeKnobs": (lambda env: VectorFreezeKnobs(env, ("lr",)), lambda env: FreezeKnobs(env, ("lr",))),
    "Discretize": (VectorDiscretize, Discretize),
    "Discretize each": (
        lambda env: VectorDiscretize(env, choices="each"),
        lambda env: Discretize(env, choices="each"),
    ),
    "RewardNoise": (lambda env: VectorRewardNoise(env, 0.1), lambda env: RewardNoise(env, 0.1)),
}


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_wrapper_does_to_every_lane_what_its_namesake_does_to_one(name: str, mode: str) -> None:
    around_many, around_one = VECTORS[name]
    many = around_many(make_vector(2, mode))
    many.action_space.seed(1)
    many.reset(seed=6)
    singles = [around_one(make()) for _ in range(2)]
    for lane, env in enumerate(singles):
        env.reset(seed=6 + lane)
    for step in range(2 * BUDGET.rounds):
        actions = many.action_space.sample()
        observations, rewards, *_ = many.step(actions)
        ended = (step + 1) % BUDGET.rounds == 0
        for lane, env in enumerate(singles):
            seen, reward, *_ = env.step(actions[lane])
            assert rewards[lane] == reward
            if ended:
                seen = env.reset()[0]
            if mode == "SameStep" or not ended:
                assert np.array_equal(observations[lane], seen)
        if ended and mode == "NextStep":
            assert not many.step(actions)[1].any()


def test_what_a_wrapper_cannot_do_is_said() -> None:
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
    with pytest.raises(ConfigError, match="none of them is the baseline"):
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
    with pytest.raises(ConfigError, match=r"deviation is -0.1: expected a finite number"):
        RewardNoise(make(), -0.1)
    with pytest.raises(ConfigError, match="say which of them is the baseline"):
        RelativeToBaseline(make(action="discrete"))
    with pytest.raises(ConfigError, match="expected one of Box"):
        RelativeToBaseline(make(), baseline=np.full(3, 2.0, dtype=np.float32))
    with pytest.raises(ConfigError, match="remembered is 0"):
        RelativeToBaseline(make(), remembered=0)
    with pytest.raises(ConfigError, match="expected 'instance', so that the baseline"):
        RelativeToBaseline(gymnasium.make("Pendulum-v1")).reset()
    with pytest.raises(ConfigError, match="trains nothing"):
        RecordSchedule(gymnasium.make("Pendulum-v1"))
    with pytest.raises(ConfigError, match="kept is -1"):
        RecordSchedule(make(), kept=-1)
