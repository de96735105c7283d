"""Wrappers that keep every episode that is played to its end, for offline learning."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Space
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from mapopt.envs.lanes import lane_end, lane_info, lanes_to_reset
from mapopt.envs.wrappers.episodes import Episode, Episodes
from mapopt.errors import ConfigError
from mapopt.settings import to_mapping


class EpisodeLog(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Keeps observations, actions, rewards and the numbers of infos of every episode that ends.

    What it sees is what the wrappers below it hand out, so an outer one logs shaped rewards and smaller actions; below
    `RelativeToBaseline` it logs the baseline's episodes, too. An episode that a reset cuts short is left out. It does
    not notice that a copied state was put into the environment (`set_state`): the steps that follow are written behind
    those before. Reset between, or log such episodes elsewhere.

    Args:
        env: with observations and actions that are arrays or numbers.
        infos: names of the numbers to keep, with a point where infos are nested (``knobs.lr``); None keeps all.

    Raises:
        ConfigError: observations or actions are dictionaries, tuples or texts.

    >>> import gymnasium, mapopt.envs
    >>> env = EpisodeLog(gymnasium.make("mapopt/DetectorTraining-v0"))
    >>> len(env.log())
    0
    """

    def __init__(self, env: gymnasium.Env, *, infos: Sequence[str] | None = None) -> None:
        RecordConstructorArgs.__init__(self, infos=infos)
        gymnasium.Wrapper.__init__(self, env)
        _check_spaces(env.observation_space, env.action_space)
        self._infos = infos
        self._ended: list[Episode] = []
        self._writer: _Writer | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begins an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._writer = _Writer(observation, info, seed, self._infos)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Plays a step and writes it down."""
        result = self.env.step(action)
        if self._writer is not None:
            self._writer.add(action, *result)
            if result[2] or result[3]:
                self._ended.append(self._writer.episode())
                self._writer = None
        return result

    def log(self) -> Episodes:
        """Returns the episodes that have ended so far."""
        return _log(self.env, self._ended)


class VectorEpisodeLog(VectorWrapper[Any, Any, Any, Any, np.ndarray]):
    """`EpisodeLog` on every lane of a vector environment, in each of Gymnasium's autoreset modes.

    Args:
        env: with observations and actions that are arrays or numbers.
        infos: as in `EpisodeLog`.

    Raises:
        ConfigError: as in `EpisodeLog`.
    """

    def __init__(self, env: VectorEnv, *, infos: Sequence[str] | None = None) -> None:
        super().__init__(env)
        _check_spaces(env.single_observation_space, env.single_action_space)
        self._mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._infos = infos
        self._ended: list[Episode] = []
        self._writers: list[_Writer | None] = [None] * env.num_envs
        self._first_names: list[frozenset[str]] = [frozenset()] * env.num_envs

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins an episode in every lane, or in those of a ``reset_mask``."""
        observations, infos = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        mask, seeds, _ = lanes_to_reset(seed, options, self.num_envs)
        for lane in np.flatnonzero(mask).tolist():
            begun = lane_info(infos, lane)
            self._first_names[lane] = frozenset(begun)
            self._begin(lane, observations, begun, seeds[lane])
        return observations, infos

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Plays a step on every lane and writes them down."""
        result = observations, rewards, terminated, truncated, infos = self.env.step(actions)
        for lane in range(self.num_envs):
            writer = self._writers[lane]
            if writer is None:
                if self._mode is AutoresetMode.NEXT_STEP:
                    self._begin(lane, observations, lane_end(lane_info(infos, lane), self._first_names[lane])[1], None)
                continue
            over, info = bool(terminated[lane] or truncated[lane]), lane_info(infos, lane)
            seen, begun = observations[lane], dict[str, Any]()
            if over and self._mode is AutoresetMode.SAME_STEP:
                seen = info["final_obs"]
                info, begun = lane_end(info, self._first_names[lane])
            writer.add(actions[lane], seen, rewards[lane], bool(terminated[lane]), bool(truncated[lane]), info)
            if over:
                self._ended.append(writer.episode())
                self._writers[lane] = None
                if self._mode is AutoresetMode.SAME_STEP:
                    self._begin(lane, observations, begun, None)
        return result

    def log(self) -> Episodes:
        """Returns the episodes that have ended so far, in the order they ended, those of lower lanes first."""
        return _log(self.env, self._ended)

    def _begin(self, lane: int, observations: Any, begun: Mapping[str, Any], seed: int | None) -> None:
        self._writers[lane] = _Writer(observations[lane], begun, seed, self._infos)


class _Writer:
    """Writes one episode down, step by step."""

    def __init__(
        self, observation: Any, info: Mapping[str, Any], seed: int | None, infos: Sequence[str] | None
    ) -> None:
        self._observations = [np.array(observation)]
        self._actions: list[np.ndarray] = []
        self._rewards: list[float] = []
        self._ends: list[tuple[bool, bool]] = []
        self._numbers_of_steps: list[dict[str, float]] = []
        self._chosen, self._seed = infos, seed
        texts = {name: value for name, value in info.items() if isinstance(value, str)}
        self._start = {**texts, **_numbers(info)}

    def add(
        self, action: Any, observation: Any, reward: Any, terminated: bool, truncated: bool, info: Mapping[str, Any]
    ) -> None:
        # Copies: an environment may hand out the same array again with other numbers in it.
        self._observations.append(np.array(observation))
        self._actions.append(np.array(action))
        self._rewards.append(float(reward))
        self._ends.append((bool(terminated), bool(truncated)))
        numbers = _numbers(info)
        self._numbers_of_steps.append(
            {name: float(value) for name, value in numbers.items() if self._chosen is None or name in self._chosen}
        )

    def episode(self) -> Episode:
        names = dict.fromkeys(name for numbers in self._numbers_of_steps for name in numbers)
        return Episode(
            observations=np.stack(self._observations),
            actions=np.stack(self._actions),
            rewards=np.array(self._rewards),
            terminations=np.array([end[0] for end in self._ends]),
            truncations=np.array([end[1] for end in self._ends]),
            infos={name: np.array([numbers.get(name, np.nan) for numbers in self._numbers_of_steps]) for name in names},
            start=self._start,
            seed=self._seed,
        )


def _numbers(info: Mapping[str, Any], prefix: str = "") -> dict[str, int | float]:
    """Returns the numbers of an info, nested names joined by points; booleans are 0 and 1."""
    numbers: dict[str, int | float] = {}
    for name, value in info.items():
        if isinstance(value, Mapping):
            numbers |= _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, bool | np.bool_ | int | np.integer):
            numbers[f"{prefix}{name}"] = int(value)
        elif isinstance(value, float | np.floating):
            numbers[f"{prefix}{name}"] = float(value)
    return numbers


def _check_spaces(observations: Space, actions: Space) -> None:
    for what, space in (("observations", observations), ("actions", actions)):
        if not isinstance(space, Box | Discrete | MultiBinary | MultiDiscrete):
            raise ConfigError(f"{what} are {space}: expected arrays or numbers; put a Flatten wrapper around it first")


def _log(env: gymnasium.Env | VectorEnv, episodes: Sequence[Episode]) -> Episodes:
    spec = env.spec
    base = type(env.unwrapped)
    return Episodes(
        episodes=tuple(episodes),
        env=spec.id if spec is not None else f"{base.__module__}:{base.__name__}",
        arguments={} if spec is None else {name: _plain(value) for name, value in spec.kwargs.items()},
    )


def _plain(value: Any) -> Any:
    """Returns settings as JSON has them; what is no setting is given by its name."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"class": type(value).__name__, **to_mapping(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)
