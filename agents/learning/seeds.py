"""Several trainings of the same agent, which differ by their seed: how much of a result is luck, and the best one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mapopt.agents.agent import Agent
from mapopt.agents.learning.progress import Progress
from mapopt.agents.learning.settings import AgentTraining, check_training, same_training, stored
from mapopt.agents.learning.training import train_agent
from mapopt.bounds import check_whole
from mapopt.files import write_json
from mapopt.output import Output
from mapopt.paths import check_name

SEEDS = "seeds.json"
"""Name of the file with the trainings' results."""


def train_agents(
    settings: AgentTraining | None = None,
    out: str | Path = "runs/agent",
    *,
    training_seeds: int = 3,
    name: str = "agent",
    resume: bool = False,
    overwrite: bool = False,
    report: Callable[[int, Progress], None] | None = None,
    **given: Any,
) -> Agent:
    """Trains an agent several times, and keeps the one that is best on held-out instances.

    Args:
        settings: of the first training; the others have the seeds after it.
        out: folder for ``NAME.json``, ``NAME.safetensors``, ``seeds.json``, and a folder ``seed-N`` for every training.
        training_seeds: how many trainings.
        name: of the agent.
        resume: go on with the trainings in the folder; what is finished is not trained again.
        overwrite: begin anew in a folder that is not empty.
        report: called with the seed and the iteration after every iteration.
        given: `command` and `log` of `train_agent`.

    Returns:
        the best agent, as it was written; its cost is that of all trainings.

    Raises:
        ConfigError: as `train_agent`, or there is no training.
        AgentError: as `train_agent`, as all other errors.
    """
    settings, out = settings or AgentTraining(), Path(out)
    check_whole("training_seeds", training_seeds, 1)
    check_name(name, "the agent's name")
    seeds = [settings.seed + number for number in range(training_seeds)]
    check_training(settings)
    files = (SEEDS, f"{name}.json", f"{name}.safetensors")
    folders = tuple(f"seed-{seed}/training.pt" for seed in seeds)
    output = Output(out, files, SEEDS, before=(*folders, *(f"seed-{seed}/cost.json" for seed in seeds)))
    with output.writing(resume=resume, overwrite=overwrite):
        agents = {}
        for seed in seeds:
            chosen, folder = replace(settings, seed=seed), out / f"seed-{seed}"

            def tell(progress: Progress, seed: int = seed) -> None:
                if report is not None:
                    report(seed, progress)

            agents[seed] = _finished(chosen, folder / f"{name}.json") if resume else None
            if agents[seed] is None:
                orders: dict[str, Any] = {"resume": resume, "overwrite": overwrite}
                agents[seed] = train_agent(chosen, folder, name=name, report=tell, **orders, **given)
        trained = {seed: agent for seed, agent in agents.items() if agent is not None}
        scores = {seed: score_of(agent) for seed, agent in trained.items()}
        best = max(scores, key=scores.__getitem__)
        spread = {
            "scores": {str(seed): score for seed, score in scores.items()},
            "best": best,
            "mean": float(np.mean(list(scores.values()))),
            "standard_deviation": float(np.std(list(scores.values()), ddof=1)) if len(scores) > 1 else None,
        }
        cost = {
            key: sum(agent.training["cost"][key] or 0 for agent in trained.values())
            for key in ("environment_steps", "images", "reference_runs", "seconds", "processor_seconds", "iterations")
        }
        processes = trained[best].training["cost"]["processes"]
        training = {**trained[best].training, "cost": {**cost, "processes": processes}, "seeds": spread}
        agent = replace(trained[best], training=training)
        agent.save(out / name)
        write_json(out / SEEDS, spread)
    return agent


def score_of(agent: Agent) -> float:
    """Returns what trainings are compared by: the return on held-out instances, or without these the last one."""
    kept = agent.training.get("kept")
    return float(agent.training["last_return"] if kept is None else kept["held_out_return"])


def _finished(settings: AgentTraining, path: Path) -> Agent | None:
    """Returns the agent of a training that is over; None where it has to be trained, or trained on."""
    if not path.is_file():
        return None
    agent = Agent.load(path)
    kept = agent.training["settings"]
    over = kept["iterations"] == settings.iterations and same_training(kept, stored(settings, settings.make_family()))
    return agent if over else None
