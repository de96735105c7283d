"""A trained policy: a small network in numpy, stored as numbers and JSON, that decides like any other controller.

Running an agent needs no learner and executes nothing it loads: the weights are a safetensors file, and everything that
says what they mean (knobs, observation, network, what it was trained on, what that cost) is JSON beside it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from mapopt.envs.detector_training.actions import RelativeAction
from mapopt.envs.detector_training.observations import needed_measures, observation_names, observe
from mapopt.errors import AgentError, MapoptError, unknown_name
from mapopt.files import write_bytes, write_json
from mapopt.former_names import translate
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Controller, Decision
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.history import Measure, Round
from mapopt.training.knobs import ranges

VERSION = 1
ZOO = Path(__file__).parent / "zoo"
"""Where the shipped agents are."""


@dataclass(frozen=True)
class Agent:
    """A policy network with what it was trained for."""

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    """Weight ``[out, in]`` and bias ``[out]`` of each layer; tanh between them."""
    knobs: tuple[str, ...]
    """The knobs its outputs turn."""
    scale: float
    """What an output of 1 means; see `RelativeAction`."""
    baseline: dict[str, Any]
    """Settings of the schedule its outputs are relative to."""
    observation: tuple[str, ...]
    """Name of every number it is shown, in the order of the first layer's columns; see `observe`."""
    open_loop: tuple[tuple[float, ...], ...] = ()
    """Its mean action in each round, over episodes of its training set: what it does when it is blind."""
    training: dict[str, Any] = field(default_factory=dict)
    """What it was trained on, with which settings, and what that cost."""

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Returns the action ``[n]`` in [-1, 1] for an observation: the mean of the policy."""
        values = observation.astype(np.float64)
        for index, (weight, bias) in enumerate(self.layers):
            values = weight.astype(np.float64) @ values + bias.astype(np.float64)
            if index < len(self.layers) - 1:
                values = np.tanh(values)
        return np.clip(values, -1.0, 1.0)

    def save(self, path: Path) -> None:
        """Writes ``PATH.safetensors`` and ``PATH.json``."""
        tensors = {}
        for index, (weight, bias) in enumerate(self.layers):
            tensors[f"{index}.weight"] = np.ascontiguousarray(weight, dtype=np.float32)
            tensors[f"{index}.bias"] = np.ascontiguousarray(bias, dtype=np.float32)
        description = {
            "format": "mapopt agent",
            "version": VERSION,
            "observation": list(self.observation),
            "knobs": list(self.knobs),
            "scale": self.scale,
            "baseline": self.baseline,
            "open_loop": [list(action) for action in self.open_loop],
            "layers": [list(weight.shape) for weight, _ in self.layers],
            "training": self.training,
        }
        write_bytes(path.with_suffix(".safetensors"), save(tensors))
        write_json(path.with_suffix(".json"), description)

    @classmethod
    def load(cls, name: str | Path) -> Agent:
        """Reads an agent: a name in the zoo, or a path with or without its ending.

        Raises:
            AgentError: there is none, it is damaged, of another version, or turns knobs that do not exist.
        """
        path = find_agent(name)
        try:
            description = translate(json.loads(path.read_text()), "agent")
            tensors = load_file(path.with_suffix(".safetensors"))
        except FileNotFoundError:
            raise AgentError(f"{path.with_suffix('.safetensors')}: no such file; an agent is two files") from None
        except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError, OSError) as error:
            raise AgentError(f"{path}: a damaged agent ({error}); copy or train it again") from None
        _check(path, description)
        layers = []
        for index, shape in enumerate(description["layers"]):
            weight, bias = tensors.get(f"{index}.weight"), tensors.get(f"{index}.bias")
            if weight is None or bias is None or list(weight.shape) != shape or not np.isfinite(weight).all():
                raise AgentError(
                    f"{path}: layer {index} of the weights is not what the description says; copy it again"
                )
            layers.append((weight, bias))
        return cls(
            tuple(layers),
            tuple(description["knobs"]),
            float(description["scale"]),
            dict(description["baseline"]),
            tuple(description["observation"]),
            tuple(tuple(action) for action in description["open_loop"]),
            dict(description["training"]),
        )


@dataclass(frozen=True)
class PolicyController:
    """Runs an agent through the same loop as everything else."""

    agent: Agent
    baseline: Controller | None = None
    """What the agent's outputs are relative to, where that is not its own schedule: an instance may bring another."""

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What has to be measured of every round so that the agent sees what it was trained on."""
        return needed_measures(self.agent.observation)

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns what the agent does after this history."""
        action = relative_action(self.agent, self.baseline)
        seen = observe(history, task, budget, self.agent.observation)
        return action.decide(self.agent.act(seen), history, task, budget)


