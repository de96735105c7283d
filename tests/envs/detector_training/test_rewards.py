"""Rewards: what an episode returns is the value at its end, and that of a diverged episode is 0."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from mapopt.envs.detector_training.rewards import REWARDS, Reward
from mapopt.errors import ConfigError
from mapopt.metrics import Detections, GroundTruth, evaluate
from mapopt.training.budget import Budget
from mapopt.training.history import Interval, Round, Scores
from mapopt.training.knobs import Knobs
from mapopt.training.measures import measure

BUDGET = Budget(images=400, rounds=4)
VALUES = {
    "gain": lambda ap: ap,
    "final": lambda ap: ap,
    "log_gap": lambda ap: -math.log10(1 - ap),
    "oLRP": lambda ap: 1 - (0.9 - ap),
    "f1": lambda ap: ap / 4,
    "best_f1": lambda ap: ap / 2,
    "lrp": lambda ap: 1 - (0.95 - ap),
}
"""The value that a reward gives the scores below."""


def scores(ap: float) -> Scores:
    return Scores(
        ap=ap,
        ap50=ap,
        ap75=ap,
        ar100=ap,
        per_category=(ap,),
        f1=ap / 4,
        best_f1=ap / 2,
        lrp=0.95 - ap,
        optimal_lrp=0.9 - ap,
    )


def played(aps: list[float], *, diverged: bool = False) -> list[Round]:
    return [
        Round(
            index=index,
            knobs=Knobs(),
            ramp_from=None,
            interval=Interval(
                images=100,
                steps=1,
                seconds=0.0,
                class_loss=1.0,
                box_loss=1.0,
                gradient_norm=1.0,
                gradient_norm_max=1.0,
                clipped=0.0,
                update_ratio=0.0,
                diverged=diverged and index == len(aps) - 1,
            ),
            val=Scores.failed(1, measures=("operating_point",)) if diverged and index == len(aps) - 1 else scores(ap),
            images=100 * (index + 1),
            evaluated=0,
            seconds=0.0,
        )
        for index, ap in enumerate(aps)
    ]


def returned(reward: Reward, history: list[Round]) -> float:
    return sum(reward.parts(history[: end + 1], BUDGET).total for end in range(len(history)))


@pytest.mark.parametrize("cost", [0.0, 1e-3])
@pytest.mark.parametrize("name", list(REWARDS))
def test_a_return_is_the_value_at_the_end_less_the_images(name: str, cost: float) -> None:
    reward = Reward(name, cost_per_image=cost)
    assert returned(reward, played([0.1, 0.3, 0.2, 0.4])) == pytest.approx(VALUES[name](0.4) - 400 * cost)


@pytest.mark.parametrize("rounds", [1, 2, 4])
@pytest.mark.parametrize("cost", [0.0, 1e-3])
@pytest.mark.parametrize("name", list(REWARDS))
def test_a_diverged_episode_returns_the_minimum(name: str, cost: float, rounds: int) -> None:
    reward = Reward(name, cost_per_image=cost)
    lost = returned(reward, played([0.1, 0.3, 0.2, 0.4][:rounds], diverged=True))
    assert lost == pytest.approx(-400 * cost)
    assert lost <= returned(reward, played([0.0] * 4)) + 1e-12


def test_each_reward_pays_when_it_says() -> None:
    history = played([0.1, 0.3])
    assert Reward("gain").parts(history, BUDGET).total == pytest.approx(0.2)
    assert Reward("final").parts(history, BUDGET).total == 0
    assert Reward("log_gap").parts(history, BUDGET).total == pytest.approx(math.log10(0.9) - math.log10(0.7))
    assert Reward("log_gap").parts(played([1.0]), BUDGET).total == pytest.approx(3)
    assert Reward("gain", cost_per_image=0.01).parts(history, BUDGET).cost == pytest.approx(1.0)


@pytest.mark.parametrize("name", list(REWARDS))
def test_dropping_false_alarms_pays_under_the_rewards_of_all_reported_boxes_alone(name: str) -> None:
    truth = GroundTruth([[0, 0, 10, 10]], labels=[1], image_ids=[1])
    loose = Detections([[0, 0, 10, 10], [50, 50, 60, 60]], scores=[0.75, 0.5], labels=[1, 1], image_ids=[1, 1])
    strict = Detections([[0, 0, 10, 10]], scores=[0.75], labels=[1], image_ids=[1])
    both, single = (
        Reward(name).value(Scores.of(evaluate(truth, boxes), **measure(truth, boxes, ("operating_point",))))
        for boxes in (loose, strict)
    )
    assert (both < single) if name in ("f1", "lrp") else (both == single)


def test_the_test_split_and_the_seconds_are_ignored() -> None:
    history = played([0.1, 0.3])
    slow = [replace(played_round, seconds=1e9, evaluated=10**9) for played_round in history]
    for name in REWARDS:
        assert Reward(name).parts(history, BUDGET) == Reward(name).parts(slow, BUDGET)


def test_a_reward_says_what_it_needs() -> None:
    assert Reward("gain").measures == ()
    assert Reward("f1").measures == ("operating_point",)
    assert Reward("oLRP").features == ("optimal_lrp",)
    assert Reward("lrp").features == ("lrp",)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="unknown reward 'gains': did you mean 'gain'"):
        Reward("gains")
    for cost in (-1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match=r"cost_per_image is .*: expected 0 or a positive number"):
            Reward(cost_per_image=cost)
