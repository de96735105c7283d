"""An agent's training: determined, resumable, and careful with what it reads."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mapopt.agents import Agent, AgentTraining, OwnParts, PolicyController, Progress, load_agent, train_agent
from mapopt.agents.commands.train_agent import TrainAgent
from mapopt.agents.learning import state
from mapopt.agents.learning.learner import Sb3Learner
from mapopt.agents.learning.settings import same_training, stored
from mapopt.agents.learning.watching import Watched
from mapopt.envs.detector_training.action_forms import AbsoluteAction, RelativeAction
from mapopt.envs.detector_training.env import DetectorTrainingEnv
from mapopt.envs.detector_training.settings import EnvSettings
from mapopt.envs.families import ShapesFamily
from mapopt.errors import AgentError, ConfigError, StoreError, WorkerError
from mapopt.files import sealed, write_json, write_record
from mapopt.locks import lock_folder
from mapopt.training import Budget, Knobs, Recipe, Scores, TaskInfo

FAMILY = ShapesFamily(images=(16, 8, 8), count=3, recipe=Recipe(batch_size=4))
BUDGET = Budget(images=12, rounds=3)
TASK = TaskInfo(name="t", classes=3, train_images=16, batch_size=4, knobs=Knobs())


def settings(**changes: Any) -> AgentTraining:
    defaults = {"family": FAMILY, "budget": BUDGET, "workers": 1, "lanes": 2, "iterations": 2}
    less = {"evaluate_every": 0, "held_out": 0, "reference": "none"}
    return AgentTraining(**{**defaults, **less, **changes})


def train(out: Path, *, resume: bool = False, **changes: Any) -> tuple[Agent, list[Progress]]:
    log: list[Progress] = []
    return train_agent(settings(**changes), out, resume=resume, report=log.append), log


def test_a_training_in_two_parts_equals_the_unbroken_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, log = train(tmp_path / "whole")
    train(tmp_path / "parts", iterations=1)
    resumed, rest = train(tmp_path / "parts", resume=True)
    assert [progress.iteration for progress in log] == [0, 1]
    assert [progress.iteration for progress in rest] == [1]
    for (w, b), (v, c) in zip(whole.layers, resumed.layers, strict=True):
        assert np.array_equal(w, v)
        assert np.array_equal(b, c)
    assert whole.open_loop == resumed.open_loop
    assert whole.training["cost"]["images"] == 3 * 2 * 12, "an episode more is played for the mean actions"
    assert resumed.training["cost"]["images"] == 4 * 2 * 12, "each part plays it"
    assert resumed.training["cost"]["processor_seconds"] > 0
    assert Agent.load(tmp_path / "whole" / "agent").fingerprint == whole.fingerprint
    assert capsys.readouterr().out == ""
    assert str(log[1]).startswith("iteration 2: 12 steps, return 0.")


def test_a_training_killed_between_its_two_writes_ends_as_the_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, log = train(tmp_path / "whole")

    def killed(path: Path, value: Any) -> None:
        if len(value) == 2:
            raise KeyboardInterrupt
        write_json(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(state, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "killed")
    resumed, rest = train(tmp_path / "killed", resume=True)
    assert (resumed.fingerprint, rest) == (whole.fingerprint, [])
    kept = json.loads((tmp_path / "killed" / "progress.json").read_text())
    assert [entry["episode_return"] for entry in kept] == [progress.episode_return for progress in log]


def test_a_training_killed_in_its_first_write_begins(tmp_path: Path) -> None:
    (tmp_path / ".training.pt.x1y2").write_text("half")
    train(tmp_path, resume=True, iterations=1)
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_another_training_writes_to_is_refused(tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(StoreError, match="another process of mapopt writes here"):
        train(tmp_path, resume=True)


def test_the_device_is_no_part_of_what_must_match() -> None:
    kept = stored(settings(), FAMILY)
    assert same_training({**kept, "device": "cuda"}, kept)
    assert not same_training({**kept, "seed": 5}, kept)


def test_a_worker_that_dies_is_replaced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole, _ = train(tmp_path / "whole")
    iterate, deaths = Sb3Learner.iterate, [1]

    def dying(learner: Sb3Learner, iteration: int, *, planned: int) -> None:
        if iteration == 1 and deaths:
            deaths.pop()
            raise WorkerError("a worker's process has ended")
        iterate(learner, iteration, planned=planned)

    monkeypatch.setattr(Sb3Learner, "iterate", dying)
    agent, log = train(tmp_path / "died")
    assert agent.fingerprint == whole.fingerprint
    assert [progress.iteration for progress in log] == [0, 1]
    assert caplog.messages == ["a worker's process has ended. Going on after the last finished iteration, once more."]
    deaths += [1, 2]
    with pytest.raises(WorkerError, match="has ended"):
        train(tmp_path / "twice")


def test_a_resumed_training_is_held_to_its_settings(tmp_path: Path) -> None:
    train(tmp_path, iterations=1)
    with pytest.raises(AgentError, match="other settings"):
        train(tmp_path, resume=True, learning_rate=0.5)
    with pytest.raises(StoreError, match=r"is not empty\. Give --resume to go on"):
        train(tmp_path)
    train_agent(settings(learning_rate=0.5, iterations=1), tmp_path, overwrite=True)
    with pytest.raises(AgentError, match="other settings"):
        train(tmp_path, resume=True)


def test_a_training_that_an_earlier_version_began_goes_on(tmp_path: Path) -> None:
    """The file is what this version writes, in the words and with the settings of then."""
    whole, _ = train(tmp_path / "whole")
    train(tmp_path / "parts", iterations=1)
    state = torch.load(tmp_path / "parts" / "training.pt", weights_only=True)
    kept = json.loads(state["settings"])
    later = (
        "algo",
        "hyperparameters",
        "reference",
        "num_seeds",
        "held_out",
        "evaluate_every",
        "action",
        "step_size",
        "seconds_limit",
    )
    for name in later:
        del kept[name]
    kept["reach"] = kept.pop("scale")
    family = kept["family"]
    family["side"] = family.pop("split")
    family["scenes"]["colour"] = family["scenes"].pop("color")
    del family["budgets"], family["knobs"]["temperature"]
    state["optimizer"] = state["optimizers"]["policy.optimizer"]
    for name in ("checksum", "optimizers", "tensors", "counters", "replay", "planned"):
        del state[name]
    torch.save({**state, "version": 1, "settings": json.dumps(kept)}, tmp_path / "parts" / "training.pt")
    resumed, log = train(tmp_path / "parts", resume=True)
    assert len(log) == 1
    assert resumed.fingerprint == whole.fingerprint


def test_an_agent_is_not_trained_on_what_it_is_evaluated_on(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="instances are for evaluating agents: train on one with split='train'"):
        train(tmp_path, family=ShapesFamily(split="eval"))
    with pytest.raises(ConfigError, match="lanes is 0: expected a whole number from 1"):
        settings(lanes=0)
    with pytest.raises(ConfigError, match="no whole number of steps of 4"):
        train(tmp_path, budget=Budget(images=9, rounds=3))
    assert not list(tmp_path.iterdir())


def test_an_agent_is_shown_and_paid_what_its_settings_say(tmp_path: Path) -> None:
    agent, log = train(
        tmp_path, features=("progress", "f1", "knobs"), reward="f1", knobs=("lr", "augment"), iterations=1
    )
    assert agent.observation == ("progress", "f1", "knob_lr", "knob_augment")
    assert agent.layers[0][0].shape[1] == 4
    assert PolicyController(Agent.load(tmp_path / "agent")).measures == ("operating_point",)
    assert log[0].episode_return > 0
    with pytest.raises(AgentError, match="other settings"):
        train(tmp_path, resume=True, features=("progress", "f1", "knobs"), reward="gain", knobs=("lr", "augment"))
    with pytest.raises(ConfigError, match="unknown reward"):
        settings(reward="points")
    with pytest.raises(ConfigError, match="unknown feature"):
        settings(features=("mood",))


@pytest.mark.parametrize(("action", "outputs"), [("absolute", 2), ("discrete", 5), ("multi_discrete", 6)])
def test_an_agent_learns_any_form_of_action(action: str, outputs: int, tmp_path: Path) -> None:
    agent, log = train(tmp_path, action=action, knobs=("lr", "augment"), iterations=1)
    assert (agent.action, len(agent.layers[-1][1])) == (action, outputs)
    assert (agent.open_loop == ()) == (action != "absolute")
    assert np.isfinite(log[0].action_mean).all()
    loaded = PolicyController(Agent.load(tmp_path / "agent"))
    assert loaded.decide((), TASK, BUDGET) == PolicyController(agent).decide((), TASK, BUDGET)


class Half(RelativeAction):
    """A form of action of somebody's own."""


