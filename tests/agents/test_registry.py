"""Agents by name, by path or as they are; what comparisons and worker processes know of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.base_class import BaseAlgorithm

from mapopt.agents import (
    AGENTS,
    ZOO,
    Agent,
    OpenLoopController,
    PolicyController,
    agent_choice,
    agent_fingerprint,
    load_agent,
    make_agent_controller,
    save_agent,
)
from mapopt.envs.families import ShapesFamily
from mapopt.errors import AgentError, ConfigError, MapoptError
from mapopt.training import Budget, Constant, Controller, make_controller

TrainModel = Callable[..., BaseAlgorithm]

MINE = """
from mapopt.agents import Agent
from mapopt.training import Constant

def agent():
    return Agent.load("ppo-shapes")

shipped = agent()
still = Constant()
nothing = 3
"""


@pytest.fixture
def decide(tiny_family: ShapesFamily, tiny_budget: Budget) -> Callable[[Controller], Any]:
    task = tiny_family.instance(0).task.info
    return lambda controller: controller.decide((), task, tiny_budget)


def test_the_shipped_agents_are_there_by_name() -> None:
    assert isinstance(AGENTS, Mapping)
    assert tuple(AGENTS) == ZOO
    assert len(AGENTS) == len(ZOO) > 0
    assert AGENTS["ppo-shapes"].knobs == ("lr", "augment", "assign_iou", "box_weight")
    assert "nobody" not in AGENTS
    assert repr(AGENTS) == f"Registry('agent': {', '.join(ZOO)})"
    with pytest.raises(KeyError):
        AGENTS["nobody"]


def test_agents_are_a_registry_like_all_others(decide: Callable[[Controller], Any], tmp_path: Path) -> None:
    expected = decide(load_agent("ppo-shapes"))
    assert decide(AGENTS.find("ppo-shapes")) == decide(AGENTS.make("ppo-shapes")) == expected
    choice = AGENTS.choice("ppo-shapes")
    assert choice == agent_choice("ppo-shapes")
    assert decide(AGENTS.make(choice)) == expected
    assert isinstance(AGENTS.make(choice, {"open_loop": True}), OpenLoopController)
    Agent.load("ppo-shapes").save(tmp_path / "mine")
    for name in ("ppo-shapes", str(tmp_path / "mine"), "mine:agent"):
        AGENTS.check_name(name)
    for name, message in (("nobody", "unknown agent 'nobody'"), ("no.zip", r"no\.zip: no such file")):
        with pytest.raises(AgentError, match=message):
            AGENTS.check_name(name)


def test_whatever_stands_for_an_agent_becomes_its_controller(
    train_model: TrainModel,
    decide: Callable[[Controller], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "my_agents.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    agent, model = Agent.load("ppo-shapes"), train_model("SAC")
    agent.save(tmp_path / "copy")
    path = save_agent(model, tmp_path / "model.zip")
    expected = decide(PolicyController(agent))
    ours = ["ppo-shapes", "copy", tmp_path / "copy.json", agent, PolicyController(agent)]
    for given in [*ours, "my_agents:agent", "my_agents:shipped"]:
        assert decide(load_agent(given)) == expected
    for given in (model, path, str(path)):
        assert decide(load_agent(given)) == decide(PolicyController.from_sb3(model))
    assert load_agent("my_agents:still") == Constant()
    before = [agent_fingerprint(f"my_agents:{name}") for name in ("agent", "shipped", "still")]
    assert len({*before, agent.fingerprint}) == 4
    (tmp_path / "my_agents.py").write_text(MINE + "# another source\n")
    after = [agent_fingerprint(f"my_agents:{name}") for name in ("agent", "shipped", "still")]
    assert len({*before, *after}) == 6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("ppo-shape", "unknown agent 'ppo-shape': did you mean 'ppo-shapes'"),
        ("nowhere/agent.json", "unknown agent 'nowhere/agent.json'"),
        ("model.zip", r"model\.zip: no such file"),
        ("no_such_module:agent", "there is no module 'no_such_module'"),
        ("mapopt.agents:agnt", "unknown attribute 'agnt'"),
        ("mapopt.agents:ZOO", "an agent of type tuple: expected a name"),
        (PolicyController, "an agent of type type: expected a name"),
        (3, "an agent of type int: expected a name"),
    ],
)
def test_what_is_no_agent_is_an_error_of_one_line(given: Any, message: str) -> None:
    with pytest.raises(MapoptError, match=message) as caught:
        load_agent(given)
    assert "\n" not in str(caught.value)


def test_a_choice_gives_the_same_agent_in_another_process(
    train_model: TrainModel, decide: Callable[[Controller], Any], tmp_path: Path
) -> None:
    path = save_agent(train_model("DQN"), tmp_path / "model.zip")
    for given in ("ppo-shapes", path):
        choice = agent_choice(given)
        assert agent_choice(choice) is choice
        again = make_controller(choice)
        assert decide(again) == decide(load_agent(given))
    blind = agent_choice("ppo-shapes", open_loop=True)
    assert isinstance(make_controller(blind), OpenLoopController)
    with pytest.raises(AgentError, match="carries no mean actions to replay: only agents that"):
        make_agent_controller(path, open_loop=True)


def test_an_agent_that_has_changed_is_not_taken_for_the_planned_one(tmp_path: Path) -> None:
    agent = Agent.load("ppo-shapes")
    agent.save(tmp_path / "a")
    choice = agent_choice(tmp_path / "a.json")
    shutil.copy(tmp_path / "a.json", tmp_path / "b.json")
    shutil.copy(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert agent_choice(tmp_path / "b.json").settings["fingerprint"] == choice.settings["fingerprint"]
    replace(agent, scale=2.0).save(tmp_path / "a")
    with pytest.raises(AgentError, match="is another agent than when this run was planned"):
        make_agent_controller(**choice.settings)


def test_an_object_is_no_choice(train_model: TrainModel) -> None:
    with pytest.raises(AgentError, match="of type Agent was given, which no other process could find: write it with"):
        agent_choice(Agent.load("ppo-shapes"))  # type: ignore[arg-type]
    assert agent_fingerprint(Agent.load("ppo-shapes")) == agent_fingerprint("ppo-shapes")
    with pytest.raises(AgentError, match="of type SAC has no fingerprint"):
        agent_fingerprint(train_model("SAC"))
    with pytest.raises(AgentError, match=r"nothing\.zip: no such file"):
        agent_choice("nothing.zip")
    with pytest.raises(ConfigError, match="no module"):
        agent_choice("no_such_module:agent")


def test_only_agents_and_models_are_saved(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match=r"^an agent of type int: expected an Agent or a model of stable-baselines3"):
        save_agent(3, tmp_path / "agent")  # type: ignore[arg-type]
