"""The families whose instances are those of several families: of any that one names, or of recipes that are drawn.

Lanes whose recipes differ are in fleets of their own, so what an instance comes to is what it comes to by itself.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from mapopt.data.shapes_config import MAX_SEED, ShapesConfig, check_range
from mapopt.envs.choices import read_choice
from mapopt.envs.families.base import Instance, NumberedFamily, check_choice
from mapopt.envs.families.combinations import Combination, combinations_of
from mapopt.envs.families.registry import FAMILIES, make_family
from mapopt.envs.families.shapes import resized
from mapopt.errors import ConfigError
from mapopt.losses.table import LOSS_TABLE
from mapopt.registry import Choice
from mapopt.training.optimizers.table import OPTIMIZER_TABLE
from mapopt.training.recipe import Recipe

_TURNS_STREAM = 0x7125
"""Keeps the draw of whose turn it is apart from the draws of the data."""

_COMMON = ("images", "recipe", "knobs", "budgets")
"""What a mixture gives its members where it is given and they say nothing of it."""

_BASES = ("shapes", "imbalanced", "noisy-labels", "units", "budgets", "shift")
"""Families of scenes that can be of any size."""


@dataclass(frozen=True, kw_only=True)
class MixedFamily(NumberedFamily):
    """Instances of several families in turn, all equally often: every so many have one of each, in a drawn order."""

    @property
    @abstractmethod
    def families(self) -> tuple[NumberedFamily, ...]:
        """The families; each has an instance of every number."""

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """The recipes of all families, each once."""
        known: list[Recipe] = []
        for recipe in (recipe for family in self.families for recipe in family.recipes):
            if recipe not in known:
                known.append(recipe)
        return tuple(known)

    def family_of(self, number: int) -> int:
        """Returns which of the families an instance is of, by its position."""
        self.seed_of(number)
        block, place = divmod(int(number), len(self.families))
        stream = [_TURNS_STREAM, ("train", "eval").index(self.split), block]
        return int(np.random.default_rng(stream).permutation(len(self.families))[place])

    def instance(self, number: int) -> Instance:
        """Returns the instance of a number in ``[0, count)``; its images are those of the same number in its family."""
        position = self.family_of(number)
        made = self.families[position].instance(number)
        name = f"{self._kind}-{self.split}-{int(number)}"
        task = dataclasses.replace(made.task, name=name)
        return dataclasses.replace(made, task=task, description=f"{name}: {self._said(position, made)}")

    def check_budget(self, budget: Any) -> None:
        """Raises ConfigError where a budget of the environment's has rounds that are no whole number of steps."""
        for family in self.families:
            family.check_budget(budget)

    @property
    @abstractmethod
    def _kind(self) -> str:
        """What its instances are called by."""

    @abstractmethod
    def _said(self, position: int, made: Instance) -> str:
        """Returns how an instance of the family at a position is described, behind its name."""


