"""What `compare`, `plot` and `search` take beside the experiment, and the experiment that comes of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from mapopt.bounds import WORKERS
from mapopt.devices import choose_device
from mapopt.errors import ConfigError, unknown_name
from mapopt.experiments.comparison.config import Experiment, MethodConfig, check_methods, load_experiment
from mapopt.experiments.comparison.controllers import ControllerConfig
from mapopt.experiments.searching.candidates import check_search
from mapopt.experiments.searching.searched_file import NAME
from mapopt.experiments.searching.settings import SearchConfig
from mapopt.registry import text_of
from mapopt.settings import from_mapping
from mapopt.training import Recipe

Config = str | Path | Mapping[str, Any] | Experiment
"""An experiment: a YAML file, the name of a shipped one, what such a file holds, or the experiment itself."""

Methods = Sequence[str] | Mapping[str, Any]
"""Names of an experiment's methods, or methods by name; see `compare`."""


class Options(TypedDict, total=False):
    """What every function about an experiment takes by keyword, in the words of the commands' flags."""

    tasks: Sequence[str]
    """Only these tasks."""
    data: str | Path | Callable[[], Any] | None
    """Images that are used instead of the tasks' own: a folder, or a function that returns splits or data sets, which
    every worker calls; or module:attribute of such a function."""
    seeds: int | None
    """Seeds per method, instead of the experiment's."""
    agent: str | Path | None
    """An agent that is compared, too: a name in the zoo or a path."""
    reference: str | None
    """The method the others are compared with, instead of the experiment's."""
    accept_stored: bool
    """Count stored runs that other code made: another version of mapopt or torch, or another kind of device."""
    redo: bool
    """Train such runs again."""
    workers: int
    """Processes; 0 takes one per core, and one on a GPU. One works in this process."""
    device: str
    """cpu, cuda, cuda:N, or auto, which takes a GPU if there is one."""
    progress: Callable[[Any], None] | None
    """Is called with what is reported meanwhile: a `Plan`, then a `Progress` at a time."""
    report: bool
    """Print as the command does, and draw the figures."""


def make_experiment(config: Config, methods: Methods, options: Options, *, out: str | Path | None = None) -> Experiment:
    """Returns the experiment as the options have it.

    Args:
        config: the experiment.
        methods: names, or methods by name; see `compare`.
        options: what else is asked for.
        out: the store whose searches chose what the experiment says nothing of; None takes the experiment as it is.

    Raises:
        ConfigError: an option, a method or a task is unknown, or an experiment's file is wrong.
        StoreError: the store's search was one for other settings, images or spaces.
    """
    for name in options:
        if name not in Options.__annotations__:
            raise ConfigError(unknown_name("option", name, Options.__annotations__))
    if isinstance(config, Mapping) and not isinstance(methods, Mapping | str):
        defined = config.get("methods") or {}
        check_methods(methods if isinstance(defined, Mapping) else (), defined)
    experiment = configured = load_experiment(_with_places(config, methods))
    data, agent = options.get("data"), options.get("agent")
    reference, seeds = options.get("reference"), options.get("seeds")
    if data is not None:
        experiment = configured = configured.with_data(_name_of_data(data))
    if isinstance(methods, Mapping):
        experiment = _with_methods(experiment, methods)
        methods = ()
    elif isinstance(methods, str):
        raise ConfigError(f"methods is '{methods}': expected a list of names, such as ['{methods}']")
    stored = None if out is None else Path(out) / experiment.name / NAME
    if stored is not None and stored.is_file():
        from mapopt.experiments.searching.stored_search import with_stored_search

        experiment = with_stored_search(experiment, stored, lenders=configured)
    experiment = experiment.only(methods, options.get("tasks", ()))
    if agent is not None:
        experiment = _with_agent(experiment, str(agent))
    return replace(
        experiment,
        reference=experiment.reference if reference is None else reference,
        seeds=experiment.seeds if seeds is None else seeds,
    )


def device_of(options: Options) -> str:
    """Returns the device that the options ask for."""
    return str(choose_device(options.get("device", "auto")))


def workers_of(options: Options) -> int:
    """Returns how many processes the options ask for.

    Raises:
        ConfigError: it is no number of processes.
    """
    workers = options.get("workers", 0)
    if not 0 <= workers <= WORKERS:
        raise ConfigError(f"workers is {workers}: expected up to {WORKERS} processes, or 0 for one per core")
    if workers:
        return workers
    return 1 if device_of(options).startswith("cuda") else max(1, len(os.sched_getaffinity(0)))


def about_stored(options: Options) -> dict[str, bool]:
    """Returns what the options say of runs that other code made."""
    return {"accept_stored": options.get("accept_stored", False), "redo": options.get("redo", False)}


def _with_places(config: Config, methods: Methods) -> Config:
    """Returns an experiment given as a mapping with places for methods that are given beside it."""
    if not isinstance(config, Mapping) or not isinstance(methods, Mapping) or config.get("methods"):
        return config
    return {"reference": next(iter(methods), "baseline"), **config, "methods": {str(name): {} for name in methods}}


def make_method(given: Any, name: str) -> MethodConfig:
    """Returns a method.

    Args:
        given: a method, a recipe, a mapping as in a file, or a controller in any way that `ControllerConfig.of` takes.
        name: what messages call it.
    """
    if isinstance(given, MethodConfig):
        return given
    if isinstance(given, Recipe):
        return MethodConfig(recipe=given)
    if isinstance(given, Mapping):
        method: MethodConfig = from_mapping(MethodConfig, given, f"method '{name}'")
        return method
    return MethodConfig.of(controller=given)


def _name_of_data(data: Any) -> str:
    if isinstance(data, str | Path):
        return str(data)
    if not callable(data):
        raise ConfigError(
            f"data is of type {type(data).__name__}: expected a folder, or a function that returns splits or data "
            "sets, for worker processes make them anew"
        )
    return text_of(data, "data")


def _with_methods(experiment: Experiment, methods: Mapping[str, Any]) -> Experiment:
    """Returns the experiment with these methods only; what is None is the experiment's own of that name."""
    if not methods:
        raise ConfigError("methods is empty: give at least one method by its name")
    chosen = {}
    for name, given in methods.items():
        if given is None:
            check_methods([name], experiment.methods)
        chosen[name] = experiment.methods[name] if given is None else make_method(given, name)
        if given is not None:
            check_search(chosen[name], chosen[name].search)
    return experiment.with_methods(chosen, next(iter(chosen)))


def _with_agent(experiment: Experiment, agent: str) -> Experiment:
    """Returns the experiment with one more method: the agent, on what the reference method trains."""
    stem = Path(agent).stem
    name = next(name for name in ("agent", stem, f"agent-{stem}") if name not in experiment.methods)
    base = experiment.methods[experiment.reference]
    method = replace(
        base,
        label=stem if "agent" in stem else f"agent {stem}",
        controller=ControllerConfig(kind="agent", agent=agent),
        search=SearchConfig(of=base.search.of or experiment.reference),
    )
    return replace(experiment, methods={**experiment.methods, name: method})
