"""A detector as its checkpoint has it, ready to find objects in images: no training data, no optimizer.

On the CPU a detector with lanes is built with two, as it was trained: a single lane would run in another kernel, whose
last bits differ, and the AP of a checkpoint would not be exactly the one its run reported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mapopt.data import ImageSet
from mapopt.detectors.interface import Detector, KnobTable
from mapopt.detectors.layers import feature_maps
from mapopt.detectors.objective import OWN_LOSS, Objective
from mapopt.detectors.registry import DETECTORS, build_requested, supports_lanes
from mapopt.detectors.request import DetectorRequest
from mapopt.errors import CheckpointError
from mapopt.metrics import Detections
from mapopt.passes import steps
from mapopt.postprocessing.apply import apply_settings
from mapopt.postprocessing.boxes import Boxes
from mapopt.postprocessing.settings import PostProcessingSettings, check_classes
from mapopt.registry import Choice
from mapopt.training.checkpoint import Checkpoint
from mapopt.training.evaluated import AVERAGE, EVALUATED
from mapopt.training.knob_tensors import stack_knobs
from mapopt.training.mirroring import mirror_boxes, mirrored_images
from mapopt.training.recipe import Recipe
from mapopt.training.snapshots import constants_not_in
from mapopt.training.tiling import Tiles, check_frame, tile_boxes, tile_of, whole_of

_BATCH_PIXELS = 512 * 48 * 48
"""Pixels per batch, over all lanes; bounds the memory."""


class LoadedDetector:
    """A trained detector.

    Args:
        source: the checkpoint, or its file.
        device: where to run.
        detector: what the detector is, if it is none of ours, as for `mapopt.detectors.build_detector`: a file alone
            does not decide what is imported.

    Raises:
        CheckpointError: the checkpoint is damaged, its weights do not fit its detector, or it is of a detector of
            somebody's own that is not given.
        ConfigError: an earlier version wrote it, it began with pretrained weights, and these are not at hand and
            cannot be downloaded.
    """

    def __init__(
        self, source: Path | Checkpoint, device: torch.device, *, detector: str | Callable[..., Any] | None = None
    ) -> None:
        checkpoint = source if isinstance(source, Checkpoint) else Checkpoint.load(source)
        name = "checkpoint" if isinstance(source, Checkpoint) else source
        recipe, snapshot = checkpoint.recipe, checkpoint.snapshot
        self.checkpoint = checkpoint
        self.size, self.categories = checkpoint.size, checkpoint.categories
        self._device = device
        choice = _choice(name, recipe, detector)

        def build(lanes: int, *, fetch: bool = False) -> Detector:
            request = DetectorRequest(
                # No loss has a part in detection, and one of somebody's own is not imported for a file's sake.
                objective=Objective(loss=OWN_LOSS) if recipe.is_detectors_own else Objective(),
                classes=len(checkpoint.categories),
                size=checkpoint.size,
                lanes=lanes,
                # They are replaced at once, but a network that has them is another: its norms are frozen.
                weights=recipe.weights,
                fetch=fetch,
                device=device,
                autocast=recipe.autocast_on(device.type),
            )
            return build_requested(choice, request)

        self._detector, self._lanes = build(1), 1
        lacking = constants_not_in(snapshot.tensors, self._detector.buffers())
        if lacking:  # a file of an earlier version
            self._detector = build(1, fetch=True)
        if supports_lanes(choice.name) and device.type == "cpu" and self._detector.min_lanes > 1:
            # With the bits of the trainer, whose lanes were among others.
            self._lanes = self._detector.min_lanes
            self._detector = build(self._lanes)
        self._knobs = stack_knobs([snapshot.knobs] * self._lanes, device)
        with torch.no_grad():
            which = EVALUATED if EVALUATED in snapshot.tensors else AVERAGE if recipe.ema else "weights"
            places = {which: self._detector.weights.detach()}
            places |= {f"buffer.{name}": value for name, value in self._detector.buffers().items()}
            places = {part: place for part, place in places.items() if part not in lacking}
            for part, place in places.items():
                averaged = f"{AVERAGE}.{part.removeprefix('buffer.')}" if which == AVERAGE else part
                held = snapshot.tensors.get(averaged, snapshot.tensors.get(part))
                if held is None or held.shape != place.shape[1:]:
                    raise CheckpointError(f"{name}: its {part} do not fit a '{recipe.detector}'. Train it again.")
                place.copy_(held)

    @property
    def detector(self) -> Detector:
        """The detector itself, with the checkpoint's weights in every lane."""
        return self._detector

    def detect(
        self,
        images: ImageSet,
        settings: PostProcessingSettings | None = None,
        *,
        flip: bool = False,
        tiles: Tiles | None = None,
    ) -> Detections:
        """Returns the boxes in original pixels; images and labels are named by their positions.

        Args:
            images: at the detector's size, or that of the frame of the tiles.
            settings: of post-processing, in place of the knobs that the detector was trained with.
            flip: look at every image mirrored, too, see `candidates`.
            tiles: look at parts of every image, too, see `candidates`.

        Raises:
            ConfigError: the settings are for another number of classes, or images do not have the frame's size.
        """
        if settings is None and not flip and tiles is None:
            boxes = self._run(images, self._detector.detect, self._knobs)
        else:
            settings = settings or self.trained_settings
            check_classes(settings, len(self.categories))
            boxes = apply_settings(self.candidates(images, flip=flip, tiles=tiles), settings, side=max(images.size))
        corners = in_original_pixels(boxes.boxes.numpy(), boxes.images.numpy(), images)
        return Detections(corners, boxes.scores.double().numpy(), boxes.labels.numpy(), boxes.images.numpy())

    @property
    def trained_settings(self) -> PostProcessingSettings:
        """The knobs of post-processing that the detector was trained with."""
        return PostProcessingSettings.of(self.checkpoint.snapshot.knobs, len(self.categories))

    def candidates(self, images: ImageSet, *, flip: bool = False, tiles: Tiles | None = None) -> Boxes:
        """Returns the boxes that post-processing chooses from, in pixels of the images and with lane 0, on the host.

        They stand by image and class, then falling score; no score threshold has been applied.

        Args:
            images: at the detector's size, or that of the frame of the tiles.
            flip: those of the images mirrored from left to right, too, back in their places.
            tiles: those of every tile, and of the whole image scaled down to the detector's size.

        Raises:
            ConfigError: the images do not have the frame's size.
        """
        if tiles is not None:
            check_frame(images, tiles, self.size)
            small, factor = whole_of(images, self.size)
            boxes = self.candidates(small, flip=flip)
            boxes = dataclasses.replace(boxes, boxes=boxes.boxes / factor)
            for corner in tiles.corners(self.size):
                part = self.candidates(tile_of(images, corner, self.size), flip=flip)
                boxes = _together(boxes, tile_boxes(part, corner, self.size, images.size), len(self.categories))
            return boxes
        everything = self._knobs | {"score_threshold": torch.zeros_like(self._knobs["score_threshold"])}
        boxes = self._run(images, self._detector.candidates, everything)
        if not flip:
            return boxes
        mirrored = self._run(mirrored_images(images), self._detector.candidates, everything)
        return _together(boxes, mirror_boxes(mirrored, images), len(self.categories))

    def feature_maps(self, images: ImageSet, layers: Sequence[str] = ()) -> dict[str, Tensor]:
        """Returns what layers make of a few images, by name, each ``[images, channels, height, width]`` on the host.

        Args:
            images: at the detector's size, together in one batch.
            layers: names, see `mapopt.detectors.layers.feature_maps`; all by default.

        Raises:
            ConfigError: a layer is unknown, or the detector has none that can be seen.
        """
        return feature_maps(self._detector, images.pixels[:].to(self._device).float(), self._knobs, layers)

    def layer_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns channels, height and width of every layer's map, by name."""
        blank = torch.zeros((1, 3, *self.size), device=self._device)
        return {name: tuple(maps.shape[1:]) for name, maps in feature_maps(self._detector, blank, self._knobs).items()}

    @property
    def batch(self) -> int:
        """How many images it looks at at once."""
        return max(1, _BATCH_PIXELS // (self.size[0] * self.size[1]) // self._lanes)

    @torch.no_grad()
    def _run(self, images: ImageSet, how: Callable[[Tensor, KnobTable], Boxes], knobs: KnobTable) -> Boxes:
        columns: dict[str, list[Tensor]] = {name: [] for name in Boxes.__dataclass_fields__}
        with steps("detecting in", len(images), "images") as work:
            for start in range(0, len(images), self.batch):
                pixels = images.pixels[start : start + self.batch].to(self._device).float()
                boxes = how(pixels.expand(self._lanes, *pixels.shape), knobs)
                first = boxes.lanes == 0
                for name, column in columns.items():
                    column.append(getattr(boxes, name)[first].cpu() + (start if name == "images" else 0))
                work.advance(min(start + self.batch, len(images)))
        return Boxes(**{name: torch.cat(column) for name, column in columns.items()})


def _together(first: Boxes, second: Boxes, classes: int) -> Boxes:
    """Returns the boxes of two looks at the same images, by image and class, then falling score."""
    columns = [(getattr(first, name), getattr(second, name)) for name in Boxes.__dataclass_fields__]
    both = Boxes(*(torch.cat(pair) for pair in columns))
    order = both.scores.argsort(descending=True, stable=True)
    return both.at(order[(both.images * classes + both.labels)[order].argsort(stable=True)])


def _choice(name: object, recipe: Recipe, given: str | Callable[..., Any] | None) -> Choice:
    """Returns a checkpoint's detector, which is ours or given."""
    if recipe.detector in DETECTORS and given is not None:
        raise CheckpointError(f"{name}: its detector is our '{recipe.detector}': leave `detector` out")
    if recipe.detector not in DETECTORS and given is None:
        raise CheckpointError(
            f"{name}: its detector is '{recipe.detector}', which is none of ours and is not imported because a file "
            "says so: give it as `detector`"
        )
    return DETECTORS.choice(recipe.detector if given is None else given, recipe.detector_settings)


def in_original_pixels(boxes: np.ndarray, places: np.ndarray, images: ImageSet) -> np.ndarray:
    """Takes boxes ``[n, 4]`` of the images at positions ``[n]`` to original pixels, with the bits of the trainer."""
    scale = images.scale.numpy().astype(np.float64)
    notes = images.annotations
    frame = np.stack([notes.widths, notes.heights] * 2, axis=1)[places]
    return np.minimum(boxes.astype(np.float64) / scale[places][:, None], frame)
