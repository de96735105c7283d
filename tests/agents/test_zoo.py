"""The agents that are shipped, and the check that the command in an agent's file trains that agent."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mapopt.agents import Agent, AgentTraining, Progress, train_agent
from mapopt.agents.commands.train_agent import TrainAgent
from mapopt.agents.learning.circumstances import circumstances
from mapopt.agents.learning.settings import same_training, stored
from mapopt.agents.zoo import FOLDER, ZOO
from mapopt.cli import main
from mapopt.commands.parsing import parse
from mapopt.errors import AgentError

WORDS = (
    *("--family.images", "8", "4", "4", "--family.scenes.size", "16", "--family.scenes.object-size", "5", "10"),
    *("--family.recipe.batch-size", "2", "--family.count", "4", "--budget.images", "4", "--budget.rounds", "2"),
    *("--workers", "1", "--lanes", "2", "--iterations", "11", "--knobs", "lr", "--num-seeds", "1"),
)


def settings_of(training: dict[str, Any]) -> AgentTraining:
    """Returns what the command that an agent's file states trains with."""
    program, verb, *words = shlex.split(training["command"])
    assert (program, verb) == ("mapopt", "train-agent")
    command = parse(TrainAgent, words, prog="mapopt train-agent")
    return replace(
        command._settings(), family=command.family.make(command.data), workers=training["settings"]["workers"]
    )


def trained_again(training: dict[str, Any], out: Path) -> list[str]:
    """Runs the command that an agent's file states until it has as many checkpoints as are in the file."""
    settings, seen = settings_of(training), list[str]()

    def report(progress: Progress) -> None:
        seen.append(progress.policy)
        if len(seen) == len(training["checkpoints"]):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_agent(settings, out, report=report)
    return seen


def test_the_command_in_an_agents_file_gives_its_first_checkpoints_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train-agent", "--out", str(tmp_path / "first"), *WORDS]
    monkeypatch.setattr("sys.argv", ["mapopt", *words])
    assert main(words) == 0
    training = Agent.load(tmp_path / "first" / "agent").training
    log = json.loads((tmp_path / "first" / "progress.json").read_text())
    assert training["checkpoints"] == [entry["policy"] for entry in log[:2]]
    assert len({entry["policy"] for entry in log}) == 11
    assert trained_again(training, tmp_path / "again") == training["checkpoints"]
    other = {**training, "command": f"{training['command']} --seed 1"}
    assert trained_again(other, tmp_path / "other") != training["checkpoints"]


@pytest.mark.parametrize("name", ZOO)
def test_a_shipped_agents_command_gives_all_settings_that_it_was_trained_with(name: str) -> None:
    training = Agent.load(name).training
    settings = settings_of(training)
    assert same_training(training["settings"], stored(settings, settings.make_family()))
    assert settings.iterations == training["settings"]["iterations"] == training["cost"]["iterations"]
    assert len(training["checkpoints"]) == -(-settings.iterations // 10)


@pytest.mark.parametrize("name", ZOO)
def test_the_shipped_agents_are_sealed_and_refused_where_a_digit_of_them_is_changed(name: str, tmp_path: Path) -> None:
    described = (FOLDER / f"{name}.json").read_text()
    assert "checksum" in json.loads(described)
    (tmp_path / "a.safetensors").write_bytes((FOLDER / f"{name}.safetensors").read_bytes())
    (tmp_path / "a.json").write_text(described)
    assert Agent.load(tmp_path / "a").fingerprint == Agent.load(name).fingerprint
    (tmp_path / "a.json").write_text(described.replace('"scale": 4.0', '"scale": 5.0'))
    with pytest.raises(AgentError, match="changed or damaged"):
        Agent.load(tmp_path / "a")


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_a_shipped_agent_is_the_one_that_its_command_trains(name: str, tmp_path: Path) -> None:
    training = Agent.load(name).training
    stated, here = training["circumstances"], circumstances()
    other = [f"{key} {here.get(key)}, not {value}" for key, value in stated.items() if here.get(key) != value]
    other = [entry for entry in other if not entry.startswith("mapopt")]
    if other:
        pytest.skip(f"bits depend on it: {'; '.join(other)}")
    assert trained_again(training, tmp_path / "again") == training["checkpoints"]
