"""A trained agent: a small network in numpy, stored as numbers and JSON.

Running an agent needs no learner and executes nothing it loads: the weights are a safetensors file, and everything that
says what they mean (knobs, observation, network, what it was trained on, what that cost) is JSON beside it. Parts of
somebody's own, such as a feature, are only named there: whoever runs the agent brings them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import MultiDiscrete
from safetensors.numpy import save

from mapopt.agents.baselines import describe_baseline, read_baseline
from mapopt.agents.description import FORMAT, VERSION, named_tensors, read_description, read_tensors
from mapopt.agents.network import Activation, Cell, Network, Output, State
from mapopt.agents.zoo import find_agent
from mapopt.envs.detector_training.actions import ACTIONS, Action, make_action
from mapopt.envs.detector_training.features import FEATURES, KNOB, Feature
from mapopt.envs.detector_training.observations import features_of, observe
from mapopt.errors import AgentError, ConfigError
from mapopt.files import write_bytes, write_record
from mapopt.training import Budget, Round, TaskInfo, ranges

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from mapopt.envs.detector_training.settings import EnvSettings


@dataclass(frozen=True)
class OwnParts:
    """What an agent was trained with that is not mapopt's; its file names them, and whoever runs it brings them."""

    features: tuple[Any, ...] = ()
    """Features, each an object, a class, a function or ``module:attribute``."""
    action: Action | None = None
    """The form of action."""


