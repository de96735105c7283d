"""What all tests share: one thread, small scenes, and the way to data that is not part of the repository."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mapopt.data import ShapesConfig, Splits, make_shapes_splits
from mapopt.training.knobs import Knobs
from mapopt.training.recipe import Recipe
from mapopt.training.task import Task

SHARED = Path(__file__).resolve().parents[2] / "shared"

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_splits() -> Splits:
    """A set that trains in a blink."""
    return make_shapes_splits(ShapesConfig(), seed=3, train=24, tune=10, test=12)


@pytest.fixture
def make_task(small_splits: Splits) -> Callable[..., Task]:
    """Makes a task on the small set: recipe fields by name, knobs as a dictionary."""

    def make(*, knobs: dict[str, float] | None = None, **recipe: object) -> Task:
        settings = Recipe(**{"batch_size": 4, **recipe})  # type: ignore[arg-type]
        return Task(name="small", splits=small_splits, recipe=settings, knobs=Knobs(**(knobs or {})))

    return make


@pytest.fixture(scope="session")
def blood_cells() -> Path:
    """The folder of real images; tests that need it are skipped without it."""
    folder = SHARED / "data" / "bccd"
    if not folder.is_dir():
        pytest.skip("shared/data/bccd, the blood cell images, is not here")
    return folder
