"""An agent's training: determined, resumable, and careful with what it reads."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mapopt.agents.agent import Agent
from mapopt.agents.commands.train_agent import TrainAgent
from mapopt.agents.learning.training import AgentTraining, Progress, train_agent
from mapopt.agents.policy import PolicyController
from mapopt.envs import EnvSettings, Instance, RelativeAction, ShapesFamily
from mapopt.errors import AgentError, ConfigError
from mapopt.training import Budget, Recipe

FAMILY = ShapesFamily(images=(16, 8, 8), count=3, recipe=Recipe(batch_size=4))


def settings(**changes: object) -> AgentTraining:
    usual = {"family": FAMILY, "budget": Budget(images=12, rounds=3), "workers": 1, "lanes": 2, "iterations": 2}
    return AgentTraining(**{**usual, **changes})  # type: ignore[arg-type]


def train(out: Path, **changes: object) -> tuple[Agent, list[Progress]]:
    log: list[Progress] = []
    return train_agent(settings(**changes), out, command="mapopt train-agent", report=log.append), log


def test_a_training_in_two_parts_equals_the_unbroken_one(tmp_path: Path) -> None:
    whole, log = train(tmp_path / "whole")
    train(tmp_path / "parts", iterations=1)
    resumed, rest = train(tmp_path / "parts")
    assert [one.iteration for one in log] == [0, 1]
    assert [one.iteration for one in rest] == [1]
    for (w, b), (v, c) in zip(whole.layers, resumed.layers, strict=True):
        assert np.array_equal(w, v)
        assert np.array_equal(b, c)
    assert whole.open_loop == resumed.open_loop
    assert whole.training["cost"]["images"] == 2 * 2 * 12
    assert Agent.load(tmp_path / "whole" / "agent").knobs == whole.knobs


def test_a_resumed_training_is_held_to_its_settings(tmp_path: Path) -> None:
    train(tmp_path, iterations=1)
    with pytest.raises(AgentError, match="other settings"):
        train(tmp_path, learning_rate=0.5)


def test_an_agent_is_not_trained_on_what_it_is_evaluated_on() -> None:
    with pytest.raises(ConfigError, match="judging"):
        settings(family=ShapesFamily(split="eval"))
    with pytest.raises(ConfigError, match="lanes is 0"):
        settings(lanes=0)


def test_an_agent_is_shown_and_paid_what_its_settings_say(tmp_path: Path) -> None:
    agent, log = train(
        tmp_path, features=("progress", "f1", "knobs"), reward="f1", knobs=("lr", "augment"), iterations=1
    )
    assert agent.observation == ("progress", "f1", "knob_lr", "knob_augment")
    assert agent.layers[0][0].shape[1] == 4
    assert PolicyController(Agent.load(tmp_path / "agent")).measures == ("operating_point",)
    assert log[0].episode_return > 0
    with pytest.raises(AgentError, match="other settings"):
        train(tmp_path, features=("progress", "f1", "knobs"), reward="gain", knobs=("lr", "augment"))
    with pytest.raises(ConfigError, match="unknown reward"):
        settings(reward="points")
    with pytest.raises(ConfigError, match="unknown feature"):
        settings(features=("mood",))


def test_a_family_is_given_by_its_name_or_as_it_is(tmp_path: Path) -> None:
    assert AgentTraining().instances == ShapesFamily()
    by_name = dataclasses.asdict(AgentTraining(family="rescue", budget=Budget(images=12, rounds=3)))
    assert by_name["family"] == "rescue"
    with pytest.raises(ConfigError, match="unknown family 'rescu': did you mean 'rescue'"):
        settings(family="rescu")


class Unstored:
    """A family that is no dataclass."""

    split, count = "train", 3

    def instance(self, number: int) -> Instance:
        return FAMILY.instance(number)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Theirs(ShapesFamily):
    """A family of somebody's own, with the settings of ours."""


def test_a_family_of_ones_own_is_kept_with_its_settings_and_told_from_ours(tmp_path: Path) -> None:
    theirs = Theirs(images=FAMILY.images, count=FAMILY.count, recipe=FAMILY.recipe)
    agent, _ = train(tmp_path, family=theirs, iterations=1)
    stored = agent.training["settings"]["family"]
    assert stored["name"].endswith(".Theirs")
    assert stored["count"] == 3
    with pytest.raises(AgentError, match="other settings"):
        train(tmp_path, iterations=1)
    with pytest.raises(ConfigError, match=r"family Unstored cannot be stored with the agent .*: expected a dataclass"):
        settings(family=Unstored())


def test_the_default_budget_knobs_and_scale_are_the_environments() -> None:
    for made in (AgentTraining(), TrainAgent()):
        assert made.budget is EnvSettings().budget
        action = EnvSettings().make_action()
        assert isinstance(action, RelativeAction)
        assert (made.knobs, made.scale) == (action.knobs, action.scale)
