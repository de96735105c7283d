"""What a diagnosis knows of a run: settings, images, rounds and a detector, as far as each of them is there.

What is costly is done when a check asks for it, and once: the network runs over a sample of each split, and whatever
is asked of its boxes afterwards starts from the boxes before suppression.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from mapopt.data.images import ImageSet
from mapopt.data.splits import Splits
from mapopt.data.truth import truth_by_position
from mapopt.metrics import Detections, GroundTruth, Report, evaluate
from mapopt.postprocessing.apply import apply_settings
from mapopt.postprocessing.boxes import Boxes
from mapopt.postprocessing.settings import PostProcessingSettings
from mapopt.training.budget import Budget
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.history import Round
from mapopt.training.inference import LoadedDetector, in_original_pixels
from mapopt.training.knobs import Knobs
from mapopt.training.recipe import Recipe

if TYPE_CHECKING:
    from mapopt.data.auditing.audit import Audit

Split = Literal["train", "val"]

SAMPLE = 256
"""Images of a split that the detector looks at, and whose boxes are laid over the picture, at the most."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """A run, or what one would be made of.

    Attributes:
        name: what messages call it.
        data: the folder of the images or "shapes"; "DATA" for images in memory.
        recipe: what stays the same.
        knobs: what the run starts from, settled.
        budget: images and rounds.
        schedule: what moves the knobs, where a schedule does.
        history: the rounds so far.
        splits: the images; None where they cannot be read or were in memory.
        unreadable: why they cannot be read; empty where they can.
        audit: what is wrong with the folder of the images; None where there is none.
        detector: with the weights that val AP selected; None before the first round.
        last: with the weights after the last round, which a wrong val set has not selected; None where they are not
            kept.
        status: how the run ended, as in its result; empty while it has not.
        reason: why it was stopped.
        sample: images of a split to look at.
    """

    name: str
    data: str
    recipe: Recipe
    knobs: Knobs
    budget: Budget
    schedule: Schedule | None = None
    history: tuple[Round, ...] = ()
    splits: Splits | None = None
    unreadable: str = ""
    audit: Audit | None = None
    detector: LoadedDetector | None = None
    last: LoadedDetector | None = None
    status: str = ""
    reason: str = ""
    sample: int = SAMPLE
    _candidates: dict[str, Boxes] = field(default_factory=dict, repr=False)

    @property
    def progress(self) -> float:
        """Fraction of the budget that is spent."""
        return self.history[-1].images / self.budget.images if self.history else 0.0

    @property
    def played(self) -> tuple[Round, ...]:
        """The rounds whose numbers are finite."""
        return tuple(played for played in self.history if not played.interval.diverged)

    @property
    def ap(self) -> float:
        """The best val AP so far; -1 before the first round."""
        return max((played.val.ap for played in self.history), default=-1.0)

    @cached_property
    def images(self) -> dict[Split, ImageSet]:
        """A sample of the train and of the val images, the same each time."""
        assert self.splits is not None
        return {"train": _sampled(self.splits.train, self.sample), "val": _sampled(self.splits.val, self.sample)}

    @cached_property
    def settings(self) -> PostProcessingSettings:
        """How the detector's boxes are reported."""
        assert self.detector is not None
        knobs = self.detector.checkpoint.snapshot.knobs
        return PostProcessingSettings.of(knobs, len(self.detector.categories))

    def truth(self, split: Split) -> GroundTruth:
        """Returns the objects of the sample, named by positions."""
        return truth_by_position(self.images[split].annotations)

    def detections(self, split: Split, *, last: bool = False, **changes: Any) -> Detections:
        """Returns the boxes in the sample, of the last weights if they are there, with changed post-processing."""
        assert self.detector is not None
        images, detector = self.images[split], (self.last if last else None) or self.detector
        key = f"{split} {detector is self.last}"
        if key not in self._candidates:
            self._candidates[key] = detector.candidates(images)
        settings = dataclasses.replace(self.settings, **changes)
        boxes = apply_settings(self._candidates[key], settings, side=max(images.size))
        corners = in_original_pixels(boxes.boxes.numpy(), boxes.images.numpy(), images)
        return Detections(corners, boxes.scores.double().numpy(), boxes.labels.numpy(), boxes.images.numpy())

    def report(self, split: Split, **changes: Any) -> Report:
        """Returns AP on the sample, with changed settings of post-processing."""
        return evaluate(self.truth(split), self.detections(split, **changes), mode="reward")

    @cached_property
    def train_ap(self) -> float:
        """AP on the sample of the train images, as they are."""
        return float(self.report("train").ap)

    @cached_property
    def val_ap(self) -> float:
        """AP on the sample of the val images."""
        return float(self.report("val").ap)


def _sampled(images: ImageSet, count: int) -> ImageSet:
    if len(images) <= count:
        return images
    order = np.random.default_rng(0).permutation(len(images))[:count]
    return images.select(np.sort(order))


def network_boxes(images: ImageSet) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns the objects of a set in the network's pixels: boxes ``[n, 4]``, labels ``[n]``, positions of images."""
    targets = images.targets()
    real = (targets.labels >= 0) & ~targets.crowd
    return targets.boxes[real], targets.labels[real], real.nonzero()[:, 0]
