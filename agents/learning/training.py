"""Trains an agent with stable-baselines3's PPO, resumably, and writes it as numbers and JSON.

One iteration is one episode of every lane, then one update. All random numbers of an iteration follow from (seed,
iteration), so a training that was stopped goes on from its last iteration as if nothing had happened.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium.spaces import Box
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from mapopt.agents.agent import Agent
from mapopt.agents.learning.cost import COST, CostLedger
from mapopt.agents.learning.progress import Progress
from mapopt.agents.learning.settings import AgentTraining, check_training, stored
from mapopt.agents.learning.state import LOG, STATE, read_state, write_state
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.sb3 import FleetVecEnv
from mapopt.errors import AgentError, WorkerError
from mapopt.files import write_json
from mapopt.output import Output
from mapopt.paths import check_name

if TYPE_CHECKING:
    from mapopt.envs.families.base import InstanceFamily


def train_agent(
    settings: AgentTraining | None = None,
    out: str | Path = "runs/agent",
    *,
    name: str = "agent",
    resume: bool = False,
    overwrite: bool = False,
    command: str = "",
    report: Callable[[Progress], None] | None = None,
) -> Agent:
    """Trains an agent, and prints nothing.

    Args:
        settings: how; by default as `AgentTraining` has it.
        out: folder for ``NAME.json``, ``NAME.safetensors``, ``progress.json`` and ``training.pt``, the state to resume
            from.
        name: of the agent.
        resume: go on with the training in the folder; iterations may be more than before.
        overwrite: begin anew in a folder that is not empty.
        command: what a user would type to train it again; stored with the agent.
        report: called after every iteration.

    Returns:
        the agent, as it was written.

    Raises:
        ConfigError: a setting is unknown, out of its range, or contradicts another.
        AgentError: the training in the folder has other settings.
        StoreError: the folder is not empty, and it was not said what to do about it; or a file cannot be written.
        DataError: the family's data cannot be used.
        WorkerError: a worker process died twice; the finished iterations are kept.
    """
    settings, out = settings or AgentTraining(), Path(out)
    check_name(name, "the agent's name")
    family = check_training(settings)
    described = stored(settings, family)
    output = Output(out, (STATE, LOG, COST, f"{name}.json", f"{name}.safetensors"), STATE, before=(COST,))
    with output.writing(resume=resume, overwrite=overwrite):
        try:
            agent = _train(settings, family, described, output, command, report, overwrite=overwrite)
        except WorkerError as error:
            # Every iteration follows from the one before, so that another try goes on where this one was.
            logging.getLogger(__name__).warning("%s. Going on after the last finished iteration, once more.", error)
            agent = _train(settings, family, described, output, command, report, overwrite=False)
        agent.save(out / name)
    return agent


def _train(
    settings: AgentTraining,
    family: InstanceFamily,
    described: dict[str, Any],
    output: Output,
    command: str,
    report: Callable[[Progress], None] | None,
    *,
    overwrite: bool,
) -> Agent:
    """Trains in a folder that nobody else writes to."""
    make = partial(
        DetectorTrainingVectorEnv,
        settings.lanes,
        settings=dataclasses.replace(settings.environment, family=family),
        autoreset_mode="SameStep",
    )
    env = _Watched(FleetVecEnv(make, workers=settings.processes), settings.reward_scale)
    rounds, count = settings.budget.rounds, env.num_envs
    try:
        model = _learner(env, settings)
        if overwrite:
            output.clear()
        output.clear_unfinished()
        log = _resume(model, output.folder / STATE, described)
        if log:
            # A training that was killed between its two writes lacks the last iteration there.
            write_json(output.folder / LOG, [dataclasses.asdict(progress) for progress in log])
        if len(log) > settings.iterations:
            raise AgentError(
                f"{output.folder / STATE}: {len(log)} iterations are trained already, and {settings.iterations} were "
                f"asked for: give {len(log)} or more, or another --out"
            )
        ledger, watch = CostLedger(output.folder, finished=len(log)), _Watch(env.fleets, log)
        for iteration in range(len(log), settings.iterations):
            ledger.begin()
            _iterate(model, env, settings, iteration)
            log.append(watch.stamp(env.progress(iteration, count * rounds)))
            write_state(output.folder, model.policy, described, log)
            if report is not None:
                report(log[-1])
        env.begin()
        if isinstance(env.action_space, Box):
            ledger.begin()
        open_loop = _open_loop(model, env, settings)
        spent = watch.stamp(log[-1])
        return Agent.from_sb3(
            model,
            open_loop=open_loop,
            training={
                "command": command,
                "settings": described,
                "cost": {
                    # With what a killed training had to play again, and with the episodes of the mean actions.
                    "environment_steps": ledger.episodes * count * rounds,
                    "images": ledger.episodes * count * settings.budget.images,
                    "seconds": round(spent.seconds, 1),
                    "processor_seconds": None if spent.processor_seconds is None else round(spent.processor_seconds, 1),
                    "iterations": len(log),
                    "processes": settings.processes,
                },
                "first_return": log[0].episode_return,
                "last_return": log[-1].episode_return,
            },
        )
    finally:
        env.close()


class _Watched(VecEnvWrapper):
    """Scales the rewards for the learner and keeps what an iteration's report needs."""

    def __init__(self, venv: FleetVecEnv, scale: float) -> None:
        super().__init__(venv)
        self._scale = scale
        self.fleets = venv
        self.begin()

    def begin(self) -> None:
        """Forgets the last iteration."""
        self.actions: list[np.ndarray] = []
        self.returns = np.zeros(self.num_envs)
        self.tests: list[float] = []
        self.diverged = 0

    def reset(self) -> VecEnvObs:
        """Begins an episode in every lane."""
        return self.venv.reset()

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


