"""The vector form: many episodes on one fleet, in each of Gymnasium's autoreset modes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from mapopt.envs.checks import check_lane_actions, check_num_envs, read_autoreset_mode
from mapopt.envs.detector_training.actions import Action
from mapopt.envs.detector_training.episodes import RENDER_MODES, draw_start, make_lanes, spaces_of
from mapopt.envs.detector_training.references import Key
from mapopt.envs.detector_training.scene import render
from mapopt.envs.detector_training.settings import EnvKeywords, EnvSettings
from mapopt.envs.detector_training.states import EpisodeState, Outcome
from mapopt.envs.lanes import lanes_to_reset, make_generator
from mapopt.errors import ConfigError


class DetectorTrainingVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """`DetectorTrainingEnv` many times over, trained as lanes of one network.

    Args:
        num_envs: episodes at once.
        family: see `DetectorTrainingEnv`, like everything that is not listed here.
        settings: see there.
        autoreset_mode: whether an ended episode is replaced in the same step, in the next one, or by nobody.
        stagger: let the first episodes of the lanes end at different times, so that resets and tests do not come all
            at once. After a reset of all lanes, the first episode of lane i is truncated ``i * rounds // num_envs``
            rounds before its end. Later episodes are the same as without, and so are those whose instance or training
            seed the reset names, and all of them with the reset option ``stagger`` False.
        render_mode: "rgb_array" or "ansi"; `render` returns a picture or a line of every lane.
        changes: see `DetectorTrainingEnv`.
    """

    def __init__(
        self,
        num_envs: int = 16,
        family: Any = None,
        *,
        settings: EnvSettings | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        stagger: bool = False,
        render_mode: str | None = None,
        **changes: Unpack[EnvKeywords],
    ) -> None:
        check_num_envs(num_envs)
        mode = read_autoreset_mode(autoreset_mode)
        chosen = EnvSettings.of(settings, family=family, **changes)
        self.lanes = make_lanes(chosen, num_lanes=num_envs, render_mode=render_mode)
        self.num_envs = num_envs
        self.autoreset_mode = mode
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": list(RENDER_MODES), "render_fps": 2}
        self.render_mode = render_mode
        self.single_action_space, self.single_observation_space = spaces_of(self.lanes)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._generators = [make_generator(None) for _ in range(num_envs)]
        self._stagger = stagger

    @property
    def observation_names(self) -> tuple[str, ...]:
        """The name of every entry of an observation; see `DetectorTrainingEnv`."""
        return self.lanes.names

    @property
    def action_names(self) -> tuple[str, ...]:
        """The name of every entry of an action, or of every choice where an action is one of several."""
        return self.lanes.action.action_names

    @property
    def baseline_action(self) -> Any:
        """The action that, always taken, is the baseline; None where the form has none (``absolute``)."""
        return self.lanes.action.baseline_action

    @property
    def action_form(self) -> Action:
        """What an action does to the knobs, as an object: with it a trained policy decides without an environment."""
        return self.lanes.action

    @property
    def settings(self) -> EnvSettings:
        """What the environment was made from."""
        return self.lanes.settings

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode in every lane; a single seed gives lane i the seed + i, as Gymnasium does.

        The options may hold Gymnasium's ``reset_mask``, bool ``[num_envs]``: lanes to reset; the others go on. Option
        ``stagger`` says whether first episodes are cut, in place of what the environment was made with.

        Raises:
            ConfigError: an option is unknown or out of its range, or the seeds are not one per lane.
        """
        mask, seeds, chosen = lanes_to_reset(seed, options, self.num_envs)
        stagger = chosen.pop("stagger", self._stagger)
        if not isinstance(stagger, bool):
            raise ConfigError(f"reset option 'stagger' is {stagger!r}: expected True or False")
        for lane, given in enumerate(seeds):
            if given is not None:
                self._generators[lane] = make_generator(given)
        # Whoever names an episode wants the whole of it.
        drawn = "reset_mask" not in (options or {}) and not chosen
        infos: dict[str, Any] = {}
        observations = self._begin(np.flatnonzero(mask).tolist(), infos, chosen, stagger=drawn and stagger)
        for going in np.flatnonzero(~mask).tolist():
            observations[going] = self.lanes.observe(going)
        return self._stacked(observations), infos

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Plays one round on every lane, or begins the next episode where the last step ended one."""
        check_lane_actions(actions, self.num_envs)
        resting = self.autoreset_mode is AutoresetMode.NEXT_STEP
        # A lane that never began is not due: the lanes raise that it has to be reset first.
        due = [lane for lane in range(self.num_envs) if resting and self.lanes.over[lane] and self.lanes.begun(lane)]
        outcomes = self.lanes.step(actions, active=[lane not in due for lane in range(self.num_envs)])
        infos: dict[str, Any] = {}
        observations = {lane: outcome.observation for lane, outcome in outcomes.items()}
        for lane, outcome in outcomes.items():
            infos = self._add_info(infos, self._info(outcome), lane)
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            due = [lane for lane, outcome in outcomes.items() if outcome.ended]
        if due:
            observations |= self._begin(due, infos, {})
        rewards = np.zeros(self.num_envs)
        terminated, truncated = np.zeros(self.num_envs, dtype=bool), np.zeros(self.num_envs, dtype=bool)
        for lane, outcome in outcomes.items():
            rewards[lane], terminated[lane], truncated[lane] = outcome.reward, outcome.terminated, outcome.truncated
        return self._stacked(observations), rewards, terminated, truncated, infos

    def render(self) -> tuple[Any, ...] | None:
        """Returns every lane as a picture or as a line, by the render mode; see `DetectorTrainingEnv.render`."""
        if self.render_mode is None:
            return None
        return tuple(render(self.lanes, lane, self.render_mode) for lane in range(self.num_envs))

    def missing_references(self) -> list[Key]:
        """Returns the instances and seeds of the present episodes whose reference runs have yet to be played."""
        references, lanes = self.lanes.references, range(self.num_envs)
        return [] if references is None else references.missing(self.lanes.start_of(lane) for lane in lanes)

    def play_references(self, keys: Sequence[Key]) -> dict[Key, tuple[float, ...]]:
        """Plays reference runs; returns what each was paid after each of its rounds."""
        references = self.lanes.references
        if references is None:
            return {}
        references.play(keys)
        return {key: references.known[key] for key in keys}

    def take_references(self, known: Mapping[Key, tuple[float, ...]]) -> dict[Key, tuple[float, ...]]:
        """Takes over reference runs that were played elsewhere; returns all that are known."""
        references = self.lanes.references
        if references is None:
            return {}
        references.known |= known
        return dict(references.known)

    def get_state(self, lane: int) -> EpisodeState:
        """Copies a lane's episode, and the generator that draws its next ones."""
        return replace(self.lanes.get_state(lane), generator=self._generators[lane].bit_generator.state)

    def set_state(self, lane: int, state: EpisodeState) -> np.ndarray:
        """Puts a copied episode into a lane, its own or another; returns what an agent sees there.

        A state without a generator leaves the lane's own.
        """
        observation = self.lanes.set_state(lane, state)
        if state.generator is not None:
            self._generators[lane].bit_generator.state = dict(state.generator)
        return observation

    def _info(self, outcome: Outcome) -> dict[str, Any]:
        """Returns an outcome's info as Gymnasium lays it out where the lane's next episode begins in the same step."""
        if outcome.ended and self.autoreset_mode is AutoresetMode.SAME_STEP:
            return {"final_obs": outcome.observation, "final_info": outcome.info}
        return outcome.info

    def _begin(
        self, lanes: Sequence[int], infos: dict[str, Any], options: dict[str, Any], *, stagger: bool = False
    ) -> dict[int, np.ndarray]:
        """Begins the next episodes of some lanes and adds their infos; returns their observations."""
        starts = {lane: draw_start(self._generators[lane], self.lanes, options) for lane in lanes}
        begun = self.lanes.reset(starts)
        if stagger:
            for lane in lanes:
                self.lanes.cut(lane, lane * self.lanes.budget_of(lane).rounds // self.num_envs)
        for lane, (_, info) in begun.items():
            self._add_info(infos, info, lane)
        return {lane: observation for lane, (observation, _) in begun.items()}

    def _stacked(self, observations: dict[int, np.ndarray]) -> np.ndarray:
        return np.stack([observations[lane] for lane in range(self.num_envs)])
