"""What a comparison compares, as a file: tasks, methods, seeds and a budget that is the same for all.

The file also keeps what each method's settings were chosen from and what choosing them cost, because a method that was
searched for longer has spent more than its training.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from mapopt.agents.agent import Agent
from mapopt.agents.policy import OpenLoopController, PolicyController
from mapopt.data import ShapesConfig, Splits, load_splits, make_shapes_splits
from mapopt.errors import ConfigError, unknown_name
from mapopt.former_names import translate
from mapopt.settings import from_mapping, load_yaml, to_mapping
from mapopt.training.budget import Budget
from mapopt.training.controllers.base import Controller
from mapopt.training.controllers.fixed import Constant, Schedule
from mapopt.training.controllers.reactive import Patience, Plateau
from mapopt.training.knobs import Knobs, ranges
from mapopt.training.recipe import Recipe
from mapopt.training.task import Task

SEARCH_SEEDS = 1000
"""Searches use the seeds from here on, comparisons those below: no setting is chosen on a seed it is judged on."""

CONFIGS = Path(__file__).parents[1] / "configs"

_STORED = 1
"""Part of every run's key; goes up when a change in the code changes runs' numbers."""


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """The data of one task."""

    data: str | None = None
    """A folder of real images; without one, procedural shapes."""
    scenes: ShapesConfig = field(default_factory=ShapesConfig)
    """The dials of the shapes."""
    images: tuple[int, int, int] = (512, 128, 512)
    """Train, tune and test images of the shapes; every seed draws its own."""
    size: tuple[int, int] = (48, 48)
    """(height, width) real images are scaled to."""
    invalid: Literal["error", "clip", "drop"] = "error"
    """What to do with boxes outside their image or without area."""


@dataclass(frozen=True, kw_only=True)
class ControllerConfig:
    """Which controller decides a method's knobs, with its settings."""

    kind: Literal["constant", "schedule", "plateau", "agent", "replay"] = "schedule"
    schedule: Schedule = field(default_factory=Schedule)
    plateau: Plateau = field(default_factory=Plateau)
    agent: str = "ppo-shapes"
    """The agent that "agent" runs and "replay" repeats blindly: a name in the zoo or a path."""
    patience: int = 0
    """Rounds without a better tune AP after which a run stops; 0 never stops."""

    def make(self) -> Controller:
        """Returns the controller."""
        controller: Controller
        if self.kind == "agent":
            controller = PolicyController(Agent.load(self.agent))
        elif self.kind == "replay":
            controller = OpenLoopController(Agent.load(self.agent))
        else:
            plain: dict[str, Controller] = {
                "constant": Constant(),
                "schedule": self.schedule,
                "plateau": self.plateau,
            }
            controller = plain[self.kind]
        return Patience(controller=controller, rounds=self.patience) if self.patience else controller


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """What a method's settings are chosen from, on each task by itself."""

    grid: dict[str, list[float]] = field(default_factory=dict)
    """Knob -> the values tried, all combinations."""
    seeds: int = 4
    """Seeds per combination."""
    of: str | None = None
    """The method whose settings this one takes over; the cost of their search counts here too."""


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What a search chose for a method on a task, and what it cost."""

    knobs: dict[str, float]
    runs: int
    images: int
    """Trained on."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """One way to train."""

    label: str
    """What tables and figures call it."""
    recipe: Recipe = field(default_factory=Recipe)
    knobs: dict[str, float] = field(default_factory=dict)
    """What differs from the default knobs; what a search chose goes before."""
    controller: ControllerConfig = field(default_factory=ControllerConfig)
    search: SearchConfig = field(default_factory=SearchConfig)


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
    """Which weights are tested: those of the round with the best tune AP, or the last."""
    searched: dict[str, dict[str, Searched]] = field(default_factory=dict)
    """Task -> method -> the outcome of its search, as `mapopt compare --search` prints it."""

    def __post_init__(self) -> None:
        if not self.tasks or not self.methods:
            raise ConfigError(f"experiment '{self.name}' has no tasks or no methods: give at least one of each")
        if self.reference not in self.methods:
            raise ConfigError(unknown_name("reference method", self.reference, self.methods))
        if self.seeds < 1 or self.lanes < 1:
            raise ConfigError(f"seeds is {self.seeds} and lanes {self.lanes}: expected 1 or more")
        if self.seeds > SEARCH_SEEDS:
            raise ConfigError(f"seeds is {self.seeds}: expected at most {SEARCH_SEEDS}, where those of searches begin")
        for method in self.methods.values():
            self.budget.check(method.recipe.batch_size)

    def only(self, methods: tuple[str, ...]) -> Experiment:
        """Returns the experiment with some of its methods."""
        for name in methods:
            if name not in self.methods:
                raise ConfigError(unknown_name("method", name, self.methods))
        kept = {name: method for name, method in self.methods.items() if name in methods}
        return replace(self, methods=kept, reference=self.reference if self.reference in kept else methods[0])

    def with_data(self, data: str) -> Experiment:
        """Returns the experiment on another folder of images."""
        return replace(self, tasks={name: replace(task, data=data) for name, task in self.tasks.items()})

    def task(self, name: str, method: str, seed: int) -> Task:
        """Builds the task of one run."""
        chosen = self.methods[method]
        splits = _splits(json.dumps(to_mapping(self.tasks[name]), sort_keys=True), seed)
        return Task(name=name, splits=splits, recipe=chosen.recipe, knobs=self.knobs(name, method))

    def knobs(self, task: str, method: str) -> Knobs:
        """Returns a method's knobs on a task: its own settings, and over them what its search chose there."""
        found = self._searched(task, method)
        return Knobs.from_dict({**self.methods[method].knobs, **(found.knobs if found else {})})

    def key(self, task: str, method: str) -> str:
        """Returns a hash of everything that decides the numbers of a run but its seed."""
        chosen, data = self.methods[method], self.tasks[task]
        content: dict[str, Any] = {
            "stored": _STORED,
            "budget": to_mapping(self.budget),
            "task": to_mapping(data),
            "recipe": to_mapping(chosen.recipe),
            "knobs": self.knobs(task, method).as_dict(),
            "controller": to_mapping(chosen.controller),
            "select": self.select,
        }
        # Hashed under the name that the runs stored so far were hashed with, so that they still count as done.
        content["task"]["scenes"]["colour"] = content["task"]["scenes"].pop("color")
        if data.data is not None:
            # The folder may stand elsewhere tomorrow; what is in it decides.
            splits = _splits(json.dumps(to_mapping(data), sort_keys=True), 0)
            content["task"]["data"] = [one.fingerprint for one in (splits.train, splits.val, splits.test)]
        if chosen.controller.kind in ("agent", "replay"):
            agent = Agent.load(chosen.controller.agent)
            content["agent"] = hashlib.sha256(b"".join(weight.tobytes() for weight, _ in agent.layers)).hexdigest()
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def search_cost(self, task: str, method: str) -> dict[str, Any]:
        """Returns what choosing a method's settings on a task cost: runs, images, seconds."""
        found = self._searched(task, method)
        if found is None:
            return {"runs": 0, "images": 0, "seconds": 0.0}
        return {"runs": found.runs, "images": found.images, "seconds": found.seconds}

    def training_cost(self, method: str) -> dict[str, Any]:
        """Returns what training a method's agent cost: images, seconds; zeros without an agent."""
        controller = self.methods[method].controller
        if controller.kind not in ("agent", "replay"):
            return {"images": 0, "seconds": 0.0}
        cost = Agent.load(controller.agent).training.get("cost", {})
        return {"images": cost.get("images", 0), "seconds": cost.get("seconds", 0.0)}

    def _searched(self, task: str, method: str) -> Searched | None:
        return self.searched.get(task, {}).get(self.methods[method].search.of or method)


