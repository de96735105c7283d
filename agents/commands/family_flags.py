"""The flags that say which instances an agent is trained on: a family by name, with its settings."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mapopt.data import Invalid, ShapesConfig
from mapopt.data.faults import Fault
from mapopt.data.layouts import Part
from mapopt.envs.families import FAMILIES, NumberedFamily, make_family
from mapopt.errors import ConfigError, unknown_name
from mapopt.training.knobs import Knobs
from mapopt.training.recipe import Recipe

_DATA_FAMILY = "from-data"


@dataclass(frozen=True, kw_only=True)
class FamilyFlags:
    """A family's settings; those left open are the family's own defaults."""

    name: str = "shapes"
    """shapes, imbalanced, small-objects, noisy-labels, rescue or from-data; --family NAME is short for it."""
    count: int | None = None
    """How many instances there are."""
    images: tuple[int, int, int] | None = None
    """Train, tune and test images of an instance."""
    recipe: Recipe = field(default_factory=Recipe)
    """What does not change while a detector trains."""
    knobs: Knobs = field(default_factory=Knobs)
    """The knobs that an instance starts from."""
    scenes: ShapesConfig = field(default_factory=ShapesConfig)
    """All but from-data: the dials of the scenes that the family does not draw."""
    variety: float | None = None
    """shapes: from 0 (all instances alike) to 1."""
    factor: tuple[float, float] | None = None
    """imbalanced: least and largest factor between the most and the least frequent class."""
    largest: tuple[float, float] | None = None
    """small-objects: between these is the size of an instance's largest objects, in pixels."""
    under: float | None = None
    """small-objects: the description says what share of objects is smaller than so many pixels."""
    fraction: tuple[float, float] | None = None
    """noisy-labels: least and largest number of faults per object."""
    faults: tuple[Fault, ...] | None = None
    """noisy-labels: what goes wrong."""
    mistakes: tuple[str, ...] | None = None
    """rescue: the kinds of mistakes, in turn."""
    part: Part | None = None
    """from-data: which of the folder's sets the images are taken from."""
    size: int | None = None
    """from-data: pixels of a crop's side."""
    crop: tuple[float, float] | None = None
    """from-data: least and largest side of a crop, as a share of its image's shorter side."""
    visible: float | None = None
    """from-data: an object of which a smaller share is left is ignored."""
    empty: float | None = None
    """from-data: largest share of crops without an object."""
    crops_per_image: int | None = None
    """from-data: most crops of one image that are to show an object."""
    eval_fraction: float | None = None
    """from-data: share of the images that is for judging agents."""
    seed: int | None = None
    """from-data: decides which images are for judging."""
    invalid: Invalid | None = None
    """from-data: what to do with boxes outside their image or without area."""

    def make(self, data: Path | None) -> NumberedFamily:
        """Makes the family.

        Args:
            data: the data set of from-data.

        Raises:
            ConfigError: the name is unknown, a setting is out of its range or not one of this family, or `data` and
                the family do not belong together.
            DataError: the data cannot be used.
        """
        if self.name not in FAMILIES:
            raise ConfigError(unknown_name("family", self.name, FAMILIES))
        if (data is not None) != (self.name == _DATA_FAMILY):
            raise ConfigError(
                f"--family is {self.name}: --family {_DATA_FAMILY} and --data PATH belong together, give both"
            )
        known = {one.name for one in fields(FAMILIES[self.name])}
        given: dict[str, Any] = {} if data is None else {"path": data}
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name == "name" or value == getattr(FamilyFlags(), one.name):
                continue
            if one.name not in known:
                flag = one.name.replace("_", "-")
                raise ConfigError(
                    f"--family.{flag} is given, but it says nothing about --family {self.name}: leave it out"
                )
            given[one.name] = value
        return make_family(self.name, **given)
