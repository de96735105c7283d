"""Everything that decides a training run, as the flags of `mapopt train`, its config.yaml and `mapopt.train` have it.

Settings are read and checked without torch, so that a mistake is said within a second.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mapopt.bounds import check_seed, check_whole
from mapopt.data.settings import FOLDER_SIZE, SHAPES, DataSettings
from mapopt.detectors.request import check_weights
from mapopt.devices import check_device
from mapopt.errors import ConfigError
from mapopt.fields import LEFT_OUT_AT_DEFAULT, LEFT_OUT_WHEN_EMPTY
from mapopt.settings import to_mapping
from mapopt.training.budget import Budget
from mapopt.training.controllers.base import Controller
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.controllers.reactive import Plateau
from mapopt.training.controllers.registry import CONTROLLERS, make_controller
from mapopt.training.distributed import check_processes
from mapopt.training.knobs import Knobs
from mapopt.training.recipe import Recipe
from mapopt.training.run_files import checkpoint_path

LONGEST = 1e6
"""Epochs, and hours, at the most."""

IMAGES = 12800
"""The budget where none is given."""

SECTIONS: dict[str, Any] = {"schedule": Schedule(), "plateau": Plateau()}
"""Controllers whose settings have a section of their own, with its defaults."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings(DataSettings):
    """One detector, one controller, one budget, and the images."""

    seed: int = 0
    """Initialization, order of the images and augmentation follow from it."""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto, which takes a GPU if there is one."""
    size: tuple[int, int] | None = None
    """Folders: (height, width) that images are fitted into, 256 256 by default."""
    images: int = IMAGES
    """The budget: how many images to train on in all, counted again in every epoch."""
    epochs: float | None = field(default=None, metadata=LEFT_OUT_AT_DEFAULT)
    """The budget in place of --images: how often to train on every image, rounded to rounds of whole steps."""
    hours: float | None = field(default=None, metadata=LEFT_OUT_AT_DEFAULT)
    """The budget in place of --images: as many as are expected to take so long by the clock, from steps and an
    evaluation that are timed at the start."""
    time_limit: float | None = field(default=None, metadata=LEFT_OUT_AT_DEFAULT)
    """Stop after so many hours at the end of a step, or before a round that would take longer, with exit status 75; the
    same command with --resume goes on after the last finished round."""
    rounds: int = 20
    """Into how many rounds the budget is cut; after each the val split is evaluated."""
    controller: str = "schedule"
    """What decides the knobs of every round: schedule, constant (nothing), plateau (a lower learning rate where val AP
    stalls), autopilot, one_cycle, greedy_lr, hypergradient, replay (of a run's folder), agent; lookahead, best_of_n or
    mf_pbt, which pay for what they try; or module:attribute for one of your own."""
    controller_settings: dict[str, int | float | bool | str] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """Settings of the controller that differ from its defaults; schedule and plateau have sections of their own."""
    patience: int = 0
    """Stop after so many rounds without a better val AP; 0 never stops early."""
    augment_until: float = field(default=1.0, metadata=LEFT_OUT_AT_DEFAULT)
    """No augmentation of any kind after this fraction of the budget, such as 0.85, mosaic and MixUp included, to the
    step; 1 keeps it on."""
    start_from: Path | None = field(default=None, metadata=LEFT_OUT_WHEN_EMPTY)
    """Begin with the weights of this checkpoint, or of a run's folder; other data may have other classes, of which
    those of the same name keep theirs."""
    threads: int = 1
    """Threads of the CPU; one is fastest where others want the machine too."""
    recipe: Recipe = field(default_factory=Recipe)
    """What stays the same while the detector trains."""
    knobs: Knobs = field(default_factory=Knobs)
    """What may change while it trains: the values to start from."""
    schedule: Schedule = field(default_factory=Schedule)
    """Of --controller schedule: the learning rate, and every other knob that is to move, from its FIRST to its LAST
    value over the run, or through points AT a fraction of the run, such as 0:0 0.7:0 0.75:1."""
    plateau: Plateau = field(default_factory=Plateau)
    """Of --controller plateau."""

    @property
    def budget(self) -> Budget:
        """Images and rounds.

        Raises:
            ConfigError: the images cannot be cut into rounds of whole steps.
        """
        whole = self.rounds * self.recipe.batch_size
        if self.rounds >= 1 and (self.images < 1 or self.images % whole):
            lower = self.images // whole * whole
            near = " or ".join(str(images) for images in (lower, lower + whole) if images > 0)
            raise ConfigError(
                f"images is {self.images}: expected {self.rounds} rounds of whole steps of {self.recipe.batch_size}, "
                f"such as {near}"
            )
        return Budget(images=self.images, rounds=self.rounds)

    def whole_rounds(self, images: float) -> int:
        """Returns the number of images nearest to another that can be cut into rounds of whole steps, one at least."""
        whole = self.rounds * self.recipe.batch_size
        return max(1, round(images / whole)) * whole

    def make_controller(self) -> Controller:
        """Returns the controller.

        Raises:
            ConfigError: there is none of this name, it cannot be made of its settings, or those of another are given.
        """
        CONTROLLERS.check_name(self.controller)
        for name, default in SECTIONS.items():
            if name != self.controller and getattr(self, name) != default:
                raise ConfigError(
                    f"--{name} is given, but --controller is {self.controller}: "
                    f"give --controller {name}, or leave --{name} out"
                )
        section = to_mapping(getattr(self, self.controller)) if self.controller in SECTIONS else {}
        given = {**section, **self.controller_settings}
        return make_controller(self.controller, given, patience=self.patience, augment_until=self.augment_until)

    def check_run(
        self, *, in_memory: bool = False, own_controller: bool = False, resumed: bool = False, finished: bool = False
    ) -> None:
        """Finds what is wrong with the settings before torch is imported and an image is read.

        Args:
            in_memory: the images are given, so that those of the settings are not needed.
            own_controller: the controller is given as an object.
            resumed: the run has begun, so that what it started from is in its own checkpoints.
            finished: the run has ended, so that its images are only looked at again where they are still there.

        Raises:
            ConfigError: settings contradict each other, or a name is unknown.
            DataError: there is no folder of images.
        """
        if not own_controller:
            self.make_controller()
        check_seed(self.seed)
        if self.start_from is not None and not resumed:
            checkpoint_path(self.start_from)
        check_whole("images", self.images, 1)
        check_whole("rounds", self.rounds, 1)
        self._check_length()
        check_device(self.device, threads=self.threads)
        check_processes(self.device, self.recipe.batch_size)
        if not finished:
            check_weights(self.recipe.weights)
        if not in_memory and not finished:
            self.check(self.size)

    def _check_length(self) -> None:
        """Raises ConfigError unless there is one budget that makes sense."""
        for name in ("epochs", "hours", "time_limit"):
            value = getattr(self, name)
            if value is not None and not 0 < value < LONGEST:
                raise ConfigError(f"{name} is {value}: expected a number above 0 and below {LONGEST:g}")
        given = [name for name, default in (("images", IMAGES), ("epochs", None), ("hours", None))
                 if getattr(self, name) != default]  # fmt: skip
        if len(given) > 1:
            raise ConfigError(
                f"{' and '.join(given)} are given, and each of them is the budget: give one of images, epochs and hours"
            )
        if self.epochs is None and self.hours is None:
            _ = self.budget

    def settle(self, device_type: str) -> TrainSettings:
        """Returns the settings with what was left open decided."""
        size = self.size if self.data == SHAPES else self.size or FOLDER_SIZE
        return dataclasses.replace(self, size=size, device=device_type, knobs=self.recipe.settle(self.knobs))
