"""Searches methods' settings, from Python as from the command, and leaves them where the comparison reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack

from mapopt.bounds import check_seed
from mapopt.errors import ConfigError
from mapopt.experiments.comparison.config import Experiment, config_path
from mapopt.experiments.comparison.options import (
    Config,
    Methods,
    Options,
    device_of,
    make_experiment,
)
from mapopt.experiments.searching.climbing import Report, SearchEnd, climb_all
from mapopt.experiments.searching.ladders import ladders_of
from mapopt.experiments.searching.outcome import SearchOutcome
from mapopt.experiments.searching.runs import FOLDER
from mapopt.experiments.searching.searched_file import NAME, path_beside, write_searched
from mapopt.experiments.searching.settings import Searched
from mapopt.experiments.searching.studies import NAME as STUDIES
from mapopt.experiments.searching.studies import check_studies, write_studies
from mapopt.locks import lock_folder
from mapopt.wording import speaks_python


@speaks_python
def search(
    config: Config = "default",
    *,
    methods: Methods = (),
    out: str | Path = "runs",
    seed: int = 0,
    beside_config: bool = False,
    studies: bool = False,
    **options: Unpack[Options],
) -> list[SearchOutcome]:
    """Searches the settings of every method that has a space, by val AP, on seeds that no comparison uses.

    Every run is kept in ``OUT/EXPERIMENT/searches`` the moment it is there, so a search that was stopped goes on with
    the others. What was chosen is written into ``OUT/EXPERIMENT/searched.yaml``, where `compare` reads it. A script
    that takes more than one worker calls this below ``if __name__ == "__main__":``.

    Args:
        config: the experiment; what it says of earlier searches has no influence.
        methods: as for `compare`.
        out: the store.
        seed: of the settings that strategies draw.
        beside_config: write what was chosen beside the configuration's file, too, as ``NAME.searched.yaml``, which is
            read with it from then on.
        studies: write all searches as studies of Optuna, too, into ``OUT/EXPERIMENT/studies.db``.
        options: as for `compare`; `progress` is called with a `SearchPlan`, `SearchProgress`, rungs, outcomes and a
            `SearchEnd`.

    Returns:
        one outcome per method and task, or per method where its search is over all tasks.

    Raises:
        ConfigError: no method has a space, a setting of it makes no method, or studies are wanted without Optuna.
        StoreError: a kept run cannot be read, or other code made some.

    Example:
        ``search("mine.yaml", methods=["baseline"], workers=2)[0].best.setting``
    """
    check_seed(seed)
    if studies:
        check_studies()
    experiment = make_experiment(config, methods, options)
    paths = [Path(out) / experiment.name / NAME, *([_beside(config)] if beside_config else [])]
    ladders = ladders_of(experiment, seed=seed, device=device_of(options))
    with lock_folder(paths[0].parent), _listening(options) as report:
        outcomes = climb_all(ladders, paths[0].parent / FOLDER, options, report)
        chosen = _sections((task, each.method, each.searched(task)) for each in outcomes for task in each.tasks)
        best_of_each = _sections(
            (task, each.method, each.searched(task, each.best_on(task)))
            for each in outcomes
            for task in each.tasks
            if len(each.tasks) > 1
        )
        name = config if isinstance(config, str | Path) else experiment.name
        for path in paths:
            write_searched(path, chosen, best_of_each, command=f"mapopt search --config {name}")
        if studies:
            paths.append(write_studies(paths[0].parent / STUDIES, ladders, outcomes))
        report(SearchEnd(paths=tuple(paths), unread=_unread(make_experiment(config, methods, options), chosen)))
    return outcomes


def _sections(choices: Iterator[tuple[str, str, Searched]]) -> dict[str, dict[str, Searched]]:
    sections: dict[str, dict[str, Searched]] = {}
    for task, method, searched in choices:
        sections.setdefault(task, {})[method] = searched
    return sections


def _unread(experiment: Experiment, chosen: Mapping[str, Mapping[str, Searched]]) -> tuple[str, ...]:
    """Returns the methods for which a configuration, as it is now, has other settings than those that were chosen."""
    return tuple(
        dict.fromkeys(
            method
            for task, by_method in chosen.items()
            for method, searched in by_method.items()
            if experiment.searched.get(task, {}).get(method, searched) != searched
        )
    )


def _beside(config: Config) -> Path:
    if not isinstance(config, str | Path):
        raise ConfigError(
            f"beside_config is for a configuration in a file, and config is of type {type(config).__name__}: leave it "
            "out, or give a file"
        )
    return path_beside(config_path(config))


@contextmanager
def _listening(options: Options) -> Iterator[Report]:
    """Yields what is to be called with whatever there is to report."""
    listeners: list[Report] = []
    progress = options.get("progress")
    if progress is not None:
        listeners.append(progress)

    def report(event: Any) -> None:
        for listener in listeners:
            listener(event)

    if options.get("report"):
        from mapopt.experiments.reporting.searches import SearchTerminal

        with SearchTerminal() as shown:
            listeners.append(shown)
            yield report
    else:
        yield report
