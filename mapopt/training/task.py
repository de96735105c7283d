"""A task is what one run is about: a detector's recipe, its starting knobs, and train, tune and test data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from mapopt.data import Splits
from mapopt.errors import ConfigError
from mapopt.losses import LOSSES, RankingLoss, make_loss
from mapopt.training.knobs import Knobs
from mapopt.training.optimizer import OPTIMIZERS


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What does not change while a detector trains."""

    detector: str = "tiny"
    """tiny, resnet18, retinanet, fcos, faster_rcnn, ssdlite, or one of the middle three on a smaller body:
    retinanet_resnet18, fcos_resnet18, faster_rcnn_resnet18."""
    loss: str = "focal"
    """The class loss: a name in `mapopt.losses.LOSSES`, or "torchvision" for one of its detectors' own losses."""
    loss_settings: dict[str, int | float | bool | str] = field(default_factory=dict)
    """Parameters of the class loss that differ from its defaults, such as {gradient: exact}."""
    box_loss: str = "giou"
    """giou or smooth_l1."""
    scope: Literal["class", "image", "batch"] | None = None
    """What a class loss ranks as one list; by default each class for ranking losses, the batch for pointwise ones."""
    balance: bool | None = None
    """Scale the box loss to the class loss at every step; by default for ranking losses."""
    soft_labels: bool | None = None
    """Tell the class loss how well predicted boxes fit: as IoUs where it reads them, else as a list per IoU threshold;
    by default only losses that read IoUs are told."""
    memory: int = 0
    """Scores of recent steps that a ranking loss ranks with the batch's, per list; 0 is none."""
    auxiliary: dict[str, float] = field(default_factory=dict)
    """Further class losses by name and weight, beside `loss`, such as {correlation: 0.2}."""
    class_balance: Literal["none", "weights", "sampling"] = "none"
    """How rare classes are helped: a pointwise loss weighted by inverse frequency, or images drawn so that every class
    comes equally often."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    batch_size: int = 16
    """Images a step."""
    clip: float = 10.0
    """Largest gradient norm."""
    ema: float = 0.0
    """Decay per step of the averaged weights that are evaluated; 0 evaluates the weights themselves."""
    weights: str | None = None
    """Pretrained weights by torchvision's name, for detectors that have them."""
    autocast: bool = True
    """Run in bfloat16 where the device is a GPU."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}: expected 1 or more")
        if self.loss_settings and self.loss == "torchvision":
            raise ConfigError("loss_settings are given with torchvision's own losses: name a loss, such as focal")
        if self.loss != "torchvision":
            make_loss(self.loss, self.loss_settings)
        for name in self.auxiliary:
            make_loss(name)
        if self.memory < 0:
            raise ConfigError(f"memory is {self.memory}: expected a number of scores, or 0 for none")
        if not self.clip > 0:
            raise ConfigError(f"clip is {self.clip}: expected a positive gradient norm")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"ema is {self.ema}: expected 0 (no average) or a decay below 1, such as 0.99")
        if self.class_balance == "weights" and self.loss != "torchvision" and not LOSSES[self.loss].pointwise:
            raise ConfigError(
                f"class_balance is 'weights' with loss '{self.loss}': expected a pointwise loss, such as focal; a "
                "ranking loss gives every class the same weight by itself"
            )
        if self.class_balance == "weights" and self.loss == "torchvision":
            raise ConfigError("class_balance is 'weights' with torchvision's own losses: name a loss, such as focal")
        if self.optimizer not in OPTIMIZERS:
            raise ConfigError(f"optimizer is {self.optimizer!r}: expected one of {', '.join(OPTIMIZERS)}")

    def make_loss(self) -> str | RankingLoss:
        """Returns the class loss, or the name of torchvision's own losses."""
        return self.loss if self.loss == "torchvision" else make_loss(self.loss, self.loss_settings)


@dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """What a controller may know about a task."""

    name: str
    classes: int
    train_images: int
    batch_size: int
    knobs: Knobs
    """The task's own setting, from which controllers start."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A detector's recipe with the data it is trained, tuned and tested on."""

    name: str
    splits: Splits
    recipe: Recipe = field(default_factory=Recipe)
    knobs: Knobs = field(default_factory=Knobs)

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
        )


def check_alike(tasks: Sequence[Task]) -> None:
    """Raises ConfigError unless tasks can be lanes of one fleet, at once or one after the other.

    They have one recipe, one number of classes, one image size, and tune and test splits of one length each; data,
    starting knobs and the length of the train split are every lane's own.
    """
    first = tasks[0]
    if any(task.recipe != first.recipe or task.classes != first.classes for task in tasks):
        raise ConfigError("the lanes of a fleet have different recipes or classes: give each recipe its own fleet")
    if any(task.splits.train.size != first.splits.train.size for task in tasks):
        raise ConfigError("the lanes of a fleet have images of different sizes: load them all at one size")
    for split in ("tune", "test"):
        lengths = sorted({len(getattr(task.splits, split)) for task in tasks})
        if len(lengths) > 1:
            raise ConfigError(
                f"the lanes of a fleet have {split} splits of {' and '.join(map(str, lengths))} images: "
                "make them equally long"
            )


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Images a run may train on, and the number of rounds they are cut into."""

    images: int
    rounds: int = 20

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.images < 1 or self.images % self.rounds:
            raise ConfigError(
                f"a budget of {self.images} images in {self.rounds} rounds: expected at least one round "
                "and images that divide by the rounds"
            )

    @property
    def interval(self) -> int:
        """Images a round."""
        return self.images // self.rounds

    def check(self, batch_size: int) -> None:
        """Raises ConfigError unless a round is a whole number of steps."""
        if self.interval % batch_size:
            lower = self.interval // batch_size * batch_size
            near = [size for size in (lower, lower + batch_size) if size]
            raise ConfigError(
                f"a round of {self.interval} images is no whole number of steps of {batch_size}: "
                f"choose {' or '.join(str(size * self.rounds) for size in near)} images"
            )
