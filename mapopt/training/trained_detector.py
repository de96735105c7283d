"""A trained detector for everyday use: objects in images of any form, and AP on any data with its categories."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypedDict, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapopt.data.datasets import DetectionDataset, images_from_dataset, is_dataset
from mapopt.data.images import ImageSet
from mapopt.data.layouts import Part
from mapopt.data.loading import DataSource, load_splits
from mapopt.data.pictures import TOGETHER, Picture, PictureSet
from mapopt.data.settings import DataSettings
from mapopt.data.splits import Splits
from mapopt.data.truth import truth_by_position
from mapopt.errors import CheckpointError, ConfigError, unknown_name
from mapopt.metrics import Detections, Report, evaluate
from mapopt.postprocessing.options import PostProcessingOptions
from mapopt.postprocessing.settings import PostProcessingSettings
from mapopt.settings import from_mapping
from mapopt.training.checkpoint import Checkpoint
from mapopt.training.inference import LoadedDetector
from mapopt.training.tiling import Tiles


class Prediction(TypedDict):
    """What is detected in one image, by falling score; as torchvision's detectors return it, with names beside it."""

    boxes: Tensor
    """``[n, 4]`` left, top, right, bottom in the image's own pixels."""
    scores: Tensor
    """``[n]`` from 0 to 1."""
    labels: Tensor
    """``[n]`` positions among the detector's categories, from 0."""
    names: list[str]
    """``n`` names of these categories."""


class Looks(TypedDict):
    """How a detector looks at images; see `LoadedDetector.candidates`."""

    flip: bool
    tiles: Tiles | None