@dataclass(frozen=True)
class OpenLoopController:
    """Replays an agent's mean actions without looking at the run: what its feedback has to beat."""

    agent: Agent
    baseline: Controller | None = None
    """What the actions are relative to, where that is not the agent's own schedule; as `PolicyController.baseline`."""

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the agent's mean action at this share of the budget, whatever happened."""
        recorded = np.array(self.agent.open_loop)
        if not len(recorded):
            raise AgentError("the agent carries no mean actions to replay: train it again")
        at = (len(history) + 0.5) / budget.rounds * len(recorded) - 0.5
        mean = [float(np.interp(at, np.arange(len(recorded)), column)) for column in recorded.T]
        return relative_action(self.agent, self.baseline).decide(mean, history, task, budget)


def relative_action(agent: Agent, baseline: Controller | None = None) -> RelativeAction:
    """Returns what the agent's outputs mean: relative to its own schedule, or to the one that an instance brings."""
    usual = Schedule(**agent.baseline) if baseline is None else baseline
    return RelativeAction(knobs=agent.knobs, scale=agent.scale, baseline=usual)


def find_agent(name: str | Path) -> Path:
    """Returns the JSON file of an agent in the zoo or at a path."""
    for path in (Path(name), ZOO / Path(name).name if Path(name).name == str(name) else Path(name)):
        described = path if path.suffix == ".json" else Path(f"{path}.json")
        if described.is_file():
            return described
    shipped = [path.stem for path in ZOO.glob("*.json")]
    raise AgentError(f"{unknown_name('agent', str(name), shipped)}; or give the path of an agent's .json file")


def _check(path: Path, description: Any) -> None:
    if not isinstance(description, dict) or description.get("format") != "mapopt agent":
        raise AgentError(f"{path}: not an agent of mapopt; expected one that `mapopt train-agent` wrote")
    if description.get("version") != VERSION:
        raise AgentError(
            f"{path}: an agent of version {description.get('version')}; this mapopt runs version {VERSION}: "
            "train it again"
        )
    missing = {"knobs", "scale", "baseline", "layers", "training", "observation", "open_loop"} - set(description)
    if missing:
        raise AgentError(f"{path}: the description lacks {', '.join(sorted(missing))}; copy or train it again")
    unknown = [name for name in description["knobs"] if name not in ranges()]
    if unknown:
        raise AgentError(
            f"{path}: the agent turns {', '.join(unknown)}, which this mapopt does not have: train it again"
        )
    try:
        names = observation_names(description["observation"], description["knobs"])
        RelativeAction(
            knobs=tuple(description["knobs"]),
            scale=description["scale"],
            baseline=Schedule(**description["baseline"]),
        )
    except (MapoptError, TypeError) as error:
        raise AgentError(f"{path}: the description does not hold together ({error}); train the agent again") from None
    sizes = description["layers"]
    fits = description["observation"] == list(names) and sizes[0][1] == len(names)
    if not fits or sizes[-1][0] != len(description["knobs"]):
        raise AgentError(f"{path}: the network's sizes are not those of its observation and knobs; train it again")
