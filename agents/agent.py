"""A trained agent: a small network in numpy, stored as numbers and JSON.

Running an agent needs no learner and executes nothing it loads: the weights are a safetensors file, and everything that
says what they mean (knobs, observation, network, what it was trained on, what that cost) is JSON beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from mapopt.agents.network import Activation, Network, Output
from mapopt.agents.zoo import find_agent
from mapopt.envs.detector_training.actions import ACTIONS, Action, make_action
from mapopt.envs.detector_training.observations import observation_names, observe
from mapopt.errors import AgentError, MapoptError
from mapopt.files import read_record, write_bytes, write_json
from mapopt.former_names import translate
from mapopt.settings import from_mapping, to_mapping
from mapopt.training import Budget, Round, Schedule, TaskInfo, ranges

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from mapopt.agents.sb3 import Trained

FORMAT, VERSION = "mapopt agent", 1
"""Of the description of an agent."""

_OUTPUTS: dict[str, tuple[Output, ...]] = {
    "relative": ("clip", "tanh"),
    "absolute": ("clip", "tanh"),
    "discrete": ("choice",),
    "multi_discrete": ("choice",),
}
"""Form of action -> what a network's last numbers may become for it."""


@dataclass(frozen=True)
class Agent:
    """A policy network with what it was trained for."""

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    """Weight ``[out, in]`` and bias ``[out]`` of each layer; the activation stands between them."""
    knobs: tuple[str, ...]
    """The knobs its outputs turn."""
    scale: float | None
    """What an output of 1 means; see `RelativeAction`. None for a form of action that has no scale."""
    baseline: dict[str, Any]
    """Settings of the schedule its outputs are relative to."""
    observation: tuple[str, ...]
    """Name of every number it is shown, in the order of the first layer's columns; see `observe`."""
    open_loop: tuple[tuple[float, ...], ...] = ()
    """Its mean action in each round, over episodes of its training set: what it does when it is blind."""
    training: dict[str, Any] = field(default_factory=dict)
    """What it was trained on, with which settings, and what that cost."""
    _: KW_ONLY
    action: str = "relative"
    """The form of its actions; see `mapopt.envs.detector_training.actions`."""
    step_size: float | None = None
    """How far a choice moves a knob, where the form of action has it; None is the form's default."""
    activation: Activation = "tanh"
    """What stands between the layers."""
    output: Output = "clip"
    """What the last layer's numbers become; see `Network`."""

    @property
    def form(self) -> Action:
        """What an action does to the knobs, relative to the agent's own schedule."""
        given = {"scale": self.scale, "step_size": self.step_size}
        baseline = from_mapping(Schedule, self.baseline, "the agent's baseline")
        return make_action(self.action, knobs=self.knobs, baseline=baseline, **given)  # type: ignore[arg-type]

    def choose(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Any:
        """Returns the action for a history."""
        return self.act(observe(history, task, budget, self.observation))

    def act(self, observation: np.ndarray) -> Any:
        """Returns the action for an observation: the mean of the policy ``[n]`` in [-1, 1], or its first choice."""
        groups = len(self.knobs) if self.action == "multi_discrete" else 0
        network = Network(layers=self.layers, activation=self.activation, output=self.output, groups=groups)
        return network(observation)

    @property
    def fingerprint(self) -> str:
        """A hash of everything that decides what the agent does."""
        described = json.dumps(self._described(), sort_keys=True).encode()
        numbers = b"".join(np.asarray(part, np.float32).tobytes() for layer in self.layers for part in layer)
        return hashlib.sha256(described + numbers).hexdigest()

    def save(self, path: str | Path) -> None:
        """Writes ``PATH.safetensors`` and ``PATH.json``."""
        tensors = {}
        for index, (weight, bias) in enumerate(self.layers):
            tensors[f"{index}.weight"] = np.ascontiguousarray(weight, dtype=np.float32)
            tensors[f"{index}.bias"] = np.ascontiguousarray(bias, dtype=np.float32)
        description = {"format": FORMAT, "version": VERSION, **self._described(), "training": self.training}
        write_bytes(Path(path).with_suffix(".safetensors"), save(tensors))
        write_json(Path(path).with_suffix(".json"), description)

    @classmethod
    def load(cls, name: str | Path) -> Agent:
        """Reads an agent: a name in the zoo, or a path with or without its ending.

        Raises:
            AgentError: there is none, it is damaged, of another version, or turns knobs that do not exist.
        """
        path = find_agent(name)
        record = read_record(
            path,
            what="an agent that `mapopt train-agent` wrote",
            format=FORMAT,
            version=VERSION,
            remedy="Train it again.",
            error=AgentError,
        )
        description = translate(record, "agent")
        try:
            tensors = load_file(path.with_suffix(".safetensors"))
        except FileNotFoundError:
            raise AgentError(f"{path.with_suffix('.safetensors')}: no such file; an agent is two files") from None
        except (SafetensorError, OSError) as error:
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
            description["scale"],
            dict(description["baseline"]),
            tuple(description["observation"]),
            tuple(tuple(action) for action in description["open_loop"]),
            dict(description["training"]),
            **{name: description[name] for name in _LATER if name in description},
        )

    @classmethod
    def from_sb3(
        cls,
        model: BaseAlgorithm,
        *,
        trained: Trained | None = None,
        open_loop: Sequence[Sequence[float]] = (),
        training: dict[str, Any] | None = None,
    ) -> Agent:
        """Takes the network out of a model of stable-baselines3 or sb3-contrib, where it is one that an agent holds.

        The agent computes in float64 where the model does in float32, so their actions differ in the last digits;
        `PolicyController.from_sb3` keeps all bits.

        Args:
            model: PPO, A2C, TRPO, SAC, TQC, TD3, DDPG, DQN or QR-DQN with linear layers and tanh or relu.
            trained: what the model sees and does; by default what its environment says.
            open_loop: its mean action in each round.
            training: what it was trained on, and what that cost.

        Raises:
            AgentError: nothing says what the model was trained with, its network is of another kind, or its actions are
                of a form, or relative to a baseline, of somebody's own.
        """
        from mapopt.agents.conversion import check_same, network_of
        from mapopt.agents.sb3 import sb3_policy

        policy = sb3_policy(model, trained)
        form, network = policy.form, network_of(policy.policy)
        name = next((name for name, kind in ACTIONS.items() if type(form) is kind), "")
        reason = "" if name else f"actions of type {type(form).__name__}"
        if type(form.baseline) is not Schedule:
            reason = f"actions relative to a {type(form.baseline).__name__}"
        if policy.trained.normalization is not None:
            reason = "normalized observations"
        if reason:
            raise AgentError(
                f"the model has {reason}, which an agent's file does not hold: give a path that ends in .zip, which "
                "keeps the whole model"
            )
        agent = cls(
            network.layers,
            form.knobs,
            getattr(form, "scale", None),
            to_mapping(form.baseline),
            policy.observation,
            tuple(tuple(action) for action in open_loop),
            training or {},
            action=name,
            step_size=getattr(form, "step_size", None),
            activation=network.activation,
            output=network.output,
        )
        check_same(policy.policy, agent.act)
        return agent

    def _described(self) -> dict[str, Any]:
        """Returns all but the weights and the training as plain values."""
        return {
            "observation": list(self.observation),
            "knobs": list(self.knobs),
            "action": self.action,
            "scale": self.scale,
            "step_size": self.step_size,
            "baseline": self.baseline,
            "open_loop": [list(action) for action in self.open_loop],
            "layers": [list(weight.shape) for weight, _ in self.layers],
            "activation": self.activation,
            "output": self.output,
        }


