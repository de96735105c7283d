"""What a controller may know before the first round: the budget of images and rounds, and the task in a few numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mapopt.errors import ConfigError
from mapopt.training.knobs import BY_RECIPE, OPEN_KNOBS, Knobs, Range
from mapopt.training.knobs import ranges as our_ranges


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Images a run may train on, and the number of rounds they are cut into."""

    images: int
    """How many images to train on in all, counted again in every epoch."""
    rounds: int = 20
    """Into how many rounds they are cut."""

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


@dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """What a controller may know about a task."""

    name: str
    classes: int
    train_images: int
    batch_size: int
    knobs: Knobs
    """The task's own setting, from which controllers start; nothing in it is left open but the assignment's IoU, which
    a schedule may raise."""
    ranges: Mapping[str, Range] = field(default_factory=our_ranges, hash=False)
    """Name -> range of every knob: ours, and those that the task's own parts declare."""

    optimizer: str = ""
    """Name of the recipe's optimizer; empty where nobody says."""
    loss: str = ""
    """Name of its class loss."""
    default_lr: float | None = None
    """The learning rate that its detector and optimizer have where none is given; None where nobody says."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "knobs", self.knobs.settled_by({name: OPEN_KNOBS[name] for name in BY_RECIPE}))
