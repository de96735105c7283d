"""The stable-baselines3 face: a `VecEnv` whose environments are lanes, in one process or in several.

stable-baselines3 runs its own `VecEnv` and takes no Gymnasium vector environment; this adapter gives it one. Several
processes, each with a fleet of its own, use several cores; the lanes' numbers do not depend on how they are spread.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from mapopt.envs.infos import lane_info
from mapopt.envs.vector import DetectorTrainingVectorEnv
from mapopt.envs.world import EpisodeState
from mapopt.errors import ConfigError

MakeVector = Callable[[], DetectorTrainingVectorEnv]
"""Makes a fleet's environments with ``autoreset_mode="SameStep"``; must be picklable for several workers."""

StepResult = tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]


class FleetVecEnv(VecEnv):
    """Lanes of one or several fleets as a stable-baselines3 `VecEnv`.

    Args:
        make: makes one fleet's environments.
        workers: fleets; more than one run in processes of their own.
    """

    def __init__(self, make: MakeVector, *, workers: int = 1) -> None:
        if workers < 1:
            raise ConfigError(f"{workers} workers: expected at least one")
        first = make()
        if first.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ConfigError(f"autoreset_mode is {first.autoreset_mode}: stable-baselines3 needs 'SameStep'")
        self._lanes = first.num_envs
        self._workers: list[_Local | _Remote]
        self._workers = [_Local(first)] if workers == 1 else [_Remote(make) for _ in range(workers)]
        super().__init__(workers * self._lanes, first.single_observation_space, first.single_action_space)

    def reset(self) -> VecEnvObs:
        """Begins an episode in every lane; seeds set by `seed` are used once."""
        for index, worker in enumerate(self._workers):
            worker.send("reset", [None if seed is None else int(seed) for seed in self._slice(self._seeds, index)])
        results = [worker.receive() for worker in self._workers]
        self.reset_infos = [info for _, infos in results for info in infos]
        self._reset_seeds()
        self._reset_options()
        return np.concatenate([observations for observations, _ in results])

    def step_async(self, actions: np.ndarray) -> None:
        """Sends every lane its action."""
        for index, worker in enumerate(self._workers):
            worker.send("step", self._slice(actions, index))

    def step_wait(self) -> VecEnvStepReturn:
        """Waits for the round to end."""
        results: list[StepResult] = [worker.receive() for worker in self._workers]
        observations, rewards, dones = (np.concatenate([result[part] for result in results]) for part in range(3))
        return observations, rewards.astype(np.float32), dones, [info for result in results for info in result[3]]

    def close(self) -> None:
        """Ends the workers."""
        for worker in self._workers:
            worker.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Returns a picture of every lane, if the environments were made with ``render_mode="rgb_array"``."""
        for worker in self._workers:
            worker.send("call", ("render", ()))
        return [image for worker in self._workers for image in worker.receive() or [None] * self._lanes]

    def get_state(self, lane: int) -> EpisodeState:
        """Copies a lane's episode, and the generator that draws its next ones."""
        worker = self._workers[lane // self._lanes]
        worker.send("call", ("get_state", (lane % self._lanes,)))
        state: EpisodeState = worker.receive()
        return state

    def set_state(self, lane: int, state: EpisodeState) -> np.ndarray:
        """Puts a copied episode into a lane, its own or another; returns what an agent sees there."""
        worker = self._workers[lane // self._lanes]
        worker.send("call", ("set_state", (lane % self._lanes, state)))
        observation: np.ndarray = worker.receive()
        return observation

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Lanes are wrapped by nothing."""
        return [False for _ in self._get_indices(indices)]

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Returns an attribute of the vector environments, once per lane."""
        values = []
        for worker in self._workers:
            worker.send("get", attr_name)
            values += [worker.receive()] * self._lanes
        return [values[lane] for lane in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Lanes share one fleet, so an attribute cannot be set for some of them."""
        raise ConfigError(f"attribute '{attr_name}' cannot be set on lanes: make the environment with other arguments")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Lanes share one fleet and have no methods of their own."""
        raise ConfigError(f"method '{method_name}' cannot be called on lanes: they are no environments of their own")

    def _slice(self, values: Sequence[Any] | np.ndarray, worker: int) -> Any:
        return values[worker * self._lanes : (worker + 1) * self._lanes]


class _Local:
    """A fleet in this process."""

    def __init__(self, vector: DetectorTrainingVectorEnv) -> None:
        self._vector, self._result = vector, None

    def send(self, command: str, value: Any) -> None:
        self._result = _serve(self._vector, command, value)

    def receive(self) -> Any:
        return self._result

    def close(self) -> None:
        self._vector.close()


class _Remote:
    """A fleet in a process of its own."""

    def __init__(self, make: MakeVector) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, make), daemon=True)
        self._process.start()
        theirs.close()

    def send(self, command: str, value: Any) -> None:
        self._pipe.send((command, value))

    def receive(self) -> Any:
        failed, value = self._pipe.recv()
        if failed:
            raise value
        return value

    def close(self) -> None:
        if self._process.is_alive():
            self._pipe.send(("close", None))
            self._process.join(timeout=10)
            if self._process.is_alive():
                self._process.terminate()


def _work(pipe: Connection, make: MakeVector) -> None:
    torch.set_num_threads(1)
    vector = make()
    while True:
        try:
            command, value = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        if command == "close":
            return
        try:
            pipe.send((False, _serve(vector, command, value)))
        except KeyboardInterrupt:
            return
        except Exception as error:
            pipe.send((True, error))


def _serve(vector: DetectorTrainingVectorEnv, command: str, value: Any) -> Any:
    if command == "reset":
        observations, infos = vector.reset(seed=value)
        return observations, [lane_info(infos, lane) for lane in range(vector.num_envs)]
    if command == "get":
        return getattr(vector, value)
    if command == "call":
        method, arguments = value
        return getattr(vector, method)(*arguments)
    observations, rewards, terminated, truncated, infos = vector.step(value)
    lanes = []
    for lane in range(vector.num_envs):
        info = lane_info(infos, lane)
        # The names under which stable-baselines3 looks for the end of an episode.
        if "final_obs" in info:
            info = {**info.pop("final_info"), "terminal_observation": info.pop("final_obs")}
        lanes.append({**info, "TimeLimit.truncated": bool(truncated[lane] and not terminated[lane])})
    return observations, rewards, terminated | truncated, lanes