def rounds_left(history: Any, task: TaskInfo, budget: Budget) -> float:
    """Returns a feature of somebody's own."""
    return 1 - len(history) / budget.rounds


class Strict:
    """A reward of somebody's own."""

    def value(self, scores: Scores) -> float:
        """Returns the value of scores."""
        return scores.ap75


def test_own_parts_are_named_in_the_file_and_brought_by_whoever_runs_it(tmp_path: Path) -> None:
    form = Half(knobs=("lr",), scale=2.0)
    agent, _ = train(tmp_path, action=form, features=("ap", rounds_left, "knobs"), reward=Strict(), iterations=1)
    stored = json.loads((tmp_path / "agent.json").read_text())
    assert (stored["action"], stored["own_features"]) == ("Half", ["rounds_left"])
    assert stored["observation"] == ["ap", "rounds_left", "knob_lr"]
    assert stored["training"]["settings"]["reward"].endswith(":Strict")
    alone = load_agent(tmp_path / "agent.json")
    with pytest.raises(AgentError, match="a form of its maker's own, Half: bring it, as load_agent"):
        alone.decide((), TASK, BUDGET)
    half = load_agent(tmp_path / "agent.json", own=OwnParts(action=form))
    with pytest.raises(AgentError, match="features of its maker's own, rounds_left: bring them, as load_agent"):
        half.decide((), TASK, BUDGET)
    brought = load_agent(tmp_path / "agent.json", own=OwnParts(features=(rounds_left,), action=form))
    assert brought.decide((), TASK, BUDGET) == PolicyController(agent).decide((), TASK, BUDGET)
    changed = {**stored, "own_features": []}
    (tmp_path / "agent.json").write_text(json.dumps(sealed(changed)))
    with pytest.raises(AgentError, match="unknown feature 'rounds_left'"):
        load_agent(tmp_path / "agent.json")


