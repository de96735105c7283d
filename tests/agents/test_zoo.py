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
from mapopt.agents.zoo import ZOO
from mapopt.cli import main
from mapopt.commands.parsing import parse

PAGE = Path(__file__).resolve().parents[2] / "docs" / "agents.md"

WORDS = (
    *("--family.images", "8", "4", "4", "--family.scenes.size", "16", "--family.scenes.object-size", "5", "10"),
    *("--family.recipe.batch-size", "2", "--family.count", "4", "--budget.images", "4", "--budget.rounds", "2"),
    *("--workers", "1", "--lanes", "2", "--iterations", "11", "--knobs", "lr", "--num-seeds", "1"),
)


def trained_again(training: dict[str, Any], out: Path) -> list[str]:
    """Runs the command that an agent's file states until it has as many checkpoints as are in the file."""
    program, verb, *words = shlex.split(training["command"])
    assert (program, verb) == ("mapopt", "train-agent")
    command = parse(TrainAgent, words, prog="mapopt train-agent")
    settings: AgentTraining = replace(
        command._settings(), family=command.family.make(command.data), workers=training["settings"]["workers"]
    )
    seen: list[str] = []

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


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_a_shipped_agent_is_the_one_that_its_command_trains_or_the_page_says_that_it_is_not(
    name: str, tmp_path: Path
) -> None:
    training = Agent.load(name).training
    if "checkpoints" in training:
        assert trained_again(training, tmp_path / "again") == training["checkpoints"]
    else:
        assert f"`{name}` cannot be trained again bit for bit" in PAGE.read_text(encoding="utf-8")
