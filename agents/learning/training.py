"""Trains an agent, resumably, and writes it as numbers and JSON.

One iteration is one episode of every lane. All random numbers of an iteration follow from (seed, iteration), so a
training that was stopped goes on from its last iteration as if nothing had happened.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Box

from mapopt.agents.agent import Agent
from mapopt.agents.learning.circumstances import circumstances
from mapopt.agents.learning.cost import COST, CostLedger
from mapopt.agents.learning.held_out import Best, evaluate
from mapopt.agents.learning.learner import Learner, make_learner
from mapopt.agents.learning.logs import check_log, make_logger, record
from mapopt.agents.learning.players import Players
from mapopt.agents.learning.progress import Progress
from mapopt.agents.learning.references import REFERENCES, ReferenceRuns
from mapopt.agents.learning.settings import AgentTraining, check_training, stored
from mapopt.agents.learning.state import LOG, REMEDY, STATE, TrainingState, read_state, write_state
from mapopt.agents.learning.watching import Watch, Watched
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.sb3 import FleetVecEnv
from mapopt.errors import AgentError, WorkerError
from mapopt.files import write_json
from mapopt.output import Output
from mapopt.paths import check_name
from mapopt.trackers import FOLDER

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
    log: str = "none",
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
        log: "tensorboard" writes every iteration for TensorBoard, in a folder of that name.

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
    check_log(log)
    family = check_training(settings)
    described = stored(settings, family)
    files = (STATE, LOG, COST, REFERENCES, f"{FOLDER}/*", f"{name}.json", f"{name}.safetensors")
    output = Output(out, files, STATE, before=(COST, REFERENCES))
    job = _Job(settings=settings, family=family, described=described, output=output, report=report, log=log)
    with output.writing(resume=resume, overwrite=overwrite):
        try:
            agent = _train(job, overwrite=overwrite)
        except WorkerError as error:
            # Every iteration follows from the one before, so that another try goes on where this one was.
            logging.getLogger(__name__).warning("%s. Going on after the last finished iteration, once more.", error)
            agent = _train(job, overwrite=False)
        agent = dataclasses.replace(agent, training={"command": command, **agent.training})
        agent.save(out / name)
    return agent


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What is to be trained, and where."""

    settings: AgentTraining
    family: InstanceFamily
    described: dict[str, Any]
    output: Output
    report: Callable[[Progress], None] | None
    log: str

    @property
    def held_out(self) -> int:
        """How many instances policies are evaluated on; 0 where nobody asks how good they are."""
        return self.settings.held_out_of(self.family) if self.settings.evaluate_every else 0

    def make_env(self) -> Watched:
        """Makes the lanes of all processes."""
        settings, held_out = self.settings, self.settings.held_out_of(self.family)
        chosen = dataclasses.replace(settings.environment, family=self.family, held_out=held_out)
        make = partial(
            DetectorTrainingVectorEnv,
            settings.lanes,
            settings=chosen,
            autoreset_mode="SameStep",
            stagger=settings.stagger,
        )
        return Watched(FleetVecEnv(make, workers=settings.processes), settings.reward_scale)


def _train(job: _Job, *, overwrite: bool) -> Agent:
    """Trains in a folder that nobody else writes to."""
    env, settings, output = job.make_env(), job.settings, job.output
    try:
        logger = make_logger(job.log, output.folder)
        learner = make_learner(env, settings, logger)
        if overwrite:
            output.clear()
        output.clear_unfinished()
        state = _resume(learner, job)
        log, best = list(state.log), state.best
        ledger, watch = CostLedger(output.folder, finished=len(log)), Watch(env.fleets, log)
        references = ReferenceRuns(output.folder, job.described, ledger)
        references.begin(env.fleets)
        env.at_reset = partial(references.play, env.fleets)
        for iteration in range(len(log), settings.iterations):
            ledger.begin()
            learner.iterate(iteration, planned=state.planned)
            references.collect(env.fleets)
            agent = learner.agent()
            progress = env.progress(iteration, env.num_envs * settings.budget.rounds)
            progress = dataclasses.replace(progress, policy=agent.fingerprint)
            if job.held_out and (iteration + 1) % settings.evaluate_every == 0:
                progress = dataclasses.replace(progress, held_out=_evaluate(agent, env, job, ledger))
                best = _better(best, agent, progress)
            log.append(watch.stamp(progress))
            write_state(
                output.folder,
                TrainingState(learner=learner.state(), log=tuple(log), planned=state.planned, best=best),
                job.described,
            )
            record(logger, log[-1])
            if job.report is not None:
                job.report(log[-1])
        agent = learner.agent()
        if job.held_out:
            # The last policy counts whether or not it was its turn; what a resumed training goes on from does not know.
            last = log[-1]
            if last.held_out is None:
                last = dataclasses.replace(last, held_out=_evaluate(agent, env, job, ledger))
            best = _better(best, agent, last)
            agent = best.put_into(agent, str(output.folder / STATE))
        if isinstance(env.action_space, Box):
            ledger.begin()
        open_loop = _open_loop(agent, env, settings)
        training = _described(job, log, best, ledger, watch.stamp(log[-1]))
        return dataclasses.replace(agent, open_loop=open_loop, training=training)
    finally:
        env.close()


