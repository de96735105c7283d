"""The vector face of post-processing: many episodes that share prepared instances and compiled code."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from mapopt.envs.candidates import CandidateSource
from mapopt.envs.post_processing import LENGTH, draw_instance, observation_space
from mapopt.envs.post_processing_actions import NOTCH, SettingAction, SettingSpace
from mapopt.envs.post_processing_episode import Episode, PostProcessingState, Problems, observation_names
from mapopt.envs.synthetic_candidates import SyntheticCandidates
from mapopt.errors import ConfigError


class PostProcessingVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """`PostProcessingEnv` many times over, one lane after the other on one core.

    Args:
        num_envs: episodes at once.
        source: As in `PostProcessingEnv`, like everything that follows but the last.
        reward: See there.
        action: See there.
        length: See there.
        notch: See there.
        render_mode: None; a vector renders nothing.
        autoreset_mode: whether an ended episode is replaced in the same step or in the next one.
    """

    def __init__(
        self,
        num_envs: int = 16,
        source: CandidateSource | None = None,
        *,
        reward: Literal["ap", "f1", "lrp"] = "ap",
        action: Literal["absolute", "discrete"] = "absolute",
        length: int = LENGTH,
        notch: float = NOTCH,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        if render_mode is not None:
            raise ConfigError("a vector of environments renders nothing: leave render_mode out")
        if num_envs < 1:
            raise ConfigError(f"num_envs is {num_envs}: expected at least one")
        self.source = source if source is not None else SyntheticCandidates()
        form = SettingAction(SettingSpace(self.source.classes), action, notch=notch)
        problems = Problems(self.source, form.space.default)
        self._episodes = [Episode(problems, form, reward=reward, length=length) for _ in range(num_envs)]
        self.num_envs, self.render_mode = num_envs, None
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": []}
        self.single_action_space = form.space_of_actions()
        self.single_observation_space = observation_space(form, self.source.classes)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.observation_names = observation_names(form, self.source.classes)
        self.action_names, self.baseline_action = form.action_names, form.baseline_action
        self._generators = [seeding.np_random(None)[0] for _ in range(num_envs)]
        self._began = False

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode in every lane; a single seed gives lane i the seed + i, as Gymnasium does.

        The options may hold Gymnasium's ``reset_mask``, bool ``[num_envs]``: lanes to reset; the others go on.
        """
        chosen = dict(options or {})
        mask = np.asarray(chosen.pop("reset_mask", np.ones(self.num_envs, bool)), bool)
        if mask.shape != (self.num_envs,) or not mask.any():
            raise ConfigError(f"reset_mask of shape {mask.shape}: expected ({self.num_envs},) with at least one True")
        seeds = [seed + lane for lane in range(self.num_envs)] if isinstance(seed, int) else seed
        self._began = True
        observations, infos = self._blank(), dict[str, Any]()
        for lane, episode in enumerate(self._episodes):
            if not mask[lane]:
                observations[lane] = episode.observe()
                continue
            if seeds is not None and seeds[lane] is not None:
                self._generators[lane] = seeding.np_random(seeds[lane])[0]
            observations[lane], info = self._begin(lane, chosen)
            infos = self._add_info(infos, info, lane)
        return observations, infos

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Applies a setting in every lane, or begins the next episode where the last step ended one."""
        if len(actions) != self.num_envs:
            raise ConfigError(f"{len(actions)} actions were given for {self.num_envs} environments")
        due = [lane for lane, episode in enumerate(self._episodes) if episode.over]
        if due and (self.autoreset_mode is not AutoresetMode.NEXT_STEP or not self._began):
            raise gymnasium.error.ResetNeeded(f"lanes {due} need a reset before a step")
        observations, infos = self._blank(), dict[str, Any]()
        rewards, terminated = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
        for lane, episode in enumerate(self._episodes):
            if lane in due:
                observations[lane], info = self._begin(lane, {})
            else:
                observations[lane], rewards[lane], terminated[lane], info = episode.step(actions[lane])
                if terminated[lane] and self.autoreset_mode is AutoresetMode.SAME_STEP:
                    final = {"final_obs": observations[lane].copy(), "final_info": info}
                    observations[lane], info = self._begin(lane, {})
                    info |= final
            infos = self._add_info(infos, info, lane)
        return observations, rewards, terminated, np.zeros(self.num_envs, bool), infos

    def get_state(self, lane: int) -> PostProcessingState:
        """Copies a lane's episode, with the generator that draws its next ones."""
        generator = self._generators[lane].bit_generator.state
        return dataclasses.replace(self._episodes[lane].state, generator=generator)

    def set_state(self, lane: int, state: PostProcessingState) -> np.ndarray:
        """Puts an episode into a lane, its own or another's; returns its observation."""
        if state.generator is not None:
            self._generators[lane].bit_generator.state = state.generator
        return self._episodes[lane].restore(state)

    def _blank(self) -> np.ndarray:
        return np.zeros(self.observation_space.shape or (), np.float32)

    def _begin(self, lane: int, options: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        return self._episodes[lane].reset(draw_instance(self._generators[lane], self.source, options))
