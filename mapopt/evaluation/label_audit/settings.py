"""What decides an audit of labels with detectors: who looks, and what is reported; read and checked without torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from mapopt.bounds import check_seed, check_whole
from mapopt.data.auditing.findings import BY_MODEL, KINDS
from mapopt.errors import ConfigError, unknown_name

_EPOCHS, _RANGE = 30, (3200, 25600)
"""How often a lane sees every image of a set, within this range of images."""

PRICED = 50
"""Findings of each kind and set that get a price of their own, those with the highest confidence."""


@dataclass(frozen=True, kw_only=True)
class FoldSettings:
    """How lanes are trained that look at what they did not see."""

    folds: int = 4
    """Into how many parts the images are divided; each is looked at by a lane that was trained on the others."""
    images: int | None = None
    """Images that each lane trains on, counted again in every epoch; by default 30 times those of the set, 3200 at the
    least and 25 600 at the most."""
    size: tuple[int, int] | None = None
    """(height, width) that images are fitted into; by default as large as the objects need."""
    seed: int = 0
    """Decides the folds, and what else is random in training."""
    rounds: int = field(default=10, init=False)
    batch: int = field(default=16, init=False)

    def check(self) -> None:
        """Raises ConfigError where a number makes no sense, before torch is imported."""
        check_whole("folds", self.folds, 2, 64)
        if self.images is not None:
            check_whole("fold_images", self.images, 1)
        check_seed(self.seed)
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 8 or any(side % 8 for side in self.size)):
            raise ConfigError(f"size is {self.size}: expected a height and a width, both multiples of 8")

    def budget(self, count: int) -> int:
        """Returns the images of a lane for a set of so many, in whole rounds of whole steps.

        >>> [FoldSettings().budget(count) for count in (50, 500, 5000)], FoldSettings(images=1000).budget(50)
        ([3200, 15040, 25600], 960)
        """
        whole = self.rounds * self.batch
        images = min(max(_EPOCHS * count, _RANGE[0]), _RANGE[1]) if self.images is None else self.images
        return max(1, round(images / whole)) * whole


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What is wanted of an audit with detectors."""

    confidence: float = 0.5
    """Report what is at least so sure."""
    prices: int = PRICED
    """So many findings of each kind and set get a price of their own; 0 leaves prices out."""
    kinds: tuple[str, ...] = ()
    """Look for these kinds of findings alone; by default for all."""
    training_seeds: int = 0
    """Train so many lanes on the labels as they are, and as many for each kind with it mended; 0 trains none."""
    training: FoldSettings = field(default_factory=FoldSettings)
    """How long they train, and at what size."""
    seed: int = 0
    """Of the faults that are planted to learn how the detector sees them."""

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise ConfigError(f"confidence is {self.confidence}: expected 0 to 1")
        if self.prices < 0:
            raise ConfigError(f"prices is {self.prices}: expected 0 findings of each kind, or more")
        if self.training_seeds < 0:
            raise ConfigError(f"training_seeds is {self.training_seeds}: expected 0 lanes for each kind, or more")

    def wanted(self) -> tuple[str, ...]:
        """Returns the kinds that detectors look for.

        Raises:
            ConfigError: a kind is unknown, or none of them needs a detector.
        """
        for kind in self.kinds:
            if kind not in KINDS:
                raise ConfigError(unknown_name("kind of finding", str(kind), KINDS))
        wanted = tuple(kind for kind in BY_MODEL if not self.kinds or kind in self.kinds)
        if not wanted:
            raise ConfigError(
                f"kinds is {', '.join(self.kinds)}, which is found without a detector: leave the detector out, or name "
                f"one of {', '.join(BY_MODEL)}"
            )
        return wanted
