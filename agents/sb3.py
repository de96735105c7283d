"""Models of stable-baselines3 and sb3-contrib as policies that choose from a history, and their files.

A controller is a function of the history, and a recurrent network has a state besides. So the state is computed anew
from the history: every round is shown to the network again, from the first one on. What was shown before is remembered,
which saves time and changes nothing.
"""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from mapopt import registry
from mapopt.agents.trained import Given, Trained, check_trained, trained_with
from mapopt.envs.detector_training.actions import Action
from mapopt.envs.detector_training.features import Feature
from mapopt.envs.detector_training.observations import features_of, observe
from mapopt.errors import AgentError
from mapopt.files import write_bytes
from mapopt.training import Budget, Round, TaskInfo

MAX_STATES = 256
"""States of a recurrent network that are remembered: a few for each lane of a comparison."""

_MEMBER = "mapopt"
"""What a model's zip holds besides what stable-baselines3 wrote: what the model sees and does."""

_ALGORITHMS = {
    "stable_baselines3.sac.policies": "stable_baselines3:SAC",
    "stable_baselines3.td3.policies": "stable_baselines3:TD3",
    "stable_baselines3.dqn.policies": "stable_baselines3:DQN",
    "sb3_contrib.common.recurrent.policies": "sb3_contrib:RecurrentPPO",
    "sb3_contrib.common.maskable.policies": "sb3_contrib:MaskablePPO",
    "sb3_contrib.tqc.policies": "sb3_contrib:TQC",
    "sb3_contrib.qrdqn.policies": "sb3_contrib:QRDQN",
    "sb3_contrib.crossq.policies": "sb3_contrib:CrossQ",
    "sb3_contrib.ars.policies": "sb3_contrib:ARS",
}
"""Module of a policy's class -> the algorithm that loads it; a zip names the one and not the other."""

_ON_POLICY = "stable_baselines3.common.policies"
"""Of PPO, A2C and TRPO, which differ in their settings."""


