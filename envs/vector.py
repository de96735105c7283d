"""The vector face: many episodes on one fleet, in either of Gymnasium's autoreset modes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from mapopt.envs.actions import RelativeAction
from mapopt.envs.detector_training import DEFAULT_BUDGET, checked_actions, draw_episode, make_generator, spaces
from mapopt.envs.families import InstanceFamily, ShapesFamily
from mapopt.envs.observations import observation_names
from mapopt.envs.world import World
from mapopt.errors import ConfigError
from mapopt.training.knobs import KnobSpace
from mapopt.training.task import Budget


class DetectorTrainingVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """`DetectorTrainingEnv` many times over, trained as lanes of one network.

    Args:
        num_envs: episodes at once.
        family: where instances come from.
        budget: images and rounds of an episode.
        knobs: names of the knobs that are actions.
        reach: what an offset of 1 means.
        device: where to train.
        autoreset_mode: whether an ended episode is replaced in the same step or in the next one.
    """

    def __init__(
        self,
        num_envs: int = 16,
        family: InstanceFamily | None = None,
        *,
        budget: Budget = DEFAULT_BUDGET,
        knobs: tuple[str, ...] | None = None,
        reach: float = 10.0,
        device: str = "cpu",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        if render_mode is not None:
            raise ConfigError("a vector of environments renders nothing: leave render_mode out")
        action = RelativeAction(space=KnobSpace(knobs), reach=reach) if knobs else RelativeAction(reach=reach)
        self.world = World(family or ShapesFamily(), budget, action, lanes=num_envs, device=device)
        self.num_envs = num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": []}
        self.render_mode = None
        self.single_action_space, self.single_observation_space = spaces(action)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._generators = [make_generator(None) for _ in range(num_envs)]
        self._over = np.ones(num_envs, dtype=bool)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode in every lane; a single seed gives lane i the seed + i, as Gymnasium does.

        The options may hold Gymnasium's ``reset_mask``, bool ``[num_envs]``: lanes to reset; the others go on.
        """
        chosen = dict(options or {})
        mask = np.asarray(chosen.pop("reset_mask", np.ones(self.num_envs, dtype=bool)), dtype=bool)
        if mask.shape != (self.num_envs,) or not mask.any():
            raise ConfigError(f"reset_mask of shape {mask.shape}: expected ({self.num_envs},) with at least one True")
        if isinstance(seed, int):
            seed = [seed + lane for lane in range(self.num_envs)]
        for lane, given in enumerate(seed or []):
            if given is not None and mask[lane]:
                self._generators[lane] = make_generator(given)
        observations = self._blank()
        infos: dict[str, Any] = {}
        for lane, (observation, info) in self._begin(np.flatnonzero(mask), chosen).items():
            observations[lane] = observation
            infos = self._add_info(infos, info, lane)
        for going in np.flatnonzero(~mask):
            observations[going] = self.world.observe(int(going))
        return observations, infos

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Plays one round on every lane, or begins the next episode where the last step ended one."""
        values = checked_actions(np.asarray(actions), len(self.world.action.space))
        if len(values) != self.num_envs:
            raise ConfigError(f"{len(values)} actions were given for {self.num_envs} environments")
        observations = self._blank()
        rewards = np.zeros(self.num_envs)
        terminated = np.zeros(self.num_envs, dtype=bool)
        infos: dict[str, Any] = {}
        due = self._over.copy()
        if due.any() and self.autoreset_mode is not AutoresetMode.NEXT_STEP:
            raise gymnasium.error.ResetNeeded(f"lanes {np.flatnonzero(due).tolist()} need a reset before a step")
        playing = ~due
        if playing.any():
            for lane, outcome in enumerate(self.world.step(values, active=playing.tolist())):
                if playing[lane]:
                    observations[lane], rewards[lane] = outcome.observation, outcome.reward
                    terminated[lane] = outcome.terminated
                    infos = self._add_info(infos, outcome.info, lane)
        self._over = terminated.copy()
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            due = terminated
            for ended in np.flatnonzero(due).tolist():
                final = {"final_obs": observations[ended].copy(), "final_info": lane_info(infos, ended)}
                infos = self._add_info(infos, final, ended)
        if due.any() and self.autoreset_mode is not AutoresetMode.DISABLED:
            for lane, (observation, info) in self._begin(np.flatnonzero(due), {}).items():
                observations[lane] = observation
                infos = self._add_info(infos, info, lane)
        return observations, rewards, terminated, np.zeros(self.num_envs, dtype=bool), infos

    def _blank(self) -> np.ndarray:
        return np.zeros((self.num_envs, len(observation_names(self.world.action.space))), dtype=np.float32)

    def _begin(self, lanes: np.ndarray, options: dict[str, Any]) -> dict[int, tuple[np.ndarray, dict[str, Any]]]:
        self._over[lanes] = False
        family = self.world.family
        return self.world.reset({int(lane): draw_episode(self._generators[lane], family, options) for lane in lanes})


def lane_info(infos: dict[str, Any], lane: int) -> dict[str, Any]:
    """Takes one lane's entries out of a vector environment's infos."""
    mine = {}
    for name, values in infos.items():
        if name.startswith("_") or (f"_{name}" in infos and not infos[f"_{name}"][lane]):
            continue
        mine[name] = lane_info(values, lane) if isinstance(values, dict) else values[lane]
    return mine
