"""A task is what one run is about: a detector's recipe, its starting knobs, and train, val and test data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from mapopt.bounds import check_whole
from mapopt.data.augmentation.settings import NONE
from mapopt.errors import ConfigError
from mapopt.training.budget import TaskInfo
from mapopt.training.knobs import Knobs, Range
from mapopt.training.recipe import Recipe

if TYPE_CHECKING:
    from mapopt.data.images import ImageSet
    from mapopt.data.splits import Splits


@dataclass(frozen=True, kw_only=True, eq=False)
class DataChange:
    """Train images that take the place of a task's own in mid-run.

    Raises:
        ConfigError: the change would come before the first image.
    """

    after: int
    """Images trained on before; the first interval that begins with as many has the new data."""
    train: ImageSet

    def __post_init__(self) -> None:
        check_whole("after", self.after, 1)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A detector's recipe with the data it is trained, selected and tested on.

    A learning rate that is left open becomes the optimizer's, a class weight the one that the class loss starts from,
    and own knobs that are not given get the values that the recipe's own parts declare.

    Where the data change in mid-run, what is trained on is a function of the images that were trained on before and of
    nothing else, so a snapshot need not say which data a lane is on. Val and test stay the same.

    Raises:
        ConfigError: an own knob is unknown or out of its range.
        DataError: the train images after a change have other categories, another size, or images of val or test.
    """

    name: str
    splits: Splits
    recipe: Recipe = field(default_factory=Recipe)
    knobs: Knobs = field(default_factory=Knobs)
    change: DataChange | None = None
    """Of the train images, in mid-run."""

    def __post_init__(self) -> None:
        if self.change is not None:
            _ = self.all_splits  # which are checked where they are put together
        object.__setattr__(self, "knobs", self.recipe.settle(self.knobs))
        own = self.recipe.own_knobs
        if own or self.knobs.own:
            values = {name: knob.default for name, knob in own.items()} | self.knobs.own
            object.__setattr__(self, "knobs", replace(self.knobs, own=values))
            self.knobs.check(self.ranges)

    @cached_property
    def all_splits(self) -> tuple[Splits, ...]:
        """The splits, and where the data change those after it, which differ in the train images."""
        return (self.splits,) if self.change is None else (self.splits, replace(self.splits, train=self.change.train))

    def splits_at(self, seen: int) -> Splits:
        """Returns the splits of an interval that begins when so many images have been trained on."""
        return self.all_splits[-1] if self.change is not None and seen >= self.change.after else self.splits

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
            default_lr=self.recipe.lr,
        )


def shared_recipe(recipe: Recipe) -> Recipe:
    """Returns what the lanes of one fleet have in common of a recipe: all but its augmentation."""
    return recipe if recipe.augmentation == NONE else replace(recipe, augmentation=NONE)


def check_alike(tasks: Sequence[Task]) -> None:
    """Raises ConfigError unless tasks can be lanes of one fleet, at once or one after the other.

    They have one recipe but for its augmentation, one number of classes, one image size, and val and test splits of one
    length each; data, augmentation, starting knobs and the length of the train split are every lane's own.
    """
    for task in tasks:
        reason = difference(tasks[0], task)
        if reason:
            raise ConfigError(f"the lanes of a fleet have {reason}")


def difference(first: Task, other: Task) -> str:
    """Returns why two tasks cannot be lanes of one fleet, in words that follow what the lanes have; else nothing."""
    alike = other.recipe is first.recipe or shared_recipe(other.recipe) == shared_recipe(first.recipe)
    if not alike or other.classes != first.classes:
        return "different recipes or classes: give each recipe its own fleet"
    if other.splits.train.size != first.splits.train.size:
        return "images of different sizes: load them all at one size"
    for split in ("val", "test"):
        lengths = sorted({len(getattr(task.splits, split)) for task in (first, other)})
        if len(lengths) > 1:
            return f"{split} splits of {' and '.join(map(str, lengths))} images: make them equally long"
    return ""
