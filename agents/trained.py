"""What a model of stable-baselines3 was trained to see and to do: read from its environment, or from settings.

A policy that is shown other numbers than it was trained on, or whose actions mean something else, decides nonsense
without any error; so both are compared with the model's own spaces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Space
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from mapopt import registry
from mapopt.envs.detector_training.actions import Action
from mapopt.envs.detector_training.observations import (
    DEFAULT_FEATURES,
    features_of,
    knobs_of,
    observation_names,
    observation_space,
)
from mapopt.envs.detector_training.settings import EnvSettings
from mapopt.envs.families.base import ranges_of
from mapopt.errors import AgentError
from mapopt.training import ranges

Given = EnvSettings | Mapping[str, Any] | None
"""Settings of an environment, or those that differ from their defaults; None asks the model's own environment."""


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


def trained_with(model: BaseAlgorithm, settings: Given = None) -> Trained:
    """Returns what a model sees and does.

    Args:
        model: asked for its environment.
        settings: of the environment, where it cannot say them; what normalizes observations is read from it even so.

    Raises:
        AgentError: nothing is said, and the model has no environment, or not one of ours.
    """
    env = model.get_env()
    if settings is not None:
        return replace(Trained.of(settings), normalization=None if env is None else _normalization(env))
    if env is None:
        raise AgentError("the model has no environment that says what it was trained with: give settings=...")
    try:
        wanted = ("action_form", "observation_names", "settings")
        form, names, made_from = (env.get_attr(name, [0])[0] for name in wanted)
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
        own_features=_own_features(made_from),
        normalization=_normalization(env),
    )


def check_trained(model: BaseAlgorithm, trained: Trained) -> None:
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
