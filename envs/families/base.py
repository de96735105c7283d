"""What an instance is, and what every family of instances offers.

An instance is a pure function of its family and number. Those an agent is trained on and those it is evaluated on are
drawn from different data, so that an agent is never evaluated on an image it was trained with.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mapopt.envs.numbering import MAX_INSTANCES, InstanceSplit, check_count, check_number, check_split
from mapopt.errors import ConfigError, unknown_name
from mapopt.settings import to_mapping
from mapopt.training.budget import Budget
from mapopt.training.knobs import Knobs, Range, ranges
from mapopt.training.recipe import Recipe

if TYPE_CHECKING:
    from mapopt.data import Annotations, ImageSet, Splits
    from mapopt.training.controllers.base import Controller
    from mapopt.training.task import Task

_FIRST_SEED: dict[InstanceSplit, int] = {"train": MAX_INSTANCES, "eval": 2 * MAX_INSTANCES}

_BUDGET_STREAM = 0xB06E7
"""Keeps the draw of a budget apart from the draws of the data."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shift:
    """Train images that an instance has from some fraction of its budget on."""

    fraction: float
    """Of the rounds, after which it comes: after the first at the earliest, and before the last at the latest."""
    train: ImageSet


@dataclass(frozen=True)
class Instance:
    """One task with what is special about it."""

    task: Task
    """With the data that a run begins with; see `task_for`."""
    description: str
    """All that is special about it, in one line."""
    budget: Budget | None = None
    """The episode's own budget, where the family varies it; else the environment's holds."""
    baseline: Controller | None = None
    """What the zero action does, where the instance starts from a schedule of its own; else the environment's."""
    shift: Shift | None = None
    """How the data change in mid-run, where they do."""

    def task_for(self, budget: Budget) -> Task:
        """Returns the task as it is trained with a budget: one whose data change says after how many images."""
        if self.shift is None or budget.rounds < 2:
            return self.task
        from mapopt.training.task import DataChange

        rounds = min(max(round(self.shift.fraction * budget.rounds), 1), budget.rounds - 1)
        change = DataChange(after=rounds * budget.interval, train=self.shift.train)
        return replace(self.task, change=change)

    def __str__(self) -> str:
        return self.description


class InstanceFamily(Protocol):
    """Numbered instances.

    One of your own is easiest as a frozen dataclass that extends `NumberedFamily`; it may also be any object that has
    these members. `mapopt.envs.testing.check_family` says whether it keeps what is promised here.
    """

    @property
    def split(self) -> InstanceSplit:
        """Whether the instances are for training an agent or for evaluating it."""

    @property
    def count(self) -> int:
        """How many there are."""

    def instance(self, number: int) -> Instance:
        """Returns the instance of a number in ``[0, count)``; the same number gives the same bits."""


@dataclass(frozen=True, kw_only=True)
class NumberedFamily(ABC):
    """What all our families have: two splits, a number of instances, and the setting of their tasks.

    Raises:
        ConfigError: a setting is out of its range; the message names it.
    """

    split: InstanceSplit = "train"
    """Whether the instances are for training an agent or for evaluating it."""
    count: int = 48
    """How many instances there are."""
    images: tuple[int, int, int] = (256, 128, 256)
    """Train, val and test images of an instance."""
    recipe: Recipe = field(default_factory=Recipe)
    """What does not change while a detector trains."""
    knobs: Knobs = field(default_factory=Knobs)
    """The knobs that an instance starts from."""
    budgets: tuple[Budget, ...] = ()
    """Drawn for each instance, each as likely as the others; none leaves the environment's."""

    def __post_init__(self) -> None:
        check_split(self.split)
        check_count(self.count)
        whole = isinstance(self.images, tuple | list) and all(type(size) is int and size >= 1 for size in self.images)
        if not whole or len(self.images) != 3:
            raise ConfigError(
                f"images is {self.images!r}: expected three whole numbers of at least 1, for train, val and test"
            )
        object.__setattr__(self, "images", tuple(self.images))
        given = self.budgets if isinstance(self.budgets, tuple | list) else (self.budgets,)
        for budget in given:
            if not isinstance(budget, Budget):
                raise ConfigError(f"budgets is {self.budgets!r}: expected a list of Budget, or an empty one")
        object.__setattr__(self, "budgets", tuple(given))
        for recipe in self.recipes:
            for budget in self.budgets:
                budget.check(recipe.batch_size)

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """The recipes that instances have; most families have one."""
        return (self.recipe,)

    @abstractmethod
    def instance(self, number: int) -> Instance:
        """Returns the instance of a number in ``[0, count)``; the same number gives the same bits."""

    def check_budget(self, budget: Budget) -> None:
        """Raises ConfigError where a budget of the environment's has rounds that are no whole number of steps."""
        for recipe in () if self.budgets else self.recipes:
            budget.check(recipe.batch_size)

    def seed_of(self, number: int) -> int:
        """Returns the seed of an instance's data: no number of the other split has it.

        Raises:
            ConfigError: there is no instance of this number.
        """
        check_number(number, self.count)
        return _FIRST_SEED[self.split] + int(number)

    def budget_of(self, number: int) -> Budget | None:
        """Returns an instance's own budget, whatever else is drawn for it; None leaves the environment's."""
        seed = self.seed_of(number)
        if not self.budgets:
            return None
        return self.budgets[int(np.random.default_rng([seed, _BUDGET_STREAM]).integers(len(self.budgets)))]

    def make_instance(
        self,
        kind: str,
        number: int,
        splits: Splits,
        special: str,
        *,
        knobs: Knobs | None = None,
        baseline: Controller | None = None,
        shift: Shift | None = None,
    ) -> Instance:
        """Returns an instance of these data, named by its kind and number and described by what is special."""
        # Flags are made from the families' fields, so what needs torch is imported where data are made.
        from mapopt.training.task import Task

        name = f"{kind}-{self.split}-{number}"
        task = Task(name=name, splits=splits, recipe=self.recipe, knobs=knobs or self.knobs)
        budget = self.budget_of(number)
        spent = "" if budget is None else f", {budget.images} images in {budget.rounds} rounds"
        description = f"{name}: {special}, {self.images[0]} train images{spent}"
        return Instance(task, description, budget=budget, baseline=baseline, shift=shift)


