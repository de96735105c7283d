"""What is noted of an iteration while a learner plays it: returns, actions, and the time that it took."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
from gymnasium.spaces import Box
from stable_baselines3.common.vec_env import VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from mapopt.agents.learning.progress import Progress
from mapopt.envs.sb3 import FleetVecEnv


class Watched(VecEnvWrapper):
    """Scales the rewards for the learner and keeps what an iteration's report needs."""

    def __init__(self, venv: FleetVecEnv, scale: float) -> None:
        super().__init__(venv)
        self._scale = scale
        self.fleets = venv
        self.at_reset: Callable[[], None] | None = None
        """Called when all lanes have begun."""
        self.begin()

    def begin(self) -> None:
        """Forgets the last iteration."""
        self.actions: list[np.ndarray] = []
        self.returns = np.zeros(self.num_envs)
        self.tests: list[float] = []
        self.diverged = 0

    def reset(self) -> VecEnvObs:
        """Begins an episode in every lane."""
        observations = self.venv.reset()
        if self.at_reset is not None:
            self.at_reset()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Notes the actions and sends them on."""
        self.actions.append(np.array(actions))
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Notes the rewards and scales them."""
        observations, rewards, dones, infos = self.venv.step_wait()
        self.returns += rewards
        for done, info in zip(dones, infos, strict=True):
            if done:
                self.tests.append(float(info["test_ap"]))
                self.diverged += int(info["diverged"])
        return observations, rewards * self._scale, dones, infos

    def progress(self, iteration: int, steps: int) -> Progress:
        """Returns the iteration's report, but for its times."""
        actions = np.stack(self.actions).reshape(len(self.actions), self.num_envs, -1)
        continuous = isinstance(self.action_space, Box)
        return Progress(
            iteration=iteration,
            steps=(iteration + 1) * steps,
            episode_return=float(self.returns.mean()),
            test_ap=float(np.mean(self.tests)) if self.tests else 0.0,
            diverged=self.diverged,
            action_mean=tuple(float(value) for value in actions.mean((0, 1))),
            at_bound=float((np.abs(actions) >= 1).mean()) if continuous else 0.0,
            seconds=0.0,
        )


class Watch:
    """Measures a training over all its parts, in this process and in its workers."""

    def __init__(self, fleets: FleetVecEnv, log: Sequence[Progress]) -> None:
        self._fleets, self._last = fleets, log[-1] if log else None
        self._clock, self._processor = time.perf_counter(), fleets.processor_seconds()

    def stamp(self, progress: Progress) -> Progress:
        """Returns a report with the times until now."""
        seconds = time.perf_counter() - self._clock
        processor: float | None = self._fleets.processor_seconds() - self._processor
        if self._last is not None:
            earlier = self._last.processor_seconds
            seconds += self._last.seconds
            processor = None if earlier is None or processor is None else earlier + processor
        return dataclasses.replace(progress, seconds=seconds, processor_seconds=processor)