def load_experiment(path: str | Path) -> Experiment:
    """Reads an experiment from a file, or from the shipped ones by name.

    Raises:
        ConfigError: there is no such file, a key is unknown, or a value is of the wrong type or out of range.
    """
    shipped = CONFIGS / f"{path}.yaml"
    found = shipped if not Path(path).is_file() and shipped.is_file() else Path(path)
    if not found.is_file():
        names = [one.stem for one in CONFIGS.glob("*.yaml")]
        raise ConfigError(f"{path}: no such file; give a configuration file, or one of {', '.join(sorted(names))}")
    experiment: Experiment = from_mapping(Experiment, translate(load_yaml(found), "experiment"), str(found))
    _check_searches(experiment)
    return experiment


def _check_searches(experiment: Experiment) -> None:
    """Names what is misspelt in the settings and in the outcomes of searches."""
    for task, outcomes in experiment.searched.items():
        if task not in experiment.tasks:
            raise ConfigError(unknown_name("task under 'tuned'", task, experiment.tasks))
        for name in outcomes:
            if name not in experiment.methods:
                raise ConfigError(unknown_name(f"method under 'tuned: {task}'", name, experiment.methods))
    for name, method in experiment.methods.items():
        if method.search.of is not None and method.search.of not in experiment.methods:
            raise ConfigError(unknown_name("method to take the search from", method.search.of, experiment.methods))
        for knob in method.search.grid:
            if knob not in ranges():
                raise ConfigError(unknown_name("knob in the search grid", knob, ranges()))
        for task in experiment.tasks:
            experiment.knobs(task, name)


@lru_cache(maxsize=64)
def _splits(config: str, seed: int) -> Splits:
    """Loads or draws the data of a task; shapes are drawn for every seed, a folder is loaded once."""
    task: TaskConfig = from_mapping(TaskConfig, json.loads(config), "task")
    if task.data is not None:
        return _folder(task.data, task.size, task.invalid)
    train, val, test = task.images
    return make_shapes_splits(task.scenes, seed=seed, train=train, val=val, test=test)


@lru_cache(maxsize=4)
def _folder(data: str, size: tuple[int, int], invalid: Literal["error", "clip", "drop"]) -> Splits:
    return load_splits(data, size=size, invalid=invalid)
