"""What a comparison compares, as a file or as values: tasks, methods, seeds and a budget that is the same for all.

It also keeps what each method's settings were chosen from and what choosing them cost, because a method that was
searched for longer has spent more than its training.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mapopt.errors import ConfigError, unknown_name
from mapopt.experiments.comparison.controllers import ControllerConfig
from mapopt.experiments.comparison.task_config import TaskConfig
from mapopt.experiments.searching.candidates import check_search, with_changes
from mapopt.experiments.searching.changes import Changes
from mapopt.experiments.searching.searched_file import path_beside, read_searched
from mapopt.experiments.searching.settings import SearchConfig, Searched
from mapopt.former_names import translate
from mapopt.paths import check_name
from mapopt.registry import is_text
from mapopt.settings import from_mapping, load_settings
from mapopt.training import Budget, Knobs, Recipe
from mapopt.training.controllers.base import with_rate

SEARCH_SEEDS = 1000
"""Searches use the seeds from here on, comparisons those below: no setting is chosen on a seed it is tested on."""

CONFIGS = Path(__file__).parents[1] / "configs"
"""Where the shipped experiments are."""


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """One way to train."""

    label: str = ""
    """What tables and figures call it; empty for its name."""
    recipe: Recipe = field(default_factory=Recipe)
    knobs: dict[str, float] = field(default_factory=dict)
    """What differs from the default knobs; what a search chose goes before."""
    controller: ControllerConfig = field(default_factory=ControllerConfig)
    search: SearchConfig = field(default_factory=SearchConfig)

    @classmethod
    def of(
        cls,
        *,
        recipe: Recipe | None = None,
        controller: Any = "schedule",
        knobs: Mapping[str, float] | None = None,
        label: str = "",
        search: SearchConfig | None = None,
    ) -> MethodConfig:
        """Returns a method with a controller that is given in any way that `ControllerConfig.of` takes.

        >>> from mapopt.training.controllers.reactive import Plateau
        >>> MethodConfig.of(controller=Plateau(rounds=3)).controller.plateau.rounds
        3
        """
        return cls(
            label=label,
            recipe=recipe or Recipe(),
            knobs=dict(knobs or {}),
            controller=ControllerConfig.of(controller),
            search=search or SearchConfig(),
        )


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A comparison."""

    name: str
    budget: Budget
    tasks: dict[str, TaskConfig]
    methods: dict[str, MethodConfig]
    reference: str = "baseline"
    """The method the others are compared with."""
    seeds: int = 16
    lanes: int = 8
    """Seeds trained together."""
    select: Literal["best", "last"] = "best"
    """Which weights are tested: those of the round with the best val AP, or the last."""
    searched: dict[str, dict[str, Searched]] = field(default_factory=dict)
    """Task -> method -> the outcome of its search, as `mapopt search` writes it."""

    def __post_init__(self) -> None:
        if not self.tasks or not self.methods:
            raise ConfigError(f"experiment '{self.name}' has no tasks or no methods: give at least one of each")
        if self.reference not in self.methods:
            raise ConfigError(unknown_name("reference method", self.reference, self.methods))
        if self.seeds < 1 or self.lanes < 1:
            raise ConfigError(f"seeds is {self.seeds} and lanes {self.lanes}: expected 1 or more")
        if self.seeds > SEARCH_SEEDS:
            raise ConfigError(f"seeds is {self.seeds}: expected at most {SEARCH_SEEDS}, where those of searches begin")
        check_name(self.name, "the experiment's name")
        for kind, names in (("task", self.tasks), ("method", self.methods)):
            for name in names:
                check_name(name, f"a {kind}'s name")
        for task in self.tasks:
            for name in self.methods:
                self.budget_of(task).check(self._on(task, self.methods[name], f"method '{name}'").recipe.batch_size)

    def only(self, methods: Sequence[str] = (), tasks: Sequence[str] = ()) -> Experiment:
        """Returns the experiment with some of its methods and of its tasks; all of them where none is named."""
        check_methods(methods, self.methods)
        for name in tasks:
            if name not in self.tasks:
                raise ConfigError(unknown_name("task", name, self.tasks))
        kept = {name: self.methods[name] for name in self.methods if not methods or name in methods}
        chosen = self.with_methods(kept, methods[0] if methods else self.reference)
        return replace(
            chosen,
            tasks={name: task for name, task in self.tasks.items() if not tasks or name in tasks},
            searched={name: outcomes for name, outcomes in chosen.searched.items() if not tasks or name in tasks},
        )

    def with_methods(self, methods: Mapping[str, MethodConfig], reference: str) -> Experiment:
        """Returns the experiment with other methods, and with what was searched for them.

        Args:
            methods: by name.
            reference: the method the others are compared with, if the experiment's own is not among them.
        """
        needed = {*methods, *(method.search.of for method in methods.values())}
        return replace(
            self,
            methods=dict(methods),
            reference=self.reference if self.reference in methods else reference,
            searched={
                task: {name: outcome for name, outcome in outcomes.items() if name in needed}
                for task, outcomes in self.searched.items()
            },
        )

    def with_data(self, data: str) -> Experiment:
        """Returns the experiment on other images: a folder, or one that holds the tasks' own folders."""

        def of(task: TaskConfig) -> str:
            inside = Path(data) / task.data if task.data is not None and not is_text(task.data) else None
            return str(inside) if inside is not None and inside.is_dir() else data

        return replace(self, tasks={name: replace(task, data=of(task)) for name, task in self.tasks.items()})

    def label(self, method: str) -> str:
        """Returns what tables and figures call a method."""
        return self.methods[method].label or method

    def chosen(self, task: str, method: str) -> MethodConfig:
        """Returns a method as it is trained on a task: its own settings, and in their place what its search chose.

        Raises:
            ConfigError: what the search chose makes no method, or a round is no whole number of steps of its batch.
        """
        config, outcome = self.methods[method], self.outcome(task, method)
        if outcome is None:
            return self._on(task, config, f"method '{method}'")
        # A borrower's controller is what makes it another method.
        controller = {} if config.search.of is not None else outcome.controller
        changes = Changes(knobs=outcome.knobs, recipe=outcome.recipe, controller=controller)
        where = f"what was searched for method '{method}' on '{task}'"
        chosen = self._on(task, with_changes(config, changes, where), where)
        self.budget_of(task).check(chosen.recipe.batch_size)
        return chosen

    def budget_of(self, task: str) -> Budget:
        """Returns the budget of a run on a task."""
        return self.tasks[task].budget_of(self.budget)

    def _on(self, task: str, method: MethodConfig, where: str) -> MethodConfig:
        """Returns a method with the recipe and the knobs of a task where it leaves the default."""
        given = self.tasks[task]
        if not given.recipe and not given.knobs:
            return method
        recipe = given.recipe_of(method.recipe, f"{where} on task '{task}'")
        return replace(method, recipe=recipe, knobs=given.knobs_of(method.knobs))

    def knobs(self, task: str, method: str) -> Knobs:
        """Returns a method's knobs on a task."""
        chosen = self.chosen(task, method)
        settled = chosen.recipe.settle(Knobs.from_dict(chosen.knobs, chosen.recipe.ranges()))
        return with_rate(settled, chosen.controller.lr_factor)

    def outcome(self, task: str, method: str) -> Searched | None:
        """Returns what the search chose whose settings a method has on a task; None where nothing was searched."""
        return self.searched.get(task, {}).get(self.methods[method].search.of or method)