@dataclass(frozen=True, kw_only=True)
class MixtureFamily(MixedFamily):
    """Instances of the families that one names, whatever their recipes, knobs, budgets and data are.

    What is given of `images`, `recipe`, `knobs` and `budgets` is that of every member that says nothing of it.

    Raises:
        ConfigError: a member is no family, or a setting is out of its range; the message names it.

    >>> members = ("shapes", {"name": "units", "recipe": {"optimizer": "sgd"}})
    >>> print(MixtureFamily(members=members, images=(64, 16, 16)).instance(0))
    mixture-train-0: sgd, mal, batch 16: units-train-0: losses times 0.75, momentum 0.94, 64 train images
    """

    members: tuple[Any, ...] = ("shapes", "imbalanced", "small-objects", "noisy-labels")
    """The families: names, ``module:attribute``, mappings of a name and its settings, or families; split and count of
    what is given are the mixture's."""

    def __post_init__(self) -> None:
        given = self.members if isinstance(self.members, tuple | list) else ()
        if not given:
            raise ConfigError(f"members is {self.members!r}: expected a list of at least one family")
        object.__setattr__(self, "members", tuple(_plain(member) for member in given))
        super().__post_init__()

    @cached_property
    def families(self) -> tuple[NumberedFamily, ...]:
        """The members, made."""
        return tuple(self._made(member) for member in self.members)

    @property
    def _kind(self) -> str:
        return "mixture"

    def _said(self, position: int, made: Instance) -> str:
        several = len(self.recipes) > 1
        return f"{recipe_words(made.task.recipe)}: {made.description}" if several else made.description

    def _made(self, member: Any) -> NumberedFamily:
        settings = {} if isinstance(member, str) else {name: member[name] for name in member if name != "name"}
        name = member if isinstance(member, str) else member["name"]
        if "split" in settings:
            raise ConfigError(f"member '{name}' of a mixture has a split of its own: give the mixture's split")
        part = FAMILIES.find(name)
        known = {each.name: each for each in dataclasses.fields(part)} if dataclasses.is_dataclass(part) else {}
        defaults = {each.name: each for each in dataclasses.fields(NumberedFamily)}
        for common in _COMMON:
            if common in known and getattr(self, common) != _default(defaults[common]):
                settings.setdefault(common, getattr(self, common))
        if "count" not in settings:
            # A multiple of its own number, because some families take no other.
            own = _default(known["count"]) if "count" in known else self.count
            settings["count"] = own * -(-self.count // own)
        made: NumberedFamily = make_family(name, **settings, split=self.split)
        if made.count < self.count:
            raise ConfigError(
                f"member '{name}' of a mixture has {made.count} instances: expected {self.count} or more, as many as "
                "the mixture"
            )
        return made


@dataclass(frozen=True, kw_only=True)
class RecipesFamily(MixedFamily):
    """Instances with recipes of their own: optimizer, class loss, batch and image size are drawn together.

    All combinations are divided by a seeded draw into those for training agents and those for evaluating them, such
    that each value comes about equally often on both sides.

    Raises:
        ConfigError: a setting is out of its range; the message names it.

    >>> print(RecipesFamily(images=(64, 16, 16)).instance(0))  # doctest: +ELLIPSIS
    recipes-train-0: ..., batch ..., ... pixels: 3 classes of ... 64 train images
    """

    optimizers: tuple[str, ...] = ("sgd", "adamw", "nadamw", "muon")
    """The optimizers, each at its own learning rate unless the knobs give one."""
    losses: tuple[str, ...] = ("focal", "quality_focal", "rank_sort", "mean_ap")
    """The class losses, each at its own class weight unless the knobs give one."""
    batches: tuple[int, ...] = (4, 16, 64)
    """Images a step."""
    sizes: tuple[int, ...] = (32, 48)
    """Pixels of the images' sides; objects keep their fraction of them."""
    combinations: int = 12
    """Largest number of combinations that its split has; at most half of all there are."""
    base: str = "shapes"
    """The family that scenes, starting knobs and budgets are those of: shapes, imbalanced, noisy-labels, units, budgets
    or shift."""
    scenes: ShapesConfig = field(default_factory=ShapesConfig)
    """The parameters of the scenes, but for their size and what the base draws."""
    seed: int = 0
    """Of the draw of combinations; both splits have to be made with the same."""

    def __post_init__(self) -> None:
        check_choice("optimizers", self.optimizers, OPTIMIZER_TABLE)
        check_choice("losses", self.losses, LOSS_TABLE)
        check_choice("base", (self.base,), _BASES)
        for name, low, high in (("batches", 1, 4096), ("sizes", 16, 512)):
            values = getattr(self, name)
            if not isinstance(values, tuple | list) or not values or len(set(values)) < len(values):
                raise ConfigError(f"{name} is {values!r}: expected a list of whole numbers, each once")
            for value in values:
                check_range(name, value, low, high, whole=True)
        check_range("combinations", self.combinations, 1, 10_000, whole=True)
        check_range("seed", self.seed, 0, MAX_SEED, whole=True)
        for name in ("optimizers", "losses", "batches", "sizes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        default = Recipe()
        for name, setting in (("optimizer", "optimizers"), ("loss", "losses"), ("batch_size", "batches")):
            if getattr(self.recipe, name) != getattr(default, name):
                raise ConfigError(
                    f"recipe.{name} is {getattr(self.recipe, name)}, but this family draws it: leave it out and give "
                    f"{setting}"
                )
        if not self.chosen:
            raise ConfigError(
                "there is one combination of optimizer, loss, batch and size: expected two or more, so that agents are "
                "evaluated on others than they are trained on"
            )
        super().__post_init__()

    @cached_property
    def chosen(self) -> tuple[Combination, ...]:
        """The combinations that instances have."""
        sides = combinations_of(self.optimizers, self.losses, self.batches, self.sizes, self.seed)
        return sides[self.split != "train"][: self.combinations]

    @cached_property
    def families(self) -> tuple[NumberedFamily, ...]:
        """A family for every combination."""
        given: dict[str, Any] = {"split": self.split, "count": self.count, "images": self.images, "knobs": self.knobs}
        if self.budgets:
            given["budgets"] = self.budgets
        return tuple(
            make_family(
                self.base,
                **given,
                scenes=resized(self.scenes, each.size),
                recipe=dataclasses.replace(
                    self.recipe, optimizer=each.optimizer, loss=each.loss, batch_size=each.batch
                ),
            )
            for each in self.chosen
        )

    @property
    def _kind(self) -> str:
        return "recipes"

    def _said(self, position: int, made: Instance) -> str:
        special = made.description.split(": ", 1)[1]
        return f"{recipe_words(made.task.recipe)}, {self.chosen[position].size} pixels: {special}"


def recipe_words(recipe: Recipe) -> str:
    """Returns what is drawn of a recipe, in words, such as ``"sgd, focal, batch 16"``."""
    return f"{recipe.optimizer}, {recipe.loss}, batch {recipe.batch_size}"


def _plain(member: Any) -> Any:
    """Returns a member as a name, or as a mapping of its name and its settings; what is at its default is left out.

    A family that is made has a split, which is not its own here.
    """
    read = read_choice(member, FAMILIES)
    choice = FAMILIES.choice(read)
    settings = dict(choice.settings)
    if dataclasses.is_dataclass(read) and not isinstance(read, type | Choice):
        defaults = {each.name: _default(each) for each in dataclasses.fields(read)}
        changed = [name for name, value in defaults.items() if name != "split" and getattr(read, name) != value]
        settings = {name: settings[name] for name in changed}
    return {"name": choice.name, **settings} if settings else choice.name


def _default(known: dataclasses.Field[Any]) -> Any:
    """Returns the default of a field, which is what no value equals where there is none."""
    return known.default if known.default_factory is dataclasses.MISSING else known.default_factory()
