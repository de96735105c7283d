"""`mapopt train-agent`: any family by its name, and nothing begun where a flag is wrong."""

from __future__ import annotations

import dataclasses
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
from PIL import Image

from mapopt.agents import Agent, load_agent
from mapopt.agents.commands.train_agent import TrainAgent
from mapopt.cli import main
from mapopt.commands.parsing import parse
from mapopt.data import ShapesConfig, make_shapes, write_coco
from mapopt.envs.detector_training.settings import DEFAULT_BUDGET
from mapopt.envs.families import (
    FAMILIES,
    FromDataFamily,
    ImbalancedFamily,
    MixtureFamily,
    RecipesFamily,
    RescueFamily,
    ShapesFamily,
)
from mapopt.envs.families.flags import FamilyFlags
from mapopt.envs.families.scales import UnitsFamily
from mapopt.errors import AgentError, ConfigError
from mapopt.registry import Choice
from mapopt.training import Budget, Knobs, Recipe

SMALL = (
    *("--family.images", "16", "8", "8", "--family.recipe.batch-size", "4", "--budget.images", "8"),
    *("--budget.rounds", "2", "--iterations", "1", "--workers", "1", "--lanes", "2", "--device", "cpu"),
)


def train(out: Path, *flags: str) -> int:
    return main(["train-agent", "--out", str(out), *SMALL, *flags])


@pytest.mark.parametrize(
    "flags",
    [
        ("--family", "rescue", "--family.mistakes", "no-warm-up", "learning-rate-too-low", "--family.count", "4"),
        ("--family=noisy-labels", "--family.fraction", "0.2", "0.4"),
    ],
    ids=["rescue", "noisy-labels"],
)
def test_an_agent_is_trained_on_a_family_by_name(flags: tuple[str, ...], tmp_path: Path) -> None:
    assert train(tmp_path, *flags) == 0
    agent = Agent.load(tmp_path / "agent")
    stored = agent.training["settings"]["family"]
    assert stored["name"] == ("rescue" if "rescue" in flags else "noisy-labels")
    assert stored["images"] == [16, 8, 8]
    assert stored.get("mistakes", ["no-warm-up", "learning-rate-too-low"]) == ["no-warm-up", "learning-rate-too-low"]
    assert stored.get("fraction", [0.2, 0.4]) == [0.2, 0.4]
    assert np.isfinite(agent.layers[0][0]).all()
    assert len(json.loads((tmp_path / "progress.json").read_text())) == 1


def test_an_agent_is_trained_on_data_of_ones_own(tmp_path: Path) -> None:
    scenes = make_shapes(ShapesConfig(objects=(2, 6)), seed=5, count=20)
    (tmp_path / "data" / "images").mkdir(parents=True)
    for name, pixels in zip(scenes.annotations.file_names, scenes.pixels, strict=True):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "data" / "images" / name)
    write_coco(dataclasses.replace(scenes.annotations, root=tmp_path / "data"), tmp_path / "data" / "train.json")
    data = tmp_path / "data"
    assert train(tmp_path / "out", "--family", "from-data", "--data", str(data), "--family.size", "48") == 0
    stored = Agent.load(tmp_path / "out" / "agent").training["settings"]["family"]
    assert (stored["name"], stored["path"], stored["size"]) == ("from-data", str(data), 48)


def test_another_family_does_not_go_on_with_a_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path) == 0
    assert train(tmp_path, "--family", "shapes", "--resume") == 0
    capsys.readouterr()
    assert train(tmp_path, "--family", "imbalanced", "--resume", "--iterations", "2") == 2
    assert "is of a training with other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--family", "rescu"], "unknown family 'rescu': did you mean 'rescue'?"),
        (["--family", "from-data"], "--family from-data and --data PATH belong together, give both"),
        (["--data", "."], "--family from-data and --data PATH belong together, give both"),
        (["--family", "from-data", "--data", "nowhere"], "nowhere"),
        (
            ["--family", "rescue", "--family.variety", "0.1"],
            "--family rescue has no such setting: leave it out",
        ),
        (["--family", "rescue", "--family.count", "5"], "expected a multiple"),
        (["--family", "--lanes", "2"], "--family.name is '': expected a text"),
    ],
)
def test_a_wrong_family_is_an_error_of_one_line(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "out", *flags) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_every_setting_of_every_family_is_a_flag() -> None:
    flags = get_type_hints(FamilyFlags)
    for name, family in FAMILIES.items():
        hints = get_type_hints(family)
        for field in dataclasses.fields(family):
            if field.name not in ("split", "path", "budgets", "members"):  # Lists of parts are for the library.
                assert flags[field.name] in (hints[field.name], hints[field.name] | None), (name, field.name)