def check_methods(names: Iterable[str], known: Collection[str]) -> None:
    """Checks that an experiment has some methods.

    Raises:
        ConfigError: it lacks one; of one that a shipped experiment has it is said how to come by it.
    """
    for name in names:
        if name in known:
            continue
        for other in sorted(shipped(), key=lambda stem: stem != "default"):
            if name in load_settings(CONFIGS / f"{other}.yaml").get("methods", {}):
                raise ConfigError(
                    f"method '{name}' is not among those of this experiment ({', '.join(known) or 'it has none'}), but "
                    f"of the shipped '{other}': copy it from there, or give methods as a mapping with "
                    f"'{name}': load_experiment('{other}').methods['{name}']"
                )
        raise ConfigError(unknown_name("method", name, known))


def load_experiment(config: str | Path | Mapping[str, Any] | Experiment) -> Experiment:
    """Reads an experiment.

    Args:
        config: a YAML file, the name of a shipped experiment, what such a file holds, or an experiment itself.

    Raises:
        ConfigError: there is no such file, a key is unknown, or a value is of the wrong type or out of range.
    """
    if isinstance(config, Experiment):
        return config
    if isinstance(config, Mapping):
        return _read(config, "config")
    if not isinstance(config, str | Path):
        kind = type(config).__name__
        raise ConfigError(f"config is of type {kind}: expected a file, a name, a mapping or an Experiment")
    path = config_path(config)
    experiment = _read(load_settings(path), str(path))
    beside = path_beside(path)
    return filled(experiment, read_searched(beside), str(beside)) if beside.is_file() else experiment


