"""Models of stable-baselines3 and sb3-contrib as policies that choose from a history, and their files.

A controller is a function of the history, and a recurrent network has a state besides. So the state is computed anew
from the history: every round is shown to the network again, from the first one on. What was shown before is remembered,
which saves time and changes nothing.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Space
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from mapopt import registry
from mapopt.envs.detector_training.actions import Action
from mapopt.envs.detector_training.features import Feature
from mapopt.envs.detector_training.observations import (
    DEFAULT_FEATURES,
    features_of,
    knobs_of,
    observation_names,
    observation_space,
    observe,
)
from mapopt.envs.detector_training.settings import EnvSettings
from mapopt.envs.families.base import ranges_of
from mapopt.errors import AgentError
from mapopt.files import write_bytes
from mapopt.training import Budget, Round, TaskInfo, ranges

Given = EnvSettings | Mapping[str, Any] | None
"""Settings of an environment, or those that differ from their defaults; None asks the model's own environment."""

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


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a model was trained to see and to do."""

    form: Action
    """What an action does to the knobs."""
    observation: tuple[str, ...]
    """Name of every number that the model is shown."""
    own_features: tuple[Any, ...] = ()
    """Those of them that are of somebody's own, as `make_feature` takes them."""
    normalization: Normalization | None = None
    """What was done to the numbers first."""

    @classmethod
    def of(cls, settings: EnvSettings | Mapping[str, Any]) -> Trained:
        """Returns what a model was trained with in an environment of these settings.

        Args:
            settings: of the environment, or a mapping of those that differ from their defaults.

        Raises:
            ConfigError: a part cannot be imported, or a name is unknown.
        """
        settings = settings if isinstance(settings, EnvSettings) else EnvSettings.of(**settings)
        form, chosen = settings.make_action(), _chosen_features(settings)
        names = (*form.knobs, *knobs_of(chosen))
        known = ranges() if set(names) <= set(ranges()) else ranges_of(settings.make_family(), names)
        return cls(
            form=form, observation=observation_names(chosen, form.knobs, known), own_features=_own_features(settings)
        )


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """What `VecNormalize` does to an observation, with the statistics it had."""

    mean: np.ndarray
    variance: np.ndarray
    epsilon: float
    limit: float

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """Returns the observation as the model is shown it, float32 ``[n]``."""
        scaled = (observation - self.mean) / np.sqrt(self.variance + self.epsilon)
        return np.clip(scaled, -self.limit, self.limit).astype(np.float32)


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
    trained = None if settings is None else Trained.of(settings)
    if isinstance(model, str | Path):
        path = Path(model)
        frozen, kept = _load(path)
        trained = trained or kept
        if trained is None:
            raise AgentError(
                f"{path} does not say what the model sees and does: give settings=EnvSettings(...) as it was trained "
                "with, or write it with mapopt.agents.save_agent"
            )
    else:
        trained = trained or trained_with(model)
        frozen = _copied(model)
    _check(frozen, trained)
    return Sb3Policy(policy=frozen.policy, trained=trained)


def trained_with(model: BaseAlgorithm) -> Trained:
    """Returns what a model's environment says that it sees and does.

    Raises:
        AgentError: the model has no environment, or not one of ours.
    """
    env = model.get_env()
    if env is None:
        raise AgentError("the model has no environment that says what it was trained with: give settings=...")
    try:
        wanted = ("action_form", "observation_names", "settings")
        form, names, settings = (env.get_attr(name, [0])[0] for name in wanted)
    except AttributeError:
        raise AgentError(
            "the model's environment trains no detector, so nothing could follow the model: expected "
            "mapopt/DetectorTraining-v0, under any wrappers of mapopt"
        ) from None
    for wrapper in _wrappers(env):
        changes = isinstance(wrapper, gymnasium.ActionWrapper | gymnasium.ObservationWrapper)
        if changes and not hasattr(type(wrapper), "action_form"):
            raise AgentError(
                f"the model was trained behind {type(wrapper).__name__}, which changes what it sees or does in a way "
                "that is only the wrapper's: use the wrappers of mapopt.envs, or settings of the environment"
            )
    return Trained(
        form=form,
        observation=tuple(names),
        own_features=_own_features(settings),
        normalization=_normalization(env),
    )


def save_model(model: BaseAlgorithm, path: str | Path, settings: Given = None) -> None:
    """Writes a model as stable-baselines3 does, with what it was trained with beside it in the same zip.

    Raises:
        AgentError: nothing says what the model was trained with, or it cannot be written down.
        StoreError: the file cannot be written.
    """
    trained = trained_with(model) if settings is None else Trained.of(settings)
    _check(model, trained)
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


def _copied(model: BaseAlgorithm) -> BaseAlgorithm:
    """Returns a copy without environment and without what was replayed; networks in use cannot be copied otherwise."""
    content = io.BytesIO()
    model.save(content)
    content.seek(0)
    return _loaded(type(model), content, model.device)


def _loaded(algorithm: type[BaseAlgorithm], file: Path | io.BytesIO, device: Any) -> BaseAlgorithm:
    """Loads a model, and leaves everybody's random numbers as they are: a training may be going on."""
    with torch.random.fork_rng(devices=[]):
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


def _wrappers(env: VecEnv) -> Iterator[gymnasium.Env]:
    """Yields the wrappers around the environments that are in this process."""
    for inner in getattr(env.unwrapped, "envs", ()):
        while inner is not inner.unwrapped:
            yield inner
            inner = inner.env


def _normalization(env: VecEnv) -> Normalization | None:
    """Returns what a `VecNormalize` around an environment does to observations."""
    around = unwrap_vec_normalize(env)
    if around is None or not around.norm_obs:
        return None
    statistics = around.obs_rms
    assert not isinstance(statistics, dict)  # Those of an observation that is no dictionary.
    return Normalization(
        mean=np.array(statistics.mean),
        variance=np.array(statistics.var),
        epsilon=float(around.epsilon),
        limit=float(around.clip_obs),
    )


def _check(model: BaseAlgorithm, trained: Trained) -> None:
    """Raises AgentError where a model was trained with other observations or actions than is said."""
    features = features_of(trained.observation, trained.own_features)
    seen, expected = model.observation_space, observation_space(features)
    same = seen.shape == expected.shape if trained.normalization is not None else seen == expected
    if not same:
        raise AgentError(
            f"the model was trained on observations {_shown(seen)}, and its settings describe {_shown(expected)}: "
            "give the settings of its training, and no wrapper that makes other numbers of them"
        )
    actions = trained.form.space_of_actions()
    if model.action_space != actions:
        raise AgentError(
            f"the model was trained on actions {model.action_space}, and its settings describe {actions}: "
            "give the settings of its training, and no wrapper that makes other actions of them"
        )


def _chosen_features(settings: EnvSettings) -> tuple[Any, ...]:
    """Returns what an environment of these settings shows, as it was given."""
    if settings.features is not None:
        return settings.features
    return (*settings.make_reward().features, *DEFAULT_FEATURES)


def _own_features(settings: EnvSettings) -> tuple[Any, ...]:
    """Returns the features that are of somebody's own."""
    chosen = _chosen_features(settings)
    return tuple(entry for entry in chosen if not isinstance(entry, str) or registry.is_text(entry))


def _shown(space: Space) -> str:
    low, high = getattr(space, "low", np.zeros(0)), getattr(space, "high", np.zeros(0))
    return f"of shape {space.shape} from {low.min(initial=0):g} to {high.max(initial=0):g}"
