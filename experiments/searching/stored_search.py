"""Takes what a search left in the store into an experiment, if it is what the experiment would search today."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mapopt.errors import StoreError
from mapopt.experiments.comparison.config import Experiment, filled
from mapopt.experiments.searching.ladders import asked_of
from mapopt.experiments.searching.searched_file import read_searched
from mapopt.experiments.searching.settings import Searched


def with_stored_search(experiment: Experiment, path: Path, *, lenders: Experiment) -> Experiment:
    """Returns an experiment with what a search of it chose, where it says nothing itself.

    Args:
        experiment: as it is asked for, with all of its tasks.
        path: of the file that the search wrote.
        lenders: the experiment as it is configured, whose methods may lend their settings.

    Raises:
        ConfigError: the file cannot be read.
        StoreError: what was searched is another method, space, budget or task than today's.
    """
    taken: dict[str, dict[str, Searched]] = {}
    wanted = {method.search.of or name for name, method in experiment.methods.items()}
    for task, by_method in read_searched(path).items():
        for name, outcome in by_method.items():
            holder = experiment if name in experiment.methods else lenders
            if task not in experiment.tasks or name not in wanted or name in experiment.searched.get(task, {}):
                continue
            # A method without a space has nothing to be searched, so what there was of it is another's.
            if name not in holder.methods or not holder.methods[name].search.space:
                continue
            if not _is_todays(holder, name, outcome.tasks or (task,), outcome.asked):
                raise StoreError(
                    f"{path}: what it has of method '{name}' on task '{task}' was searched with other settings, images "
                    "or another space than the experiment has now: run `mapopt search` again, or remove the file"
                )
            taken.setdefault(task, {})[name] = outcome
    return filled(experiment, taken, str(path))


def _is_todays(experiment: Experiment, method: str, tasks: Sequence[str], asked: str) -> bool:
    return not set(tasks) - set(experiment.tasks) and asked_of(experiment, method, tasks) == asked