def test_flags_left_open_are_the_familys_own() -> None:
    for name, family in FAMILIES.items():
        if family is not FromDataFamily:
            assert FamilyFlags(name=name).make(None) == family()


def test_the_words_of_a_family_build_it() -> None:
    def family(*words: str) -> object:
        command = parse(TrainAgent, words, prog="mapopt train-agent")
        return command.family.make(command.data)

    assert family() == ShapesFamily()
    assert family("--family.knobs.lr", "0.3", "--family.variety", "0") == ShapesFamily(knobs=Knobs(lr=0.3), variety=0.0)
    assert family("--family", "imbalanced", "--family.factor", "2", "9") == ImbalancedFamily(factor=(2.0, 9.0))
    assert family("--family=rescue", "--family.count", "18") == RescueFamily(count=18)
    members = "[shapes, {name: units, recipe: {optimizer: sgd}}]"
    mixture = family("--family", "mixture", "--family.settings", "members", members, "--family.count", "6")
    assert isinstance(mixture, MixtureFamily)
    assert mixture.count == 6
    assert mixture.families == (ShapesFamily(), UnitsFamily(recipe=Recipe(optimizer="sgd")))
    recipes = family("--family", "recipes", "--family.batches", "4", "8", "--family.base", "units")
    assert recipes == RecipesFamily(batches=(4, 8), base="units")