class _Watch:
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


def _learner(env: _Watched, settings: AgentTraining) -> PPO:
    """Returns a fresh learner."""
    rounds, count = settings.budget.rounds, env.num_envs
    model = PPO(
        "MlpPolicy",
        env,
        n_steps=rounds,
        batch_size=max(2, rounds * count // settings.minibatches),
        n_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        gamma=1.0,
        gae_lambda=settings.gae_lambda,
        clip_range=settings.clip,
        policy_kwargs={"net_arch": list(settings.hidden), "log_std_init": settings.log_std},
        seed=settings.seed,
        device="cpu",
    )
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def _iterate(model: PPO, env: _Watched, settings: AgentTraining, iteration: int) -> None:
    """Plays one episode in every lane and updates the policy."""
    env.begin()
    env.seed(settings.seed + 1_000_003 * (iteration + 1))
    model._last_obs = None  # makes `learn` reset the environment with the seeds just given
    torch.manual_seed(settings.seed + 7919 * (iteration + 1))
    np.random.seed((settings.seed + 7919 * (iteration + 1)) % 2**32)  # noqa: NPY002 - the learner's minibatches
    model.learn(settings.budget.rounds * env.num_envs, reset_num_timesteps=False)


def _open_loop(model: PPO, env: _Watched, settings: AgentTraining) -> tuple[tuple[float, ...], ...]:
    """Plays one episode without exploration on instances of the training set and averages the actions.

    Choices have no mean, so there is nothing to replay.
    """
    if not isinstance(env.action_space, Box):
        return ()
    env.seed(settings.seed + 500_009)
    observations = env.reset()
    means = []
    for _ in range(settings.budget.rounds):
        actions, _ = model.predict(np.asarray(observations), deterministic=True)
        means.append(tuple(round(float(value), 6) for value in np.clip(actions, -1, 1).mean(0)))
        observations = env.step(actions)[0]
    return tuple(means)


def _resume(model: PPO, path: Path, described: dict[str, Any]) -> list[Progress]:
    """Takes up an earlier training; returns its iterations."""
    if not path.is_file():
        return []
    state = read_state(path, model.policy, described)
    model.policy.load_state_dict(state.policy)
    model.policy.optimizer.load_state_dict(state.optimizer)
    return list(state.log)