def ranges_of(family: InstanceFamily, names: Iterable[str]) -> Mapping[str, Range]:
    """Returns name -> range of the knobs that all of a family's tasks have.

    They are ours, and those that the own parts of its recipes declare, alike in all recipes.

    Args:
        family: one without `recipes` makes its first instance for it, if a name is none of ours.
        names: of the knobs that are asked for.
    """
    recipes = getattr(family, "recipes", None)
    if recipes:
        first, *others = [recipe.ranges() for recipe in recipes]
        return {name: each for name, each in first.items() if all(other.get(name) == each for other in others)}
    recipe = getattr(family, "recipe", None)
    if isinstance(recipe, Recipe):
        return recipe.ranges()
    return ranges() if set(names) <= set(ranges()) else family.instance(0).task.ranges


def plain_settings(family: Any) -> dict[str, Any]:
    """Returns a family's settings as plain values, with what its knobs leave open written down.

    Where instances have several recipes, what is left open is another number for each, and stays so.
    """
    settings: dict[str, Any] = to_mapping(family)
    recipe, knobs = getattr(family, "recipe", None), getattr(family, "knobs", None)
    alone = getattr(family, "recipes", (recipe,)) == (recipe,)
    if isinstance(settings, dict) and isinstance(recipe, Recipe) and isinstance(knobs, Knobs) and alone:
        settings["knobs"] = to_mapping(recipe.settle(knobs))
    return settings


def check_band(name: str, band: tuple[float, float], low: float, high: float) -> None:
    """Raises ConfigError unless `band` is two numbers from `low` to `high`, the lower one first."""
    given = band if isinstance(band, tuple | list) else ()
    numbers = [number for number in given if isinstance(number, int | float) and not isinstance(number, bool)]
    fine = len(given) == len(numbers) == 2 and all(math.isfinite(number) for number in numbers)
    if not fine or not low <= numbers[0] <= numbers[1] <= high:
        raise ConfigError(f"{name} is {band!r}: expected two numbers from {low:g} to {high:g}, the lower one first")


def check_choice(name: str, chosen: tuple[str, ...], known: Collection[str]) -> None:
    """Raises ConfigError unless `chosen` is at least one of the known names, each once."""
    given = chosen if isinstance(chosen, tuple | list) else ()
    for entry in given:
        if entry not in known:
            raise ConfigError(unknown_name(f"entry of {name}", str(entry), known))
    if not given or len(set(given)) < len(given):
        raise ConfigError(f"{name} is {chosen!r}: expected a list of at least one of {', '.join(known)}, each once")


def boxes_by_class(annotations: Annotations) -> str:
    """Returns how many objects each class has, in words, such as ``"84 disc, 12 box"``."""
    counts = zip(annotations.counts.tolist(), annotations.category_names, strict=True)
    return ", ".join(f"{count} {name}" for count, name in counts)
