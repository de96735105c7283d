"""The vector form of post-processing: many episodes with common prepared instances and compiled code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from mapopt.envs.checks import check_lane_actions, check_num_envs, read_autoreset_mode
from mapopt.envs.lanes import lanes_to_reset, make_generator
from mapopt.envs.post_processing.candidates import CandidateFamily
from mapopt.envs.post_processing.episodes import make_setup
from mapopt.envs.post_processing.lanes import PostProcessingState
from mapopt.envs.post_processing.scene import RENDER_MODES, check_render_mode, render
from mapopt.envs.post_processing.settings import PostProcessingEnvSettings, PostProcessingKeywords


class PostProcessingVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """`PostProcessingEnv` many times over, one lane after the other on one core.

    Args:
        num_envs: episodes at once.
        family: see `PostProcessingEnv`.
        settings: see there.
        render_mode: "rgb_array" or "ansi"; `render` returns a picture or a line of every lane.
        autoreset_mode: whether an ended episode is replaced in the same step or in the next one.
        changes: see `PostProcessingEnv`.
    """

    def __init__(
        self,
        num_envs: int = 16,
        family: Any = None,
        *,
        settings: PostProcessingEnvSettings | None = None,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        **changes: Unpack[PostProcessingKeywords],
    ) -> None:
        check_render_mode(render_mode)
        check_num_envs(num_envs)
        mode = read_autoreset_mode(autoreset_mode)
        chosen = PostProcessingEnvSettings.of(settings, family=family, **changes)
        self._setup = make_setup(chosen, num_lanes=num_envs)
        self._lanes = self._setup.lanes
        self.num_envs, self.render_mode = num_envs, render_mode
        self.autoreset_mode = mode
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": list(RENDER_MODES), "render_fps": 4}
        self.single_action_space, self.single_observation_space = self._setup.spaces
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._generators = [make_generator(None) for _ in range(num_envs)]
        self._began = False

    @property
    def family(self) -> CandidateFamily:
        """Where instances come from."""
        return self._setup.family

    @property
    def observation_names(self) -> tuple[str, ...]:
        """The name of every entry of an observation."""
        return self._setup.names

    @property
    def action_names(self) -> tuple[str, ...]:
        """The name of every entry of an action, or of every choice where an action is one of several."""
        return self._setup.form.action_names

    @property
    def baseline_action(self) -> Any:
        """The action that, always taken, keeps the default setting; None where the form has none (``absolute``)."""
        return self._setup.form.baseline_action

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode in every lane; a single seed gives lane i the seed + i, as Gymnasium does.

        The options may hold Gymnasium's ``reset_mask``, bool ``[num_envs]``: lanes to reset; the others go on.

        Raises:
            ConfigError: an option is unknown or out of its range, or the seeds are not one per lane.
        """
        mask, seeds, chosen = lanes_to_reset(seed, options, self.num_envs)
        for lane, given in enumerate(seeds):
            if given is not None:
                self._generators[lane] = make_generator(given)
        starts = {lane: self._draw(lane, chosen) for lane in np.flatnonzero(mask).tolist()}
        observations, infos = self._blank(), dict[str, Any]()
        for lane, episode in enumerate(self._lanes):
            if lane not in starts:
                observations[lane] = episode.observe()
                continue
            observations[lane], info = episode.reset(starts[lane])
            infos = self._add_info(infos, info, lane)
        self._began = True
        return observations, infos

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Applies a setting in every lane, or begins the next episode where the last step ended one.

        Raises:
            ConfigError: there is not one action for every lane, or one is not of the action space; no lane has stepped.
            gymnasium.error.ResetNeeded: a lane's episode is over, or never began.
        """
        check_lane_actions(actions, self.num_envs)
        due = [lane for lane, episode in enumerate(self._lanes) if episode.over]
        if due and (self.autoreset_mode is not AutoresetMode.NEXT_STEP or not self._began):
            raise gymnasium.error.ResetNeeded(f"lanes {due} need a reset before a step")
        targets = {lane: self._lanes[lane].read(actions[lane]) for lane in range(self.num_envs) if lane not in due}
        observations, infos = self._blank(), dict[str, Any]()
        rewards, terminated = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
        for lane, episode in enumerate(self._lanes):
            if lane not in targets:
                observations[lane], info = episode.reset(self._draw(lane))
            else:
                observations[lane], rewards[lane], terminated[lane], info = episode.step(targets[lane])
                if terminated[lane] and self.autoreset_mode is AutoresetMode.SAME_STEP:
                    final = {"final_obs": observations[lane].copy(), "final_info": info}
                    observations[lane], info = episode.reset(self._draw(lane))
                    info |= final
            infos = self._add_info(infos, info, lane)
        return observations, rewards, terminated, np.zeros(self.num_envs, bool), infos

    def render(self) -> tuple[Any, ...] | None:
        """Returns every lane as a picture or as a line, by the render mode; see `PostProcessingEnv.render`."""
        if self.render_mode is None:
            return None
        return tuple(render(lane, self.render_mode) for lane in self._lanes)

    def get_state(self, lane: int) -> PostProcessingState:
        """Copies a lane's episode, with the generator that draws its next ones."""
        return self._lanes[lane].copy(self._generators[lane].bit_generator.state)

    def set_state(self, lane: int, state: PostProcessingState) -> np.ndarray:
        """Puts an episode into a lane, its own or another's; returns its observation.

        Raises:
            CheckpointError: it is of another instance's candidates, or of an episode of another length.
        """
        observation = self._lanes[lane].restore(state)
        if state.generator is not None:
            self._generators[lane].bit_generator.state = dict(state.generator)
        return observation

    def _blank(self) -> np.ndarray:
        return np.zeros(self.observation_space.shape or (), np.float32)

    def _draw(self, lane: int, options: dict[str, Any] | None = None) -> int:
        return self._setup.draw_start(self._generators[lane], options)