def test_a_file_names_the_family_too(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("family: {name: rescue, count: 18}\n")
    command = parse(TrainAgent, ["--config", str(tmp_path / "c.yaml")], prog="mapopt train-agent")
    assert command.family.make(None) == RescueFamily(count=18)
    assert command.budget == DEFAULT_BUDGET


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dimmed(ShapesFamily):
    """A family of somebody's own."""

    band: tuple[float, float] = (0.0, 1.0)


def test_a_family_of_ones_own_is_named_by_module_and_attribute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mine", sys.modules[__name__])
    words = ("--family", "mine:Dimmed", "--family.count", "6", "--family.settings", "band", "[0.1, 0.5]")
    command = parse(TrainAgent, words, prog="mapopt train-agent")
    assert command.family.make(command.data) == Dimmed(count=6, band=(0.1, 0.5))
    command = parse(TrainAgent, ("--family", "mine:Dimmed", "--family.factor", "2", "9"), prog="mapopt train-agent")
    with pytest.raises(ConfigError, match="--family mine:Dimmed has no such setting: leave it out"):
        command.family.make(command.data)
    command = parse(TrainAgent, ("--family", "mine:Dimmed", "--family.settings", "bend", "1"), prog="mapopt")
    with pytest.raises(ConfigError, match="unknown setting of family 'mine:Dimmed' 'bend': did you mean 'band'"):
        command.family.make(command.data)


def test_the_flags_of_families_are_read_without_torch() -> None:
    code = "import sys, mapopt.envs.families.flags; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.split() == ["False"]


def test_every_flag_of_a_family_has_its_docstring_as_help() -> None:
    helps = {flag.name: flag.metadata["help"] for flag in dataclasses.fields(FamilyFlags)}
    assert all(helps.values())
    assert {"count", "images", "factor", "eval_fraction"} <= helps.keys()
    assert helps["variety"].startswith("shapes: 0 keeps every instance at the middle")
    assert helps["scenes"].startswith("all but mixture and from-data: The parameters of the scenes")


MINE = '''
import torch
from mapopt.training import Range


class Own:
    """An optimizer with a knob of its own."""

    knobs = {"sharpness": Range(1.0, 100.0, log=True)}
    sharpness = 10.0

    def __init__(self, weights, decay):
        self.state = {"steps": torch.zeros(len(weights))}

    @torch.no_grad()
    def update(self, weights, gradient, knobs, active):
        rate, sharpness = (knobs[name][:, None] for name in ("lr", "sharpness"))
        step = torch.where(active[:, None], 0.01 * rate * torch.tanh(sharpness * gradient), 0.0)
        weights -= step
        return step.norm(dim=1)


class Strict:
    """A reward of its own."""

    def value(self, scores):
        return scores.ap75


def rounds_left(history, task, budget):
    """A feature of its own."""
    return 1 - len(history) / budget.rounds
'''


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Writes a module of somebody's own beside the working directory and returns its name."""
    (tmp_path / "mine_for_agents.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return "mine_for_agents"


def test_own_parts_are_flags(mine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--family.recipe.optimizer", f"{mine}:Own", "--knobs", "lr", "sharpness", "--reward", f"{mine}:Strict")
    shown = ("--features", "ap", f"{mine}:rounds_left", "knobs", "--action", "discrete")
    assert train(tmp_path / "out", *flags, *shown) == 0
    stored = json.loads((tmp_path / "out" / "agent.json").read_text())
    assert (stored["knobs"], stored["own_knobs"], stored["action"]) == (["lr", "sharpness"], ["sharpness"], "discrete")
    assert stored["observation"] == ["ap", "rounds_left", "knob_lr", "knob_sharpness"]
    assert stored["training"]["settings"]["reward"] == f"{mine}:Strict"
    said = capsys.readouterr().out.splitlines()
    path = tmp_path / "out" / "agent.json"
    assert said[-2] == f"its own parts have to be brought: ATTRIBUTE is load_agent('{path}', own=OwnParts(...))"
    assert said[-1] == "mapopt compare --methods baseline --agent MODULE:ATTRIBUTE"
    (tmp_path / "agents_of_mine.py").write_text(
        "from mapopt.agents import OwnParts, load_agent\n"
        f"from {mine} import rounds_left\n"
        "def agent():\n"
        f"    return load_agent({str(path)!r}, own=OwnParts(features=(rounds_left,)))\n"
    )
    controller = load_agent("agents_of_mine:agent")
    family = ShapesFamily(images=(16, 8, 8), recipe=Recipe(optimizer=f"{mine}:Own", batch_size=4))
    decided = controller.decide((), family.instance(0).task.info, Budget(images=8, rounds=2))
    assert decided.knobs.get("sharpness") > 0
    with pytest.raises(AgentError, match="the agent turns sharpness, which task 'shapes-train-0' does not have"):
        controller.decide((), ShapesFamily(images=(16, 8, 8)).instance(0).task.info, Budget(images=8, rounds=2))


def test_the_last_line_is_the_command_that_compares_the_agent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "an agent", "--name", "mine") == 0
    said = capsys.readouterr().out.splitlines()
    path = tmp_path / "an agent" / "mine"
    assert said[0] == "training an agent with ppo on lr, augment, assign_iou, box_weight: 1 iterations of 2 episodes"
    assert said[1].startswith("this takes about ")
    assert said[2].startswith("iteration 1: 4 steps, return ")
    assert said[3].endswith(" over all parts of the training")
    assert said[4] == f"wrote {path}.safetensors and {path}.json"
    assert said[5:] == [f"mapopt compare --methods baseline --agent '{path}.json'"]
    command = shlex.split(said[-1])
    assert load_agent(command[-1]) is not None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--reward", "points"], "unknown reward 'points'"),
        (["--features", "mood"], "unknown feature 'mood'"),
        (["--action", "relativ"], "unknown action form 'relativ': did you mean 'relative'"),
        (["--action", "absolute", "--scale", "2"], "scale was given for absolute actions, which have none"),
        (["--knobs", "lrr"], "unknown knob 'lrr': did you mean 'lr'"),
        (["--reward", "no_such_module:Mine"], "there is no module 'no_such_module'"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["--budget.images", "10"], "no whole number of steps of 4"),
        (["--lanes", "0"], "lanes is 0: expected a whole number from 1"),
        (["--resume", "--overwrite"], "give one of them"),
    ],
)
def test_a_wrong_flag_is_an_error_of_one_line_and_begins_nothing(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "out", *flags) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_flags_are_read_without_what_trains() -> None:
    heavy = ("torch", "torchvision", "stable_baselines3", "matplotlib", "scipy")
    code = (
        "import sys, mapopt.agents.commands.train_agent, mapopt.agents.commands.watch; "
        f"print(*[name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.split() == []


def test_a_reward_and_an_action_of_ones_own_take_settings() -> None:
    words = ("--reward", "mine:Strict", "--reward-settings", "weight", "2", "--action", "mine:Halve")
    command = parse(TrainAgent, (*words, "--action-settings", "divisor", "4.0"), prog="mapopt train-agent")
    settings = command._settings()
    assert settings.reward == Choice(name="mine:Strict", settings={"weight": 2})
    assert settings.action == Choice(name="mine:Halve", settings={"divisor": 4.0})
    assert parse(TrainAgent, (), prog="mapopt train-agent")._settings().reward == "gain"
