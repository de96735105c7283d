"""`mapopt preview`: what a detector would be trained on, and what the layers of a trained one make of images."""

from __future__ import annotations

import dataclasses
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mapopt.bounds import check_whole
from mapopt.commands.command import Command
from mapopt.data.augmentation.settings import NONE, Augmentation
from mapopt.data.settings import SHAPES, DataSettings
from mapopt.devices import check_device, choose_device
from mapopt.errors import ConfigError
from mapopt.fields import NOT_A_SETTING
from mapopt.files import write_bytes
from mapopt.output import Output
from mapopt.training.run_files import checkpoint_path

if TYPE_CHECKING:
    from mapopt.data.images import ImageSet
    from mapopt.training.trained_detector import TrainedDetector

LAYER_IMAGES = 4
"""Val images whose feature maps are drawn at the most: every one is a row for every layer."""
FILES = ("samples.png", "layers.png")
"""What is drawn."""


@dataclass(frozen=True, kw_only=True)
class Preview(DataSettings, Command):
    """Draw training samples with their boxes before and after augmentation, without training.

    With --checkpoint they are those that its run began with, and --layers draws the feature maps of named layers of the
    trained detector beside them; --list-layers prints their names.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt preview --data cells --size 96 128 --augment 0.5 --out preview",
        "mapopt preview --data cells --augment 0 --augmentation.mosaic 1 --out preview",
        "mapopt preview --checkpoint runs/cells --layers stem third --out preview",
    )

    data: str | None = None  # type: ignore[assignment]
    """A folder of images with annotations, or "shapes"; by default the data that the checkpoint was trained with, or
    shapes without one."""
    checkpoint: Path | None = None
    """best.pt of a training run, or the run's folder."""
    detector: str | None = None
    """module:attribute of the checkpoint's detector, if it is one of your own; a file alone imports nothing."""
    size: tuple[int, int] | None = None
    """Folders: (height, width) that images are fitted into; the checkpoint's, or 256 256 by default."""
    augment: float | None = None
    """Strength of the augmentation, 0 to 1; by default the checkpoint's, or that of `mapopt train`."""
    augmentation: Augmentation = NONE
    """Kinds of augmentation with numbers of their own, as --recipe.augmentation of `mapopt train`; by default the
    checkpoint's."""
    count: int = 8
    """How many samples."""
    seen: int = 0
    """Samples that come after so many."""
    layers: tuple[str, ...] = ()
    """Draw the feature maps of these layers of the checkpoint's detector."""
    images: tuple[Path, ...] = ()
    """Image files or folders for the layers, --count of them; by default the first four val images."""
    list_layers: bool = field(default=False, metadata=NOT_A_SETTING)
    """Print the names of the layers and the sizes of their maps, and do nothing else."""
    out: Path = Path("runs/preview")
    """Folder for the pictures."""
    overwrite: bool = field(default=False, metadata=NOT_A_SETTING)
    """Replace the pictures in the folder."""

    def run(self) -> None:
        """Draws."""
        check_device(self.device)
        check_whole("count", self.count, 1, 64)
        check_whole("seen", self.seen, 0)
        if self.augment is not None and not 0 <= self.augment <= 1:
            raise ConfigError(f"augment is {self.augment}: expected 0 to 1")
        about_layers = [name for name in ("layers", "images", "list_layers", "detector") if getattr(self, name)]
        if self.checkpoint is None and about_layers:
            flag = about_layers[0].replace("_", "-")
            raise ConfigError(f"--{flag} is given without --checkpoint: give the run whose detector is meant")
        if self.images and not (self.layers or self.list_layers):
            raise ConfigError("--images is given without --layers: name the layers to look at, see --list-layers")
        if self.checkpoint is not None and self.size is not None:
            raise ConfigError("--size is given, but the checkpoint has its own: leave it out")
        if self.layers and importlib.util.find_spec("matplotlib") is None:
            raise ConfigError("--layers needs matplotlib, which is not installed: pip install matplotlib")
        path = None if self.checkpoint is None else checkpoint_path(self.checkpoint)
        output = Output(self.out, FILES)
        if self.list_layers:
            assert path is not None
            print(_described(self._detector(path)))
            return
        with output.writing(overwrite=self.overwrite):
            pictures = self._draw(path)
            if self.overwrite:
                output.clear()
            for name, content in pictures.items():
                write_bytes(self.out / name, content)
        print(f"{self.out}: {', '.join(pictures)}")

    def _detector(self, path: Path) -> TrainedDetector:
        from mapopt.training.trained_detector import TrainedDetector

        return TrainedDetector(path, choose_device(self.device), detector=self.detector)

    def _draw(self, path: Path | None) -> dict[str, bytes]:
        """Returns the pictures by file name."""
        import numpy as np

        from mapopt.drawing.sample_sheets import describe_strength, draw_pairs
        from mapopt.drawing.tiles import as_png
        from mapopt.training.knobs import Knobs
        from mapopt.training.recipe import Recipe
        from mapopt.training.samples import training_samples

        detector = None if path is None else self._detector(path)
        recipe, seed, knobs = Recipe(), self.seed, Knobs()
        if detector is not None:
            recipe, snapshot = detector.checkpoint.recipe, detector.checkpoint.snapshot
            seed, knobs = snapshot.seed, snapshot.knobs
        data = self._data(detector)
        pictures = {}
        if not self.images:
            train = data.load_part("train", self._size(detector))
            strengths = np.full(self.count, knobs.augment if self.augment is None else self.augment)
            factor = knobs.augment_kinds if self.augmentation == NONE else 1.0
            if self.augmentation != NONE:
                recipe = dataclasses.replace(recipe, augmentation=self.augmentation)
            elif recipe.augmentation.transform:
                raise ConfigError(
                    f"{path}: was trained with the transform {recipe.augmentation.transform}, and a file alone imports "
                    f"nothing: give --augmentation.transform {recipe.augmentation.transform}, with the other kinds"
                )
            factors = np.full(self.count, factor)
            samples = training_samples(train, recipe, strengths, factors=factors, seed=seed, seen=self.seen)
            notes = train.annotations
            about = (
                f"{data.data}: training samples as they are and, to the right of each, "
                f"{describe_strength(strengths, recipe.augmentation if factor else NONE)}."
            )
            sheet = draw_pairs(samples, notes.category_names, notes.file_names, title="Training samples", about=about)
            pictures["samples.png"] = as_png(sheet)
        if detector is not None and self.layers:
            pictures["layers.png"] = self._draw_layers(detector, data)
        return pictures

    def _draw_layers(self, detector: TrainedDetector, data: DataSettings) -> bytes:
        from mapopt.drawing.layer_sheets import draw_layers
        from mapopt.drawing.tiles import as_png

        images = self._shown(detector, data)
        maps = detector.feature_maps(images, self.layers)
        pictures = [pixels.permute(1, 2, 0).numpy() for pixels in images.pixels]
        about = f"{self.checkpoint}: {detector.checkpoint.recipe.detector} with the weights of its best round."
        names = [Path(name).name for name in images.annotations.file_names]
        return as_png(draw_layers(pictures, maps, names=names, about=about))

    def _shown(self, detector: TrainedDetector, data: DataSettings) -> ImageSet:
        """Returns the images that the layers look at."""
        if not self.images:
            val = data.load_part("val", detector.size)
            return val.select(list(range(min(len(val), self.count, LAYER_IMAGES))))
        from mapopt.data.image_files import find_images
        from mapopt.data.pictures import PictureSet

        pictures = PictureSet(find_images(self.images)[: self.count], bits=detector.bits)
        return next(pictures.parts(detector.categories, detector.size, together=self.count))[1]

    def _data(self, detector: TrainedDetector | None) -> DataSettings:
        if self.data is None and detector is not None:
            return detector.trained_with()
        given: dict[str, Any] = {item.name: getattr(self, item.name) for item in dataclasses.fields(DataSettings)}
        return DataSettings(**{**given, "data": self.data or SHAPES})

    def _size(self, detector: TrainedDetector | None) -> tuple[int, int] | None:
        return self.size if detector is None else detector.size


def _described(detector: TrainedDetector) -> str:
    """Returns a line for every layer: its name, channels, height and width."""
    height, width = detector.size
    shapes = detector.layer_shapes()
    longest = max(map(len, shapes))
    lines = [f"{len(shapes)} layers; channels x height x width of their maps for an image of {height} x {width}"]
    lines += [f"{name:{longest}}  {' x '.join(map(str, shape))}" for name, shape in shapes.items()]
    return "\n".join(lines)
