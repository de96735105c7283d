"""Trains an agent, resumably, and writes it as numbers and JSON.

One iteration is one episode of every lane. All random numbers of an iteration follow from (seed, iteration), so a
training that was stopped goes on from its last iteration as if nothing had happened.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Box

from mapopt.agents.agent import Agent
from mapopt.agents.learning.cost import COST, CostLedger
from mapopt.agents.learning.learner import Learner, Sb3Learner
from mapopt.agents.learning.players import Players
from mapopt.agents.learning.progress import Progress
from mapopt.agents.learning.settings import AgentTraining, check_training, stored
from mapopt.agents.learning.state import LOG, REMEDY, STATE, TrainingState, read_state, write_state
from mapopt.agents.learning.watching import Watch, Watched
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
    env = Watched(FleetVecEnv(make, workers=settings.processes), settings.reward_scale)
    rounds, count = settings.budget.rounds, env.num_envs
    try:
        learner: Learner = Sb3Learner(env, settings)
        if overwrite:
            output.clear()
        output.clear_unfinished()
        log, planned = _resume(learner, output.folder / STATE, described, settings.iterations)
        if log:
            # A training that was killed between its two writes lacks the last iteration there.
            write_json(output.folder / LOG, [dataclasses.asdict(progress) for progress in log])
        if len(log) > settings.iterations:
            raise AgentError(
                f"{output.folder / STATE}: {len(log)} iterations are trained already, and {settings.iterations} were "
                f"asked for: give {len(log)} or more, or another --out"
            )
        ledger, watch = CostLedger(output.folder, finished=len(log)), Watch(env.fleets, log)
        for iteration in range(len(log), settings.iterations):
            ledger.begin()
            learner.iterate(iteration, planned=planned)
            log.append(watch.stamp(env.progress(iteration, count * rounds)))
            write_state(
                output.folder, TrainingState(learner=learner.state(), log=tuple(log), planned=planned), described
            )
            if report is not None:
                report(log[-1])
        env.begin()
        if isinstance(env.action_space, Box):
            ledger.begin()
        agent = learner.agent()
        open_loop = _open_loop(agent, env, settings)
        spent = watch.stamp(log[-1])
        return dataclasses.replace(
            agent,
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


def _open_loop(agent: Agent, env: Watched, settings: AgentTraining) -> tuple[tuple[float, ...], ...]:
    """Plays one episode without exploration on instances of the training set and averages the actions.

    Choices have no mean, so there is nothing to replay.
    """
    if not isinstance(env.action_space, Box):
        return ()
    env.seed(settings.seed + 500_009)
    players, means = Players(agent, env.num_envs), []
    observations = np.asarray(env.reset())
    for _ in range(settings.budget.rounds):
        actions = players.act(observations)
        means.append(tuple(round(float(value), 6) for value in actions.mean(0)))
        observations = np.asarray(env.step(actions)[0])
    return tuple(means)


def _resume(learner: Learner, path: Path, described: dict[str, Any], iterations: int) -> tuple[list[Progress], int]:
    """Takes up an earlier training; returns its iterations, and how many were planned when it began."""
    if not path.is_file():
        return [], iterations
    state = read_state(path, described)
    try:
        learner.restore(state.learner, str(path))
    except AgentError as error:
        raise AgentError(f"{error}. {REMEDY}") from None
    return list(state.log), state.planned