def config_path(config: str | Path) -> Path:
    """Returns where the configuration of an experiment is.

    Args:
        config: a file, or the name of a shipped experiment.

    Raises:
        ConfigError: there is no such file.
    """
    path = CONFIGS / f"{config}.yaml" if str(config) in shipped() and not Path(config).is_file() else Path(config)
    if not path.is_file():
        raise ConfigError(f"{config}: no such file; give a configuration file, or one of {', '.join(shipped())}")
    return path


def shipped() -> list[str]:
    """Returns the names of the experiments that come with mapopt."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml") if "." not in path.stem)


def filled(experiment: Experiment, choices: Mapping[str, Mapping[str, Searched]], where: str) -> Experiment:
    """Returns an experiment with what a search found, where the experiment itself says nothing of it.

    Args:
        experiment: its own section ``searched`` goes before.
        choices: task -> method -> what was chosen; tasks and methods that the experiment does not have are left out.
        where: what messages call the source.

    Raises:
        ConfigError: what was chosen makes no method.
    """
    wanted = {*experiment.methods, *(method.search.of for method in experiment.methods.values())}
    searched = {
        task: {name: outcome for name, outcome in choices.get(task, {}).items() if name in wanted}
        | experiment.searched.get(task, {})
        for task in experiment.tasks
    }
    changed = replace(experiment, searched={task: outcomes for task, outcomes in searched.items() if outcomes})
    try:
        _check_searches(changed)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return changed


def _read(content: Any, where: str) -> Experiment:
    experiment: Experiment = from_mapping(Experiment, translate(content, "experiment"), where)
    _check_searches(experiment)
    for name, method in experiment.methods.items():
        try:
            check_search(method, method.search)
        except ConfigError as error:
            raise ConfigError(f"{where}: method '{name}': {error}") from None
    return experiment


def _check_searches(experiment: Experiment) -> None:
    """Names what is misspelt in the settings and in the outcomes of searches."""
    lenders = {method.search.of for method in experiment.methods.values() if method.search.of is not None}
    outcomes = {name for by_method in experiment.searched.values() for name in by_method}
    for task, by_method in experiment.searched.items():
        if task not in experiment.tasks:
            raise ConfigError(unknown_name("task under 'searched'", task, experiment.tasks))
        for name in by_method:
            if name not in experiment.methods and name not in lenders:
                raise ConfigError(unknown_name(f"method under 'searched: {task}'", name, experiment.methods))
    for name, method in experiment.methods.items():
        if method.controller.kind == "schedule":
            method.controller.schedule.check_knobs(method.recipe.ranges())
        # A method that is left out may still lend what was searched for it.
        if method.search.of is not None and method.search.of not in {*experiment.methods, *outcomes}:
            raise ConfigError(unknown_name("method to take the search from", method.search.of, experiment.methods))
        for task in experiment.tasks:
            experiment.knobs(task, name)