def test_a_family_is_given_by_its_name_or_as_it_is() -> None:
    assert AgentTraining().make_family() == ShapesFamily()
    assert AgentTraining.of(family={"name": "shapes", "count": 5}).make_family() == ShapesFamily(count=5)
    with pytest.raises(ConfigError, match="unknown family 'rescu': did you mean 'rescue'"):
        settings(family="rescu")


class Unstored:
    """A family that is no dataclass."""

    split, count = "train", 3

    def instance(self, number: int) -> None:
        """Returns nothing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Theirs(ShapesFamily):
    """A family of somebody's own, with the settings of ours."""


def test_a_family_of_ones_own_is_kept_with_its_settings_and_known_apart_from_ours(tmp_path: Path) -> None:
    theirs = Theirs(images=FAMILY.images, count=FAMILY.count, recipe=FAMILY.recipe)
    agent, _ = train(tmp_path, family=theirs, iterations=1)
    stored = agent.training["settings"]["family"]
    assert stored["name"].endswith(".Theirs")
    assert stored["count"] == 3
    with pytest.raises(AgentError, match="other settings"):
        train(tmp_path, resume=True, iterations=1)
    with pytest.raises(ConfigError, match=r"family Unstored cannot be stored with the agent .*: expected a dataclass"):
        train(tmp_path / "other", family=Unstored())


def test_command_training_and_environment_have_one_default() -> None:
    training, environment = AgentTraining(), DetectorTrainingEnv().settings
    assert AgentTraining(reference="none").environment == environment == EnvSettings()
    assert TrainAgent()._settings() == training
    assert training.make_action() == environment.make_action() == RelativeAction()
    assert AbsoluteAction().knobs == RelativeAction().knobs


def test_the_cost_holds_iterations_that_were_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iterate = Sb3Learner.iterate

    def killed(learner: Sb3Learner, iteration: int, *, planned: int) -> None:
        iterate(learner, iteration, planned=planned)
        if iteration == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Sb3Learner, "iterate", killed)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path)
    monkeypatch.setattr(Sb3Learner, "iterate", iterate)
    cost = train(tmp_path, resume=True)[0].training["cost"]
    assert (cost["iterations"], cost["images"]) == (2, 4 * 2 * 12), "two, one again, and the mean actions"
    path = tmp_path / "cost.json"
    path.write_text(path.read_text().replace("4", "1"))
    with pytest.raises(AgentError, match=r"cost.json: .* Delete it to count the finished iterations alone"):
        train(tmp_path, resume=True)
    write_record(path, {"version": 1, "episodes": "many"})
    with pytest.raises(AgentError, match="episodes is not a whole number"):
        train(tmp_path, resume=True)


def test_a_resumed_training_is_not_cut_short(tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(AgentError, match="2 iterations are trained already, and 1 were asked for: give 2 or more"):
        train(tmp_path, resume=True, iterations=1)


def test_every_iteration_has_its_own_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same ones, an agent would be trained on the same instances, and explore alike, again and again."""
    seeds: dict[str, list[int]] = {"instances": [], "exploration": [], "minibatches": []}

    def noting(kind: str, seed: Any) -> Any:
        def note(value: Any = None) -> Any:
            seeds[kind].append(int(value))
            return seed(value)

        return note

    for kind, place, name in (
        ("instances", Watched, "seed"),
        ("exploration", torch, "manual_seed"),
        ("minibatches", np.random, "seed"),
    ):
        original = getattr(place, name)
        if kind == "instances":

            def seed_of(env: Any, value: Any = None, original: Any = original) -> Any:
                seeds["instances"].append(int(value))
                return original(env, value)

            monkeypatch.setattr(place, name, seed_of)
        else:
            monkeypatch.setattr(place, name, noting(kind, original))
    _, log = train(tmp_path, iterations=3, learning_rate=1e-12)
    assert len(set(seeds["instances"])) == len(seeds["instances"]) >= 4, "three, and the episode of the mean actions"
    for kind in ("exploration", "minibatches"):
        assert len(set(seeds[kind][-3:])) == 3, kind
    assert len({progress.action_mean for progress in log}) == 3, "a policy that stands still explores differently"


def test_a_training_that_was_killed_in_its_first_iteration_goes_on_and_counts_it(tmp_path: Path) -> None:
    write_record(tmp_path / "cost.json", {"version": 1, "episodes": 1})
    cost = train(tmp_path, resume=True, iterations=1)[0].training["cost"]
    assert (cost["iterations"], cost["images"]) == (1, 3 * 2 * 12), "the killed one, one, and the mean actions"
