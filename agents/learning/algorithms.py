"""The learners by name, and what each is made with: its own constructor's arguments, checked against that constructor.

What suits an agent of detector training (an episode is all there is, nothing is discounted, the budget is short) stands
here; everything else is the default of stable-baselines3 or sb3-contrib, which make the learners.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mapopt import registry
from mapopt.errors import ConfigError, unknown_name


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """What is known of a learner without importing it."""

    where: str
    """Its class, as ``module:attribute``."""
    on_policy: bool
    """Whether it forgets its episodes after each update; others keep a replay buffer."""
    policy: str = "MlpPolicy"
    """The network, by its name there."""
    actions: tuple[str, ...] = ("continuous", "choices")
    """The kinds of action that it learns."""
    fields: tuple[str, ...] = ()
    """Settings of `AgentTraining` that are for it, besides those for all."""
    package: str = "stable_baselines3"
    """What has to be installed; of our own the class is that of the settings."""
    own: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the algorithm or of its policy that differ from the package's defaults."""


_GRADIENT = ("stagger",)
_PPO = (*_GRADIENT, "epochs", "minibatches", "clip", "gae_lambda", "log_std")
_OFF_POLICY: dict[str, Any] = {"train_freq": 1, "gradient_steps": -1, "buffer_size": 100_000}
"""An update for every step of every lane; the packages' defaults are of one environment."""

ALGORITHMS: dict[str, Algorithm] = {
    "ppo": Algorithm(where="stable_baselines3:PPO", on_policy=True, fields=_PPO),
    "a2c": Algorithm(where="stable_baselines3:A2C", on_policy=True, fields=(*_GRADIENT, "gae_lambda", "log_std")),
    "recurrent_ppo": Algorithm(
        where="sb3_contrib:RecurrentPPO",
        on_policy=True,
        policy="MlpLstmPolicy",
        fields=_PPO,
        package="sb3_contrib",
        own={"lstm_hidden_size": 32},
    ),
    "sac": Algorithm(
        where="stable_baselines3:SAC", on_policy=False, actions=("continuous",), fields=_GRADIENT, own=_OFF_POLICY
    ),
    "td3": Algorithm(
        where="stable_baselines3:TD3",
        on_policy=False,
        actions=("continuous",),
        fields=_GRADIENT,
        # Without noise it would not explore; .1 is that of Fujimoto et al., 2018.
        own={**_OFF_POLICY, "action_noise": 0.1},
    ),
    "tqc": Algorithm(
        where="sb3_contrib:TQC",
        on_policy=False,
        actions=("continuous",),
        fields=_GRADIENT,
        package="sb3_contrib",
        own=_OFF_POLICY,
    ),
    "cma_es": Algorithm(where="mapopt.agents.learning.strategies:CmaSettings", on_policy=True, package="mapopt"),
    "es": Algorithm(where="mapopt.agents.learning.strategies:EsSettings", on_policy=True, package="mapopt"),
    "dqn": Algorithm(
        where="stable_baselines3:DQN",
        on_policy=False,
        actions=("choices",),
        fields=_GRADIENT,
        own={**_OFF_POLICY, "exploration_fraction": 0.5},
    ),
}
"""Name -> what is known of it."""


def find_algorithm(name: str) -> Algorithm:
    """Returns what is known of a learner.

    Raises:
        ConfigError: there is none of this name.

    >>> find_algorithm("sac").actions
    ('continuous',)
    """
    if name not in ALGORITHMS:
        raise ConfigError(unknown_name("algorithm", str(name), ALGORITHMS))
    return ALGORITHMS[name]


def import_algorithm(name: str) -> Any:
    """Returns the class of a learner.

    Raises:
        ConfigError: there is none of this name, or its package is not installed.
    """
    known = find_algorithm(name)
    try:
        return registry.load(known.where, "algorithm")
    except ConfigError as error:
        package = known.package.replace("_", "-")
        raise ConfigError(
            f"algorithm '{name}' is of {package}, which cannot be imported ({error}): pip install {package}"
        ) from None


