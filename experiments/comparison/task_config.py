"""What one task of a comparison is: its data and, where tasks differ in more, how detectors are trained on it.

A task may have a recipe of its own: so a comparison can ask whether a method holds with other optimizers, losses or
batches. It stands where a method leaves the default, so a method that is about an optimizer keeps its optimizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from mapopt.data import ShapesConfig
from mapopt.errors import ConfigError, unknown_name
from mapopt.experiments.searching.changes import overridden
from mapopt.fields import LEFT_OUT_AT_DEFAULT, LEFT_OUT_WHEN_EMPTY
from mapopt.training import Budget, Recipe

MAX_FACTOR = 1000.0
"""Times the experiment's budget at the most."""


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """The data of one task, and what its detectors are trained with where the method leaves the default."""

    data: str | None = None
    """A folder of real images, or module:attribute of splits or data sets, or of a function that returns them; without
    it, procedural shapes."""
    scenes: ShapesConfig = field(default_factory=ShapesConfig)
    """The parameters of the shapes."""
    images: tuple[int, int, int] = (512, 128, 512)
    """Train, val and test images of the shapes; every seed draws its own."""
    size: tuple[int, int] = (48, 48)
    """(height, width) real images are scaled to."""
    invalid: Literal["error", "clip", "drop"] = "error"
    """What to do with boxes outside their image or without area."""
    split: tuple[float, float, float] | None = None
    """Fractions by which real images that are one set are divided into train, val and test."""
    bits: int = 16
    """How many bits of real images with 16 bits are in use."""
    recipe: dict[str, Any] = field(default_factory=dict, hash=False, metadata=LEFT_OUT_WHEN_EMPTY)
    """Fields of the recipe on this task, where a method has the default."""
    knobs: dict[str, float] = field(default_factory=dict, hash=False, metadata=LEFT_OUT_WHEN_EMPTY)
    """Knobs on this task, where a method does not give them."""
    budget_factor: float = field(default=1.0, metadata=LEFT_OUT_AT_DEFAULT)
    """What the experiment's images are multiplied with on this task."""

    def __post_init__(self) -> None:
        known = [item.name for item in fields(Recipe)]
        for name in self.recipe:
            if name not in known:
                raise ConfigError(unknown_name("field of a task's recipe", name, known))
        if not 0 < self.budget_factor <= MAX_FACTOR:
            raise ConfigError(
                f"budget_factor is {self.budget_factor}: expected a number above 0, up to {MAX_FACTOR:.0f}"
            )

    @property
    def data_alone(self) -> TaskConfig:
        """The task without what it says of the training: of tasks with the same images it is the same."""
        return replace(self, recipe={}, knobs={}, budget_factor=1.0)

    def recipe_of(self, recipe: Recipe, where: str) -> Recipe:
        """Returns a method's recipe on this task.

        Args:
            recipe: the method's.
            where: what messages call it.

        Raises:
            ConfigError: the two make no recipe together.
        """
        default = Recipe()
        own = {name: value for name, value in self.recipe.items() if getattr(recipe, name) == getattr(default, name)}
        return overridden(recipe.reopened() if "detector" in own else recipe, own, where)

    def knobs_of(self, knobs: Mapping[str, float]) -> dict[str, float]:
        """Returns a method's knobs on this task."""
        return {**self.knobs, **knobs}

    def budget_of(self, budget: Budget) -> Budget:
        """Returns the budget of a run on this task.

        Raises:
            ConfigError: its images do not divide by the rounds.
        """
        if self.budget_factor == 1:
            return budget
        return Budget(images=round(budget.images * self.budget_factor), rounds=budget.rounds)