@dataclass(frozen=True)
class Agent:
    """A policy network with what it was trained for."""

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    """Weight ``[out, in]`` and bias ``[out]`` of each layer; the activation stands between them."""
    knobs: tuple[str, ...]
    """The knobs its outputs set."""
    scale: float | None
    """What an output of 1 means; see `RelativeAction`. None for a form of action that has no scale."""
    baseline: dict[str, Any]
    """What its outputs are relative to: settings of a schedule, or a controller's name and settings."""
    observation: tuple[str, ...]
    """Name of every number it is shown, in the order of the first layer's columns; see `observe`."""
    open_loop: tuple[tuple[float, ...], ...] = ()
    """Its mean action in each round, over episodes of its training set: what it does when it is blind."""
    training: dict[str, Any] = field(default_factory=dict)
    """What it was trained on, with which settings, and what that cost."""
    _: KW_ONLY
    action: str = "relative"
    """The form of its actions: a name in `ACTIONS`, or the name of somebody's own."""
    step_size: float | None = None
    """How far a choice moves a knob, where the form of action has it; None is the form's default."""
    activation: Activation = "tanh"
    """What stands between the layers."""
    output: Output = "clip"
    """What the last layer's numbers become; see `Network`."""
    cells: tuple[Cell, ...] = ()
    """LSTM cells before the layers; with them an agent remembers what it was shown in earlier rounds."""
    own: OwnParts = field(default_factory=OwnParts, compare=False)
    """Parts of somebody's own; the file does not hold them."""

    @cached_property
    def form(self) -> Action:
        """What an action does to the knobs, relative to the agent's own schedule.

        Raises:
            AgentError: it is of somebody's own, and was not brought.
        """
        if self.own.action is not None:
            return self.own.action
        if self.action not in ACTIONS:
            raise AgentError(
                f"the agent's actions are of a form of its maker's own, {self.action}: bring it, "
                "as load_agent(PATH, own=OwnParts(action=...))"
            )
        given = {"scale": self.scale, "step_size": self.step_size}
        baseline = read_baseline(self.baseline, "the agent's baseline")
        return make_action(self.action, knobs=self.knobs, baseline=baseline, **given)  # type: ignore[arg-type]

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """What it is shown.

        Raises:
            AgentError: one of them is of somebody's own, and was not brought.
        """
        try:
            return features_of(self.observation, self.own.features)
        except ConfigError:
            missing = ", ".join(name for name in self.observation if not _is_ours(name))
            raise AgentError(
                f"the agent is shown features of its maker's own, {missing}: bring them, "
                "as load_agent(PATH, own=OwnParts(features=...))"
            ) from None

    def choose(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Any:
        """Returns the action for a history.

        One with a memory is shown the rounds again from the first one on, so it is a function of the history, too.
        """
        state: State = ()
        for rounds in range(len(history) if self.cells else 0):
            _, state = self.step(observe(history[:rounds], task, budget, self.features), state)
        return self.step(observe(history, task, budget, self.features), state)[0]

    def act(self, observation: np.ndarray) -> Any:
        """Returns the action for an episode's first observation, which without a memory is that for any.

        It is the mean of the policy ``[n]`` in [-1, 1], or its first choice.
        """
        return self._network(observation)

    def step(self, observation: np.ndarray, state: State = ()) -> tuple[Any, State]:
        """Returns the action for an observation, and what is remembered after it.

        Args:
            observation: ``[in]``.
            state: what the step before returned; empty where an episode begins.
        """
        return self._network.step(observation, state)

    @property
    def fingerprint(self) -> str:
        """A hash of everything that decides what the agent does."""
        described = json.dumps(self._described(), sort_keys=True).encode()
        parts = (part for group in (*self.layers, *self.cells) for part in group)
        numbers = b"".join(np.asarray(part, np.float32).tobytes() for part in parts)
        return hashlib.sha256(described + numbers).hexdigest()

    def save(self, path: str | Path) -> None:
        """Writes ``PATH.safetensors`` and ``PATH.json``."""
        weights = save(named_tensors(self.layers, self.cells))
        description = {
            "format": FORMAT,
            "version": VERSION,
            **self._described(),
            "training": self.training,
            "weights": hashlib.sha256(weights).hexdigest(),
        }
        write_bytes(Path(path).with_suffix(".safetensors"), weights)
        write_record(Path(path).with_suffix(".json"), description)

    @classmethod
    def load(cls, name: str | Path, *, own: OwnParts | None = None) -> Agent:
        """Reads an agent.

        Args:
            name: one in the zoo, or a path with or without its ending.
            own: parts of somebody's own that the agent was trained with.

        Raises:
            AgentError: there is none, it is damaged, of another version, sets knobs that do not exist, or needs parts
                that were not brought.
        """
        path = find_agent(name)
        description = read_description(path)
        layers, cells = read_tensors(path.with_suffix(".safetensors"), description)
        return cls(
            layers,
            description.knobs,
            description.scale,
            dict(description.baseline),
            description.observation,
            description.open_loop,
            dict(description.training),
            action=description.action,
            step_size=description.step_size,
            activation=description.activation,  # type: ignore[arg-type]
            output=description.output,  # type: ignore[arg-type]
            cells=cells,
            own=own or OwnParts(),
        )

    @classmethod
    def from_sb3(
        cls,
        model: BaseAlgorithm,
        *,
        settings: EnvSettings | Mapping[str, Any] | None = None,
        open_loop: Sequence[Sequence[float]] = (),
        training: dict[str, Any] | None = None,
    ) -> Agent:
        """Takes the network out of a model of stable-baselines3 or sb3-contrib, where it is one that an agent holds.

        The agent computes in float64 where the model does in float32, so their actions differ in the last digits;
        `PolicyController.from_sb3` keeps all bits.

        Args:
            model: PPO, A2C, TRPO, SAC, TQC, TD3, DDPG, DQN, QR-DQN or RecurrentPPO with linear layers, tanh or relu
                between them, and LSTM cells before them.
            settings: of the environment that the model was trained on, or a mapping of those that differ from their
                defaults; by default what the model's environment says.
            open_loop: its mean action in each round.
            training: what it was trained on, and what that cost.

        Raises:
            AgentError: nothing says what the model was trained with, its network is of another kind, or its actions are
                of a wrapper's, or relative to a controller of somebody's own.
        """
        from mapopt.agents.conversion import check_same, network_of
        from mapopt.agents.sb3 import sb3_policy

        policy = sb3_policy(model, settings)
        form, network = policy.form, network_of(policy.policy)
        name = next((name for name, kind in ACTIONS.items() if type(form) is kind), "")
        reason = f"actions of type {type(form).__name__}" if not name and hasattr(form, "wrapper") else ""
        baseline = describe_baseline(form.baseline)
        if baseline is None:
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
            baseline or {},
            policy.trained.observation,
            tuple(tuple(action) for action in open_loop),
            training or {},
            action=name or type(form).__name__,
            step_size=getattr(form, "step_size", None),
            activation=network.activation,
            output=network.output,
            cells=network.cells,
            own=OwnParts(policy.trained.own_features, None if name else form),
        )
        check_same(policy.policy, agent.step)
        return agent

    @cached_property
    def _network(self) -> Network:
        space = self.form.space_of_actions() if self.output == "choice" else None
        groups = len(space.nvec) if isinstance(space, MultiDiscrete) else 0
        return Network(
            layers=self.layers, activation=self.activation, output=self.output, groups=groups, cells=self.cells
        )

    def _described(self) -> dict[str, Any]:
        """Returns all but the weights and the training as plain values."""
        return {
            "observation": list(self.observation),
            "knobs": list(self.knobs),
            "own_knobs": [name for name in self.knobs if name not in ranges()],
            "own_features": [name for name in self.observation if not _is_ours(name)],
            "action": self.action,
            "scale": self.scale,
            "step_size": self.step_size,
            "baseline": self.baseline,
            "open_loop": [list(action) for action in self.open_loop],
            "layers": [list(weight.shape) for weight, _ in self.layers],
            "activation": self.activation,
            "output": self.output,
            # Files and fingerprints of agents without a memory are those of before there were any with one.
            **({"cells": [[cell.hidden.shape[1], cell.inputs.shape[1]] for cell in self.cells]} if self.cells else {}),
        }


def _is_ours(name: str) -> bool:
    """Returns whether a feature's name is one of ours, or that of a knob."""
    return name in FEATURES or name.startswith(KNOB)