def is_evolution(name: str) -> bool:
    """Returns whether a learner compares candidates on common episodes, instead of following a gradient."""
    return find_algorithm(name).package == "mapopt"


def check_hyperparameters(name: str, given: Mapping[str, Any]) -> None:
    """Checks hyperparameters against what a learner's constructor and that of its policy take.

    Raises:
        ConfigError: a name is unknown there or decided elsewhere, or a value is of another type or out of its range.
    """
    algorithm = import_algorithm(name)
    known = plain_parameters(algorithm)
    known |= _EPISODES if is_evolution(name) else _policy_parameters(algorithm, name)
    for parameter, value in given.items():
        if parameter in _DECIDED:
            raise ConfigError(f"hyperparameter '{parameter}' of {name} is decided by {_DECIDED[parameter]}")
        if parameter not in known:
            raise ConfigError(unknown_name(f"hyperparameter of {name}", str(parameter), sorted(known)))
        _check_value(name, parameter, value, known[parameter].default)


_DECIDED = {
    "policy": "the observation",
    "env": "the environment's flags",
    "seed": "--seed",
    "device": "the learner, which is small",
    "net_arch": "the setting hidden",
    "policy_kwargs": "naming what is in it by itself",
    "tensorboard_log": "what is logged",
    "verbose": "what is printed",
    "stats_window_size": "what is printed",
    "optimize_memory_usage": "the state to resume from, which holds all that is replayed",
}
"""Arguments of a constructor that are no hyperparameters, and what decides them."""

_PARTS = ("_kwargs", "_class", "_fn", "_setup_model", "_space", "_schedule")
"""Ends of arguments that are classes, functions and the like."""

_EPISODES = {"episodes": inspect.Parameter("episodes", inspect.Parameter.KEYWORD_ONLY, default=2)}
"""What our own learners take besides their settings: the episodes of every candidate."""

_FRACTIONS = (
    "momentum",
    "gamma",
    "gae_lambda",
    "tau",
    "exploration_fraction",
    "exploration_initial_eps",
    "exploration_final_eps",
)
_ANY_SIGN = ("log_std_init", "target_entropy", "clip_mean")
_FROM = {"gradient_steps": -1, "sde_sample_freq": -1, "learning_starts": 0, "top_quantiles_to_drop_per_net": 0}
"""Whole numbers that begin elsewhere than at 1."""


def plain_parameters(made: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Returns the plain arguments of a constructor."""
    given = inspect.signature(made).parameters
    return {name: each for name, each in given.items() if not name.endswith(_PARTS) and name not in _DECIDED}


def _policy_parameters(algorithm: Any, name: str) -> dict[str, inspect.Parameter]:
    made = plain_parameters(algorithm.policy_aliases[find_algorithm(name).policy])
    unfit = ("normalize_images", "use_sde", "squash_output")
    return {parameter: each for parameter, each in made.items() if parameter not in unfit}


def _check_value(name: str, parameter: str, value: Any, default: Any) -> None:
    """Raises ConfigError unless a value is of a default's kind and inside its range."""
    what = f"hyperparameter '{parameter}' of {name} is {value!r}"
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ConfigError(f"{what}: expected True or False")
    elif isinstance(default, int) and parameter != "max_grad_norm":
        first = _FROM.get(parameter, 1)
        if type(value) is not int or value < first:
            raise ConfigError(f"{what}: expected a whole number from {first}")
    elif not (isinstance(default, str) and value == default) and not (default is None and value is None):
        low = -math.inf if parameter in _ANY_SIGN else 0.0
        high = 1.0 if parameter in _FRACTIONS else math.inf
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not low <= value <= high:
            bounds = "" if low < 0 else f" from {low:g} to {high:g}" if high < math.inf else f" from {low:g}"
            raise ConfigError(
                f"{what}: expected a number{bounds}{f' or {default}' if isinstance(default, str) else ''}"
            )