_CHANGED = {"buffer_size": 1, "seed": None}
"""What a loaded model has otherwise: it replays nothing here, and must not seed everybody's random numbers again."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sb3Policy:
    """A model's policy with what it was trained with."""

    policy: BasePolicy
    """The network: a copy, so that going on with the training changes nothing here."""
    trained: Trained
    _states: OrderedDict[bytes, Any] = field(default_factory=OrderedDict, repr=False)
    """All that was shown to a recurrent network -> its state thereafter."""

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """What the policy is shown."""
        return features_of(self.trained.observation, self.trained.own_features)

    @property
    def form(self) -> Action:
        """What an action does to the knobs, relative to the baseline of the training's environment."""
        return self.trained.form

    def choose(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Any:
        """Returns the action for a history: the one that `model.predict(..., deterministic=True)` gives."""
        if not self._recurrent:
            return self.policy.predict(self._seen(history, task, budget), deterministic=True)[0]
        shown = [self._seen(history[:rounds], task, budget) for rounds in range(len(history) + 1)]
        keys = [b"".join(observation.tobytes() for observation in shown[: count + 1]) for count in range(len(shown))]
        # The last one is always shown again, because its action is asked for.
        known = max((count for count in range(len(history)) if keys[count] in self._states), default=-1)
        state = self._states[keys[known]] if known >= 0 else None
        action = None
        for count in range(known + 1, len(shown)):
            began = np.array([count == 0])
            action, state = self.policy.predict(shown[count], state, episode_start=began, deterministic=True)
            self._states[keys[count]] = state
        while len(self._states) > MAX_STATES:
            self._states.popitem(last=False)
        return action

    @property
    def _recurrent(self) -> bool:
        return hasattr(self.policy, "lstm_actor")

    def _seen(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> np.ndarray:
        seen = observe(history, task, budget, self.features)
        return seen if self.trained.normalization is None else self.trained.normalization(seen)


def sb3_policy(model: BaseAlgorithm | str | Path, settings: Given = None) -> Sb3Policy:
    """Returns a model's policy with what it was trained with.

    Args:
        model: a model, or the path of a zip that `save_model` or the model itself wrote. Such a file holds pickles, and
            loading it executes code.
        settings: of the environment that the model was trained on; by default what its environment says, or what
            `save_model` wrote down.

    Raises:
        AgentError: nothing says what the model was trained with, or it was trained with something else; or the file
            cannot be loaded.
    """
    if isinstance(model, str | Path):
        path = Path(model)
        frozen, kept = _load(path)
        if settings is None and kept is None:
            raise AgentError(
                f"{path} does not say what the model sees and does: give settings=EnvSettings(...) as it was trained "
                "with, or write it with mapopt.agents.save_agent"
            )
        trained = _settle(kept, settings)
    else:
        trained = trained_with(model, settings)
        frozen = _copied(model)
    check_trained(frozen, trained)
    return Sb3Policy(policy=frozen.policy, trained=trained)


def save_model(model: BaseAlgorithm, path: str | Path, settings: Given = None) -> None:
    """Writes a model as stable-baselines3 does, with what it was trained with beside it in the same zip.

    Raises:
        AgentError: nothing says what the model was trained with, or it cannot be written down.
        StoreError: the file cannot be written.
    """
    trained = trained_with(model, settings)
    check_trained(model, trained)
    try:
        described = pickle.dumps(trained)
    except Exception as error:
        raise AgentError(
            f"what the model was trained with cannot be written down ({error}): define your own features and actions "
            "at the top of a module"
        ) from None
    content = io.BytesIO()
    model.save(content)
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr(_MEMBER, described)
    write_bytes(path, content.getvalue())


def _settle(kept: Trained | None, settings: Given) -> Trained:
    """Returns what was written beside a model, or what is said instead; its statistics only the file can know."""
    if settings is None:
        assert kept is not None
        return kept
    return replace(Trained.of(settings), normalization=None if kept is None else kept.normalization)


def _copied(model: BaseAlgorithm) -> BaseAlgorithm:
    """Returns a copy without environment and without what was replayed; networks in use cannot be copied otherwise."""
    content = io.BytesIO()
    model.save(content)
    content.seek(0)
    return _loaded(type(model), content, model.device)


def _loaded(algorithm: type[BaseAlgorithm], file: Path | io.BytesIO, device: Any) -> BaseAlgorithm:
    """Loads a model, and leaves everybody's random numbers as they are: a training may be going on."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # A learner's buffer of several steps warns of itself when it is made again.
        warnings.filterwarnings("ignore", message="`n_steps=")
        return algorithm.load(file, device=device, custom_objects=_CHANGED)


def _load(path: Path) -> tuple[BaseAlgorithm, Trained | None]:
    """Loads a model, and what `save_model` wrote beside it."""
    if not path.is_file():
        raise AgentError(f"{path}: no such file; expected the zip of a model of stable-baselines3")
    try:
        with zipfile.ZipFile(path) as archive:
            described = json.loads(archive.read("data"))
            kept = archive.read(_MEMBER) if _MEMBER in archive.namelist() else None
        algorithm = _algorithm(path, described)
        return _loaded(algorithm, path, "cpu"), None if kept is None else pickle.loads(kept)
    except AgentError:
        raise
    except Exception as error:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AgentError(f"{path}: a model that cannot be loaded ({detail}); save it again") from error


def _algorithm(path: Path, described: Any) -> type[BaseAlgorithm]:
    """Returns the algorithm that loads a file."""
    module = described["policy_class"].get("__module__", "")
    text = _ALGORITHMS.get(module, "")
    if module == _ON_POLICY:
        names = {"cg_max_steps": "sb3_contrib:TRPO", "clip_range": "stable_baselines3:PPO"}
        text = next((text for key, text in names.items() if key in described), "stable_baselines3:A2C")
    if not text:
        raise AgentError(
            f"{path}: a model with a policy of {module}, of which only its own algorithm knows how to load it: load "
            "it yourself and give the model"
        )
    try:
        algorithm: type[BaseAlgorithm] = registry.load(text, "algorithm")
    except Exception as error:
        raise AgentError(f"{path}: a model of {text.replace(':', '.')}, which is not installed ({error})") from None
    return algorithm
