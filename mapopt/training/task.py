"""A task is what one run is about: a detector's recipe, its starting knobs, and train, val and test data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mapopt.data.augmentation.settings import NONE
from mapopt.errors import ConfigError
from mapopt.training.budget import TaskInfo
from mapopt.training.knobs import Knobs, Range
from mapopt.training.recipe import Recipe

if TYPE_CHECKING:
    from mapopt.data.splits import Splits


@dataclass(frozen=True, kw_only=True)
class Task:
    """A detector's recipe with the data it is trained, selected and tested on.

    A learning rate that is left open becomes the optimizer's, a class weight the one that the class loss starts from,
    and own knobs that are not given get the values that the recipe's own parts declare.

    Raises:
        ConfigError: an own knob is unknown or out of its range.
    """

    name: str
    splits: Splits
    recipe: Recipe = field(default_factory=Recipe)
    knobs: Knobs = field(default_factory=Knobs)

    def __post_init__(self) -> None:
        object.__setattr__(self, "knobs", self.recipe.settle(self.knobs))
        own = self.recipe.own_knobs
        if own or self.knobs.own:
            values = {name: knob.default for name, knob in own.items()} | self.knobs.own
            object.__setattr__(self, "knobs", replace(self.knobs, own=values))
            self.knobs.check(self.ranges)

    @property
    def ranges(self) -> Mapping[str, Range]:
        """Name -> range of every knob: ours, and those of the recipe's own parts."""
        return self.recipe.ranges()

    @property
    def classes(self) -> int:
        """Number of categories."""
        return len(self.splits.train.annotations.category_ids)

    @property
    def info(self) -> TaskInfo:
        """What a controller may know."""
        return TaskInfo(
            name=self.name,
            classes=self.classes,
            train_images=len(self.splits.train),
            batch_size=self.recipe.batch_size,
            knobs=self.knobs,
            ranges=self.ranges,
            optimizer=self.recipe.optimizer,
            loss=self.recipe.loss,
        )


def shared_recipe(recipe: Recipe) -> Recipe:
    """Returns what the lanes of one fleet have in common of a recipe: all but its augmentation."""
    return recipe if recipe.augmentation == NONE else replace(recipe, augmentation=NONE)


def check_alike(tasks: Sequence[Task]) -> None:
    """Raises ConfigError unless tasks can be lanes of one fleet, at once or one after the other.

    They have one recipe but for its augmentation, one number of classes, one image size, and val and test splits of one
    length each; data, augmentation, starting knobs and the length of the train split are every lane's own.
    """
    first = tasks[0]
    shared = shared_recipe(first.recipe)
    recipes = {id(task.recipe): task.recipe for task in tasks}.values()
    if any(shared_recipe(recipe) != shared for recipe in recipes) or any(
        task.classes != first.classes for task in tasks
    ):
        raise ConfigError("the lanes of a fleet have different recipes or classes: give each recipe its own fleet")
    if any(task.splits.train.size != first.splits.train.size for task in tasks):
        raise ConfigError("the lanes of a fleet have images of different sizes: load them all at one size")
    for split in ("val", "test"):
        lengths = sorted({len(getattr(task.splits, split)) for task in tasks})
        if len(lengths) > 1:
            raise ConfigError(
                f"the lanes of a fleet have {split} splits of {' and '.join(map(str, lengths))} images: "
                "make them equally long"
            )
