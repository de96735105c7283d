"""What all tests of environments have: one tiny family of every kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mapopt.data import ShapesConfig, make_shapes, write_coco
from mapopt.envs.families import NumberedFamily, make_family
from mapopt.training.recipe import Recipe

TINY: dict[str, Any] = {"images": (12, 6, 6), "count": 9, "recipe": Recipe(batch_size=4)}


@pytest.fixture(scope="session")
def tiny_family(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., NumberedFamily]:
    """Makes a family by its name, with a few images an instance and steps of four."""
    folder = tmp_path_factory.mktemp("pictures")
    scenes = make_shapes(ShapesConfig(size=96, objects=(2, 6), object_size=(12.0, 40.0)), seed=5, count=20)
    (folder / "images").mkdir()
    for name, pixels in zip(scenes.annotations.file_names, scenes.pixels, strict=True):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / "images" / name)
    write_coco(replace(scenes.annotations, root=folder), folder / "train.json")

    def make(name: str = "shapes", **changes: Any) -> NumberedFamily:
        own: dict[str, Any] = {"path": Path(folder), "size": 48} if name == "from-data" else {}
        own |= {"budgets": ()} if name == "budgets" else {}  # those of the family are long
        # The batch is one of what it draws; the budgets of tests are for steps of four.
        own |= {"recipe": Recipe(), "batches": (4,)} if name == "recipes" else {}
        return make_family(name, **{**TINY, **own, **changes})

    return make