class TrainedDetector(LoadedDetector):
    """A detector with the weights of a checkpoint; `mapopt.load` makes one.

    Attributes:
        categories: names of what it detects.
        size: (height, width) that images are fitted into.
        checkpoint: what it was made of.
    """

    def __init__(
        self, source: Path | Checkpoint, device: torch.device, *, detector: str | Callable[..., Any] | None = None
    ) -> None:
        super().__init__(source, device, detector=detector)
        self.source = source if isinstance(source, Path) else "this checkpoint"

    def predict(
        self,
        images: Picture | Sequence[Picture],
        *,
        every: int = 1,
        score: float = 0.0,
        options: PostProcessingOptions | None = None,
    ) -> list[Prediction]:
        """Detects objects.

        Args:
            images: one or several: image and video files, folders, PIL images, arrays ``[h, w, 3]`` or tensors
                ``[3, h, w]``.
            every: look at every so many frames of a video, from the first on.
            score: leave out boxes with a smaller score.
            options: what to change of the post-processing that the detector was trained with.

        Returns:
            One dictionary per image, also for a single image, and one per frame of a video.

        Raises:
            DataError: something is no image.
            ConfigError: the options name a class that the detector has not, there is a video and the extra `video` is
                not installed, or `every` is given and there is none.
        """
        return list(self.stream(images, every=every, score=score, options=options))

    def stream(
        self,
        images: Picture | Sequence[Picture],
        *,
        every: int = 1,
        score: float = 0.0,
        options: PostProcessingOptions | None = None,
    ) -> Iterator[Prediction]:
        """Detects objects in one image after the other, with no more of them in memory than a batch has.

        The arguments and errors are those of `predict`; errors of a file come when it is its turn.

        Returns:
            An iterator over what `predict` returns. Stop whenever you like: a video is decoded no further.
        """
        pictures = PictureSet(images, bits=self.bits, every=every)
        self.choose(options)
        return self._stream(pictures, score, options)

    def detect_parts(
        self, pictures: PictureSet, options: PostProcessingOptions | None = None
    ) -> Iterator[tuple[int, Detections]]:
        """Yields a batch at a time: of how many images, and all boxes in them, in their original pixels.

        Images and labels are named by their positions, those of images among all of them.
        """
        settings, looks = self.choose(options)
        together = min(self.batch, TOGETHER)
        for start, images in pictures.parts(self.categories, self.frame(options), together=together):
            part = self.detect(images, settings, **looks)
            yield len(images), Detections(part.boxes, part.scores, part.labels, part.image_ids + start)

    def choose(self, options: PostProcessingOptions | None) -> tuple[PostProcessingSettings | None, Looks]:
        """Returns what options come to with this detector: settings, None for its own, and how to look at images.

        Raises:
            ConfigError: they name a class that the detector has not, or their file cannot be used.
        """
        options = options or PostProcessingOptions()
        tiles = None if options.tiles is None else Tiles(*options.tiles, options.tile_overlap)
        return options.settings_over(self.trained_settings, self.categories), Looks(flip=options.flip, tiles=tiles)

    def frame(self, options: PostProcessingOptions | None) -> tuple[int, int]:
        """Returns the (height, width) that images are fitted into: the detector's, or what its tiles cover."""
        tiles = self.choose(options)[1]["tiles"]
        return self.size if tiles is None else tiles.frame(self.size)

    def evaluate(
        self,
        data: DataSource | DetectionDataset | ImageSet | None = None,
        *,
        split: Part = "test",
        options: PostProcessingOptions | None = None,
    ) -> Report:
        """Measures AP, and everything else that COCO does.

        Args:
            data: a folder with annotations, splits, data sets of ``(image, target)`` for several splits, or a single
                set of either kind; None takes what the detector was trained with.
            split: which split of the data; a single set has only one.
            options: what to change of the post-processing that the detector was trained with.

        Raises:
            DataError: the data cannot be used.
            ConfigError: the options name a class that the detector has not.
            CheckpointError: they have other categories, or it is not known what the detector was trained with.
        """
        images = self._image_set(data, split, self.frame(options))
        detections = self.detect_as(images, options)
        return evaluate(truth_by_position(images.annotations), detections)

    def detect_as(self, images: ImageSet, options: PostProcessingOptions | None = None) -> Detections:
        """Returns the boxes with labels that are positions among the categories of the images, in whatever order.

        Raises:
            CheckpointError: the images have other categories.
        """
        places = match_categories(self.categories, images.annotations.category_names)
        settings, looks = self.choose(options)
        detections = self.detect(images, settings, **looks)
        labels = places[detections.labels] if len(detections) else detections.labels
        return Detections(detections.boxes, detections.scores, labels, detections.image_ids)

    def splits(self, data: DataSource | DataSettings | None = None) -> Splits:
        """Returns data at the detector's size: those given, or those that it was trained with."""
        if isinstance(data, Splits):
            return data
        if isinstance(data, str | Path):
            data = DataSettings(data=str(data), bits=self.bits)
        if data is None or isinstance(data, DataSettings):
            return (data or self.trained_with()).load(self.size)
        return load_splits(data, size=self.size, categories=self.categories)

    def part(
        self, data: DataSource | DataSettings | None, split: Part, *, size: tuple[int, int] | None = None
    ) -> ImageSet:
        """Returns one split of data, see `splits`; a folder need not have others, and may be one COCO file.

        Args:
            data: see `evaluate`.
            split: which.
            size: (height, width) that the images of a folder are fitted into; None takes the detector's.

        Raises:
            ConfigError: there is no such split.
        """
        if split not in get_args(Part):
            raise ConfigError(unknown_name("split", str(split), get_args(Part)))
        if isinstance(data, str | Path):
            data = DataSettings(data=str(data), bits=self.bits)
        if data is None or isinstance(data, DataSettings):
            return (data or self.trained_with()).load_part(split, size or self.size)
        images: ImageSet = getattr(self.splits(data), split)
        return images

    @property
    def bits(self) -> int:
        """How many bits of images with 16 bits were in use in training."""
        return int(self.checkpoint.settings.get("bits", 16))

    def trained_with(self) -> DataSettings:
        """Returns the settings of the data that the detector was trained with.

        Raises:
            CheckpointError: the checkpoint does not hold them.
        """
        stored = self.checkpoint.settings
        if "data" not in stored:
            raise CheckpointError(f"{self.source}: does not say what data it was trained with: give --data")
        names = [field.name for field in dataclasses.fields(DataSettings)]
        return from_mapping(DataSettings, {name: stored[name] for name in names if name in stored}, str(self.source))

    def _image_set(
        self, data: DataSource | DetectionDataset | ImageSet | None, split: Part, size: tuple[int, int]
    ) -> ImageSet:
        if isinstance(data, ImageSet):
            return data
        # Several data sets come in a tuple, a list or a mapping; anything else with a length is a single one.
        if is_dataset(data) and not isinstance(data, Splits | tuple | list):
            return images_from_dataset(cast(DetectionDataset, data), size=size, categories=self.categories)
        return self.part(cast(DataSource | None, data), split, size=size)

    def _stream(
        self, pictures: PictureSet, score: float, options: PostProcessingOptions | None
    ) -> Iterator[Prediction]:
        start = 0
        for count, part in self.detect_parts(pictures, options):
            kept = np.flatnonzero(part.scores >= score)
            order = kept[np.lexsort((-part.scores[kept], part.image_ids[kept]))]
            ends = np.searchsorted(part.image_ids[order], np.arange(start, start + count + 1))
            for first, end in pairwise(ends):
                yield self._prediction(part, order[first:end])
            start += count

    def _prediction(self, detections: Detections, rows: NDArray[np.int64]) -> Prediction:
        labels = detections.labels[rows]
        return Prediction(
            boxes=torch.from_numpy(detections.boxes[rows].astype(np.float32)),
            scores=torch.from_numpy(detections.scores[rows].astype(np.float32)),
            labels=torch.from_numpy(labels),
            names=[self.categories[label] for label in labels],
        )


def match_categories(ours: Sequence[str], theirs: Sequence[str]) -> NDArray[np.int64]:
    """Returns the position among the data's categories of each of the checkpoint's.

    Raises:
        CheckpointError: the names are not the same.
    """
    if sorted(ours) != sorted(theirs):
        raise CheckpointError(
            f"the checkpoint finds {', '.join(ours)}, but the data have {', '.join(theirs)}: "
            "evaluate on data with the same categories, or train on these"
        )
    return np.array([list(theirs).index(name) for name in ours])
