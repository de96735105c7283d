"""Searches as studies of Optuna in one SQLite file, which its dashboard and its plots open.

It is written from the outcomes, once a search is over: what a search does never depends on it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mapopt.agents.search.optuna_trials import load_optuna, parameters_of, quiet_optuna
from mapopt.errors import StoreError
from mapopt.experiments.searching.ladders import Ladder
from mapopt.experiments.searching.outcome import SearchOutcome, Tried

NAME = "studies.db"


def check_studies() -> None:
    """Raises ConfigError where Optuna is not installed."""
    load_optuna("--studies")


def write_studies(path: Path, ladders: Sequence[Ladder], outcomes: Sequence[SearchOutcome]) -> Path:
    """Writes every search as a study: a trial for every setting, an intermediate value for every rung it reached.

    A value is the mean val AP over tasks and seeds. Settings that did not reach the last rung are pruned trials; what
    they had on each task is among a trial's attributes.

    Args:
        path: of the file, which is replaced as a whole.
        ladders: the searches.
        outcomes: what came of each.

    Returns:
        the path.

    Raises:
        ConfigError: Optuna is not installed.
        StoreError: the file cannot be written.
    """
    optuna = load_optuna("--studies")
    new = path.with_name(f".{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        with quiet_optuna():
            storage = optuna.storages.RDBStorage(f"sqlite:///{new}")
            for ladder, outcome in zip(ladders, outcomes, strict=True):
                name = f"{outcome.method} on {', '.join(outcome.tasks)}"
                study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
                study.set_user_attr("experiment", ladder.experiment.name)
                study.set_user_attr("images", outcome.images)
                study.add_trials(_trials(optuna, ladder, outcome))
            storage.engine.dispose()
        os.replace(new, path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror}): give another --out") from None
    finally:
        new.unlink(missing_ok=True)
    return path


def _trials(optuna: Any, ladder: Ladder, outcome: SearchOutcome) -> list[Any]:
    space = ladder.config.search.read_space(ladder.config.recipe.ranges())
    reached: list[tuple[dict[str, Any], list[Tried]]] = [(tried.setting, []) for tried in outcome.rungs[0].tried]
    for rung in outcome.rungs:
        for tried in rung.tried:
            next(climbed for setting, climbed in reached if setting == tried.setting).append(tried)
    trials = []
    for setting, climbed in reached:
        parameters, distributions = parameters_of(space, setting)
        values = [_mean(tried) for tried in climbed]
        complete = len(climbed) == len(outcome.rungs)
        trials.append(
            optuna.trial.create_trial(
                params=parameters,
                distributions=distributions,
                value=values[-1] if complete else None,
                state=optuna.trial.TrialState.COMPLETE if complete else optuna.trial.TrialState.PRUNED,
                intermediate_values=dict(enumerate(values, start=1)),
                user_attrs={
                    "score": climbed[-1].score,
                    "diverged": climbed[-1].diverged,
                    **{f"val AP on {task}": climbed[-1].mean(task) for task in outcome.tasks},
                },
            )
        )
    return trials


def _mean(tried: Tried) -> float:
    return float(np.mean([tried.mean(task) for task in tried.val_ap]))
