"""Wrappers that change what an agent is paid: noise on top, or the baseline's pay taken off.

Both leave the training itself as it is, so the same seed and actions give the same detector with or without them.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from mapopt.envs.lanes import lanes_to_reset
from mapopt.envs.wrappers.inside import baseline_action
from mapopt.errors import ConfigError

_STREAM = 7_405
"""Sets the noise's stream apart from the environment's own, which begins at the same seed."""


class RewardNoise(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Adds normal noise to every reward: how does a learner cope with fewer val images?

    The noise is the wrapper's own: it follows from the environment's seed, and the environment's random numbers are
    what they are without it. ``info["reward_without_noise"]`` keeps what was there.

    A state that the environment copies (`get_state`) is the episode's, without the noise: after `set_state` it goes on
    where it is, so going on twice from one state gives other noise on the same rewards.

    Args:
        env: any.
        standard_deviation: of the noise, in units of the reward. An AP of 64 images has about 0.018, of 256 images
            0.008; a gain, being a difference of two, 1.4 times that.

    Raises:
        ConfigError: the standard deviation is negative or not finite.

    >>> import gymnasium, mapopt.envs
    >>> env = RewardNoise(gymnasium.make("mapopt/DetectorTraining-v0"), 0.02)
    """

    def __init__(self, env: gymnasium.Env, standard_deviation: float) -> None:
        RecordConstructorArgs.__init__(self, standard_deviation=standard_deviation)
        gymnasium.Wrapper.__init__(self, env)
        self._standard_deviation = _checked(standard_deviation)
        self._generator: np.random.Generator | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begins an episode; a seed begins the noise anew, as it does the environment's numbers."""
        first = self.env.reset(seed=seed, options=options)
        if seed is not None or self._generator is None:
            self._generator = _noise(seed if seed is not None else self.env.unwrapped.np_random_seed)
        return first

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Plays a step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._generator is None:
            raise gymnasium.error.ResetNeeded("the episode never began: call reset() before step()")
        noisy = float(reward) + self._standard_deviation * float(self._generator.standard_normal())
        return observation, noisy, terminated, truncated, {**info, "reward_without_noise": float(reward)}


class VectorRewardNoise(VectorWrapper[Any, Any, Any, Any, np.ndarray]):
    """`RewardNoise` on every lane: lane i of seed s has the noise of a single environment of seed s + i.

    A step that only begins an episode has no noise.

    Args:
        env: any.
        standard_deviation: as in `RewardNoise`.

    Raises:
        ConfigError: as in `RewardNoise`.
    """

    def __init__(self, env: VectorEnv, standard_deviation: float) -> None:
        super().__init__(env)
        self._standard_deviation = _checked(standard_deviation)
        self._generators: list[np.random.Generator | None] = [None] * env.num_envs
        self._over = np.zeros(env.num_envs, dtype=bool)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins episodes; lanes that a ``reset_mask`` leaves out keep their noise."""
        first = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        mask, seeds, _ = lanes_to_reset(seed, options, self.num_envs)
        for lane in np.flatnonzero(mask).tolist():
            if seeds[lane] is not None or self._generators[lane] is None:
                self._generators[lane] = _noise(seeds[lane])
        self._over &= ~mask
        return first

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Plays a step on every lane."""
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        begun = (
            self._over if self.metadata.get("autoreset_mode") is AutoresetMode.NEXT_STEP else np.zeros_like(self._over)
        )
        noisy = np.array(rewards, dtype=np.float64)
        for lane, generator in enumerate(self._generators):
            if generator is None:
                raise gymnasium.error.ResetNeeded(f"lane {lane} never began: call reset() before step()")
            if not begun[lane]:
                noisy[lane] += self._standard_deviation * generator.standard_normal()
        self._over = terminated | truncated
        return observations, noisy, terminated, truncated, {**infos, "reward_without_noise": rewards}


