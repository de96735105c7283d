"""What a process compiles once is compiled before the first run that needs it, so that no run is charged with it.

Seconds of a run stand beside its AP, and on a fresh machine the first method of a comparison would pay for all.
"""

from __future__ import annotations

from functools import lru_cache

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.detectors.registry import supports_lanes
from mapopt.registry import is_text
from mapopt.training import Fleet, Recipe, Task


def warm_up(recipe: Recipe, device: str) -> None:
    """Trains and evaluates two lanes for a step, once in a process for every recipe of our parts.

    Parts of somebody's own are not run before their time, and large detectors compile nothing.

    Args:
        recipe: what will be trained.
        device: where.
    """
    parts = (recipe.loss, recipe.blend_with, recipe.box_loss, recipe.assignment, recipe.optimizer, *recipe.auxiliary)
    if not any(map(is_text, (*parts, recipe.detector))) and supports_lanes(recipe.detector):
        _once(_Key(recipe), device)


class _Key:
    """A recipe by what it says, because it holds mappings."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self._said = recipe, repr(recipe)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._said == other._said

    def __hash__(self) -> int:
        return hash(self._said)


@lru_cache(maxsize=1024)
def _once(key: _Key, device: str) -> None:
    splits = make_shapes_splits(ShapesConfig(size=32, object_size=(8.0, 20.0)), seed=0, train=16, val=4, test=4)
    fleet = Fleet(Task(name="warm-up", splits=splits, recipe=key.recipe), [0, 1], device=device)
    fleet.train(key.recipe.batch_size)
    fleet.score("val")