_LATER = ("action", "step_size", "activation", "output")
"""What the description of the first agents lacks, because all of them had the defaults."""


def _check(path: Path, description: Any) -> None:
    missing = {"knobs", "scale", "baseline", "layers", "training", "observation", "open_loop"} - set(description)
    if missing:
        raise AgentError(f"{path}: the description lacks {', '.join(sorted(missing))}; copy or train it again")
    unknown = [name for name in description["knobs"] if name not in ranges()]
    if unknown:
        raise AgentError(
            f"{path}: the agent turns {', '.join(unknown)}, which this mapopt does not have: train it again"
        )
    action = description.get("action", "relative")
    try:
        names = observation_names(description["observation"], description["knobs"])
        make_action(
            action,
            knobs=tuple(description["knobs"]),
            scale=description["scale"],
            step_size=description.get("step_size"),
            baseline=Schedule(**description["baseline"]),
        )
    except (MapoptError, TypeError) as error:
        raise AgentError(f"{path}: the description does not hold together ({error}); train the agent again") from None
    output, activation = description.get("output", "clip"), description.get("activation", "tanh")
    if activation not in get_args(Activation) or output not in _OUTPUTS.get(action, ()):
        raise AgentError(
            f"{path}: a network with {activation} between its layers and {output} after them, for {action} actions, "
            "is none that this mapopt runs: train the agent again"
        )
    sizes, knobs = description["layers"], len(description["knobs"])
    outputs = {"discrete": 1 + 2 * knobs, "multi_discrete": 3 * knobs}.get(action, knobs)
    fits = description["observation"] == list(names) and sizes[0][1] == len(names)
    if not fits or sizes[-1][0] != outputs:
        raise AgentError(f"{path}: the network's sizes are not those of its observation and knobs; train it again")
