"""The form for stable-baselines3: a `VecEnv` whose environments are lanes, in one process or in several.

stable-baselines3 runs its own `VecEnv` and takes no Gymnasium vector environment; this adapter gives it one. Several
processes, each with a fleet of its own, use several cores; the lanes' numbers do not depend on how they are spread.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from mapopt.envs.lanes import lane_end, lane_info
from mapopt.envs.wrappers.inside import attribute
from mapopt.errors import ConfigError, WorkerError
from mapopt.processes import describe_exit, end_with_parent, without_interrupts

if TYPE_CHECKING:
    from mapopt.envs.detector_training.states import EpisodeState
    from mapopt.envs.post_processing.lanes import PostProcessingState

    Key: TypeAlias = tuple[int, int]
    State: TypeAlias = EpisodeState | PostProcessingState

MakeVector = Callable[[], VectorEnv]
"""Makes a `DetectorTrainingVectorEnv` or a `PostProcessingVectorEnv`, under any vector wrappers, with
``autoreset_mode="SameStep"``; must be picklable for several workers."""


class FleetVecEnv(VecEnv):
    """Lanes of one or several fleets as a stable-baselines3 `VecEnv`.

    It does as stable-baselines3's own do: the infos with which episodes begin are in `reset_infos`, also of those that
    begin by themselves, and seeds and options are used by the next reset and no other.

    Args:
        make: makes one fleet's environments: a vector environment of ours, wrapped or not.
        workers: fleets; more than one run in processes of their own.

    Raises:
        ConfigError: the environments do not replace an ended episode in the same step, or there is no worker.

    >>> from functools import partial
    >>> from mapopt.envs import PostProcessingVectorEnv
    >>> env = FleetVecEnv(partial(PostProcessingVectorEnv, 4, autoreset_mode="SameStep"))
    >>> env.num_envs
    4
    """

    def __init__(self, make: MakeVector, *, workers: int = 1) -> None:
        if workers < 1:
            raise ConfigError(f"{workers} workers: expected at least one")
        if not callable(make):
            raise ConfigError(
                f"make is of type {type(make).__name__}: expected a function that makes a vector environment, such as "
                "functools.partial(DetectorTrainingVectorEnv, 16, autoreset_mode='SameStep')"
            )
        first = make()
        mode = first.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ConfigError(f"autoreset_mode is {mode}: stable-baselines3 needs 'SameStep'")
        self._lanes = first.num_envs
        self._workers: list[_Local | _Remote]
        self._workers = [_Local(first)] if workers == 1 else [_Remote(make) for _ in range(workers)]
        super().__init__(workers * self._lanes, first.single_observation_space, first.single_action_space)

    def set_options(self, options: list[dict] | dict | None = None) -> None:
        """Sets the reset options of the next reset: the same for every lane, or one dictionary for each.

        Raises:
            ConfigError: there is not one for each lane, or one of them chooses lanes.
        """
        if isinstance(options, list) and len(options) != self.num_envs:
            raise ConfigError(
                f"options of {len(options)} lanes were given for {self.num_envs}: give one dictionary each"
            )
        for chosen in [options] if isinstance(options, dict) else options or []:
            if "reset_mask" in chosen:
                raise ConfigError("option 'reset_mask' was given, but a reset is one of all lanes here: leave it out")
        super().set_options(options)

    def reset(self) -> VecEnvObs:
        """Begins an episode in every lane; what `seed` and `set_options` have set is used once."""
        seeds = [None if seed is None else int(seed) for seed in self._seeds]
        for index, worker in enumerate(self._workers):
            worker.send("reset", (self._slice(seeds, index), self._slice(self._options, index)))
        results = _received(self._workers)
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
        results = _received(self._workers)
        observations, rewards, dones = (np.concatenate([result[part] for result in results]) for part in range(3))
        begun = [info for result in results for info in result[4]]
        for lane in np.flatnonzero(dones).tolist():
            self.reset_infos[lane] = begun[lane]
        return observations, rewards.astype(np.float32), dones, [info for result in results for info in result[3]]

    def processor_seconds(self) -> float:
        """Returns the seconds of the processor that this process and the workers have used so far."""
        remote = [worker for worker in self._workers if isinstance(worker, _Remote)]
        for worker in remote:
            worker.send("processor", None)
        return time.process_time() + sum(_received(remote))

    def close(self) -> None:
        """Ends the workers, at once or where they are busy after a moment."""
        for worker in self._workers:
            worker.send("close", None)
        for worker in self._workers:
            worker.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Returns a picture of every lane, if the environments were made with ``render_mode="rgb_array"``."""
        for worker in self._workers:
            worker.send("render", None)
        return [image for images in _received(self._workers) for image in images or [None] * self._lanes]

    def get_state(self, lane: int) -> State:
        """Copies a lane's episode, and the generator that draws its next ones; wrappers have no part in it."""
        worker = self._workers[lane // self._lanes]
        worker.send("get_state", lane % self._lanes)
        state: State = _received([worker])[0]
        return state

    def set_state(self, lane: int, state: State) -> np.ndarray:
        """Puts a copied episode into a lane, its own or another; returns what an agent sees there."""
        worker = self._workers[lane // self._lanes]
        worker.send("set_state", (lane % self._lanes, state))
        observation: np.ndarray = _received([worker])[0]
        return observation

    def missing_references(self) -> list[Key]:
        """Returns the instances and seeds of the present episodes whose reference runs nobody has played."""
        missing = self._call("missing_references", [()] * len(self._workers))
        return sorted({key for keys in missing for key in keys})

    def play_references(self, keys: Sequence[Key]) -> dict[Key, tuple[float, ...]]:
        """Plays reference runs, each in one process, and gives them to all; returns what each was paid by round."""
        count = len(self._workers)
        played = self._call("play_references", [(keys[index::count],) for index in range(count)])
        return self.take_references({key: rewards for part in played for key, rewards in part.items()})

    def take_references(self, known: Mapping[Key, tuple[float, ...]]) -> dict[Key, tuple[float, ...]]:
        """Gives all processes reference runs that were played before; returns all that any of them knows."""
        parts = self._call("take_references", [(known,)] * len(self._workers))
        return {key: rewards for part in parts for key, rewards in part.items()}

    def _call(self, name: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Returns what a method of every process's environments gives."""
        for worker, given in zip(self._workers, arguments, strict=True):
            worker.send("call", (name, given))
        return _received(self._workers)

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """No lane has a wrapper of its own."""
        return [False for _ in self._get_indices(indices)]

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Returns an attribute of the vector environments or of a wrapper around them, once per lane."""
        for worker in self._workers:
            worker.send("get", attr_name)
        values = [value for value in _received(self._workers) for _ in range(self._lanes)]
        return [values[lane] for lane in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Lanes are of one fleet, so an attribute cannot be set for some of them."""
        raise ConfigError(f"attribute '{attr_name}' cannot be set on lanes: make the environment with other arguments")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Lanes are of one fleet and have no methods of their own."""
        raise ConfigError(f"method '{method_name}' cannot be called on lanes: they are no environments of their own")

    def _slice(self, values: Sequence[Any] | np.ndarray, worker: int) -> Any:
        return values[worker * self._lanes : (worker + 1) * self._lanes]


class _Fleet:
    """Answers for the environments of one process."""

    def __init__(self, vector: VectorEnv) -> None:
        self.vector = vector
        self._first_names: list[frozenset[str]] | None = None

    def answer(self, command: str, value: Any) -> tuple[bool, Any]:
        """Returns whether a command failed, and what it gave or the error."""
        commands: dict[str, Callable[[Any], Any]] = {
            "reset": lambda given: self._reset(*given),
            "step": self._step,
            "render": lambda _: self.vector.render(),
            "processor": lambda _: time.process_time(),
            "get": lambda name: attribute(self.vector, name),
            # What follows is none of a wrapper's business.
            "call": lambda given: attribute(self.vector.unwrapped, given[0])(*given[1]),
            "get_state": lambda lane: attribute(self.vector.unwrapped, "get_state")(lane),
            "set_state": lambda given: attribute(self.vector.unwrapped, "set_state")(*given),
        }
        try:
            return False, commands[command](value)
        except Exception as error:
            return True, error

    def _reset(self, seeds: list[int | None], options: list[dict[str, Any]]) -> tuple[np.ndarray, list[dict[str, Any]]]:
        lanes = range(self.vector.num_envs)
        if any(option != options[0] for option in options) and self._first_names is None:
            # The first reset is one of all lanes; the seeds let the second one draw what the first one drew.
            seeds = [int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed for seed in seeds]
            self._begin(seeds, options[0], lanes)
        left, infos = set(lanes), list[dict[str, Any]]([{} for _ in lanes])
        while left:
            together = [lane for lane in sorted(left) if options[lane] == options[min(left)]]
            observations, first_infos = self._begin(seeds, options[together[0]], together)
            infos = [first_infos[lane] if lane in together else infos[lane] for lane in lanes]
            left -= set(together)
        self._first_names = [frozenset(info) for info in infos]
        return observations, infos

    def _begin(
        self, seeds: list[int | None], options: dict[str, Any], lanes: Iterable[int]
    ) -> tuple[np.ndarray, list[dict[str, Any]]]:
        chosen = dict(options)
        mask = np.isin(np.arange(self.vector.num_envs), list(lanes))
        if not mask.all():
            chosen["reset_mask"] = mask
        observations, infos = self.vector.reset(seed=seeds, options=chosen)  # type: ignore[arg-type]
        return observations, [lane_info(infos, lane) for lane in range(self.vector.num_envs)]

    def _step(self, actions: np.ndarray) -> tuple[Any, ...]:
        observations, rewards, terminated, truncated, infos = self.vector.step(actions)
        step_infos, begun = [], []
        for lane in range(self.vector.num_envs):
            info, first = lane_info(infos, lane), dict[str, Any]()
            # The names under which stable-baselines3 looks for the end of an episode.
            if "final_obs" in info:
                last = info["final_obs"]
                info, first = lane_end(info, self._first_names[lane] if self._first_names else ())
                info["terminal_observation"] = last
            step_infos.append({**info, "TimeLimit.truncated": bool(truncated[lane] and not terminated[lane])})
            begun.append(first)
        return observations, rewards, terminated | truncated, step_infos, begun


class _Local:
    """A fleet in this process."""

    def __init__(self, vector: VectorEnv) -> None:
        self._fleet, self._reply = _Fleet(vector), (False, None)

    def send(self, command: str, value: Any) -> None:
        if command != "close":
            self._reply = self._fleet.answer(command, value)

    def receive(self) -> tuple[bool, Any]:
        return self._reply

    def close(self) -> None:
        self._fleet.vector.close()


class _Remote:
    """A fleet in a process of its own."""

    def __init__(self, make: MakeVector) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, make), daemon=True)
        with without_interrupts():
            self._process.start()
        theirs.close()

    def __reduce__(self) -> Any:
        raise ConfigError(
            "lanes in processes of their own cannot be copied: make FleetVecEnv with workers=1, or copy its lanes with "
            "get_state()"
        )

    def send(self, command: str, value: Any) -> None:
        # A process that has ended takes nothing; that is reported where its reply is missed.
        with contextlib.suppress(BrokenPipeError):
            self._pipe.send((command, value))

    def receive(self) -> tuple[bool, Any]:
        try:
            reply: tuple[bool, Any] = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join(timeout=10)
            how = describe_exit(self._process.exitcode)
            return True, WorkerError(f"a worker's process has ended ({how}): use fewer workers, lanes or images")
        except Exception as error:
            # What cannot be unpickled is a failure of this worker's, and the others' replies are still to come.
            return True, error
        return reply

    def close(self) -> None:
        self._process.join(timeout=2)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(timeout=10)


def _received(workers: Sequence[_Local | _Remote]) -> list[Any]:
    """Returns the replies of all workers, or raises the first failure once all have replied.

    A reply that stayed in its pipe would be taken for that to the next command.
    """
    replies = [worker.receive() for worker in workers]
    for failed, value in replies:
        if failed:
            raise value
    return [value for _, value in replies]


def _work(pipe: Connection, make: MakeVector) -> None:
    torch.set_num_threads(1)
    end_with_parent()
    fleet = _Fleet(make())
    while True:
        try:
            command, value = pipe.recv()
            if command == "close":
                return
            reply = fleet.answer(command, value)
            try:
                pipe.send(reply)
            except (pickle.PicklingError, AttributeError, TypeError):
                pipe.send(
                    (True, RuntimeError(f"the reply to '{command}' cannot be sent to another process: {reply[1]}"))
                )
        except (EOFError, KeyboardInterrupt):
            return