class RelativeToBaseline(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Takes off what the baseline is paid in the same round of the same instance and seed.

    What is left is what the agent's own decisions gain: the luck of an instance and a seed, by which rewards differ the
    most, is gone. The baseline's episode is played in the environment itself, before the agent's, so an episode
    costs twice as much, unless its instance and training seed were met before: then it is remembered. An episode that
    terminates early (divergence) is charged the rest of the baseline's rewards, so a return is always the episode's own
    less the baseline's. ``info["baseline_reward"]`` says what was taken off.

    Wrappers beneath it see the baseline's episodes as well: a log or recorder there writes them down with the others,
    one before each instance's first. Put it around this wrapper to have the agent's alone. A state that the
    environment copies (`get_state`) says nothing of the baseline: after `set_state` the rewards that are taken off are
    still those of the episode that was reset last, so go on only from states of that episode, and from the round that
    it is in.

    There is none for vector environments: lanes begin at different times, and a baseline would have to be played on a
    lane while the others wait. Put it around each of several single environments.

    Args:
        env: whose first info names the ``instance``, and the ``seed`` where a training has one, and whose reset takes
            them as options.
        baseline: the action that is the baseline; by default the environment's `baseline_action`.
        remembered: how many baseline episodes to remember; the one not asked for longest goes first.

    Raises:
        ConfigError: no action was given and none is the baseline (as where actions are absolute), the given one is no
            action, or `remembered` is not positive; at the first reset: the environment does not say which instance it
            plays.

    >>> import gymnasium, mapopt.envs
    >>> env = RelativeToBaseline(gymnasium.make("mapopt/DetectorTraining-v0"))
    """

    def __init__(self, env: gymnasium.Env, *, baseline: Any = None, remembered: int = 256) -> None:
        RecordConstructorArgs.__init__(self, baseline=baseline, remembered=remembered)
        gymnasium.Wrapper.__init__(self, env)
        if baseline is None:
            baseline = baseline_action(env)
            if baseline is None:
                raise ConfigError(
                    f"no action of {env} is the baseline, as where actions are absolute: say which one is to be, as "
                    f"baseline=..., one of {env.action_space}"
                )
        if not env.action_space.contains(baseline):
            raise ConfigError(f"the baseline's action is {baseline}: expected one of {env.action_space}")
        if remembered < 1:
            raise ConfigError(f"remembered is {remembered}: expected 1 or more")
        self._baseline, self._max_remembered = baseline, remembered
        self._known: OrderedDict[tuple[tuple[str, int], ...], tuple[float, ...]] = OrderedDict()
        self._rest: list[float] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begins an episode, after playing the baseline's where it is not remembered."""
        observation, info = self.env.reset(seed=seed, options=options)
        if "instance" not in info:
            raise ConfigError(
                f"the first info of {self.env.unwrapped} has {', '.join(sorted(info)) or 'nothing'}: "
                "expected 'instance', so that the baseline can play the same episode"
            )
        names = {"instance": "instance", "seed": "training_seed"}
        played = tuple((option, int(info[name])) for name, option in names.items() if name in info)
        if played not in self._known:
            # The second reset draws numbers of its own; the next episode is to be the one it would have been.
            state = self.unwrapped.np_random.bit_generator.state
            self._known[played] = self._play()
            observation, info = self.env.reset(options=dict(played))
            self.unwrapped.np_random.bit_generator.state = state
            while len(self._known) > self._max_remembered:
                self._known.popitem(last=False)
        self._known.move_to_end(played)
        self._rest = list(self._known[played])
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Plays a step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        taken = self._rest.pop(0) if self._rest else 0.0
        if terminated:
            taken, self._rest = taken + sum(self._rest), []
        return observation, float(reward) - taken, terminated, truncated, {**info, "baseline_reward": taken}

    def _play(self) -> tuple[float, ...]:
        rewards, over = [], False
        while not over:
            _, reward, terminated, truncated, _ = self.env.step(self._baseline)
            rewards.append(float(reward))
            over = terminated or truncated
        return tuple(rewards)


def _checked(standard_deviation: float) -> float:
    if not (math.isfinite(standard_deviation) and standard_deviation >= 0):
        raise ConfigError(f"standard_deviation is {standard_deviation}: expected a finite number from 0 on")
    return float(standard_deviation)


def _noise(seed: int | None) -> np.random.Generator:
    """Returns the noise's generator; -1 is Gymnasium's word for a generator that was set from outside."""
    return np.random.default_rng(None if seed is None or seed < 0 else [_STREAM, seed])