def _evaluate(agent: Agent, env: Watched, job: _Job, ledger: CostLedger) -> float:
    """Returns the mean return of a policy on the held-out instances, and counts what it costs."""
    ledger.begin()
    return evaluate(agent, env, first=job.family.count - job.held_out, count=job.held_out)


def _better(best: Best | None, agent: Agent, progress: Progress) -> Best:
    """Returns the better policy of two; of equal ones the earlier."""
    score = progress.held_out or 0.0
    if best is not None and best.score >= score:
        return best
    return Best.of(agent, iteration=progress.iteration, score=score)


def _described(
    job: _Job, log: Sequence[Progress], best: Best | None, ledger: CostLedger, spent: Progress
) -> dict[str, Any]:
    """Returns what an agent's file says of its training, but for the command."""
    settings, lanes = job.settings, job.settings.processes * job.settings.lanes
    kept = {} if best is None else {"kept": {"iteration": best.iteration + 1, "held_out_return": best.score}}
    # Whoever trains it again sees after a tenth of the training whether it becomes the same agent.
    first = [progress.policy for progress in log[: -(-len(log) // 10)]]
    return {
        "settings": job.described,
        "cost": {
            # With what a killed training had to play again, with evaluations and the episodes of the mean actions.
            "environment_steps": ledger.episodes * lanes * settings.budget.rounds,
            "images": (ledger.episodes * lanes + ledger.references) * settings.budget.images,
            "reference_runs": ledger.references,
            "seconds": round(spent.seconds, 1),
            "processor_seconds": None if spent.processor_seconds is None else round(spent.processor_seconds, 1),
            "iterations": len(log),
            "processes": settings.processes,
        },
        **({"checkpoints": first, "circumstances": circumstances()} if all(first) else {}),
        "first_return": log[0].episode_return,
        "last_return": log[-1].episode_return,
        **kept,
    }


def _open_loop(agent: Agent, env: Watched, settings: AgentTraining) -> tuple[tuple[float, ...], ...]:
    """Plays one episode without exploration on instances of the training set and averages the actions.

    Choices have no mean, so there is nothing to replay.
    """
    if not isinstance(env.action_space, Box):
        return ()
    env.begin()
    env.seed(settings.seed + 500_009)
    env.fleets.set_options({"stagger": False} if settings.stagger else None)
    players, means = Players(agent, env.num_envs), []
    observations = np.asarray(env.reset())
    for _ in range(settings.budget.rounds):
        actions = players.act(observations)
        means.append(tuple(round(float(value), 6) for value in actions.mean(0)))
        observations = np.asarray(env.step(actions)[0])
    return tuple(means)


def _resume(learner: Learner, job: _Job) -> TrainingState:
    """Takes up an earlier training; returns what it goes on from."""
    path, iterations = job.output.folder / STATE, job.settings.iterations
    if not path.is_file():
        return TrainingState(learner=learner.state(), log=(), planned=iterations)
    state = read_state(path, job.described)
    try:
        learner.restore(state.learner, str(path))
        if state.best is not None:
            state.best.put_into(learner.agent(), str(path))
    except AgentError as error:
        raise AgentError(f"{error}. {REMEDY}") from None
    done = len(state.log)
    if done > iterations:
        raise AgentError(
            f"{path}: {done} iterations are trained already, and {iterations} were asked for: give {done} or more, or "
            "another --out"
        )
    # A training that was killed between its two writes lacks the last iteration there.
    write_json(job.output.folder / LOG, [dataclasses.asdict(progress) for progress in state.log])
    return state
