"""What a detector puts out before post-processing, kept, so that post-processing can be tried thousands of times.

Where candidates come from is a `CandidateFamily`: detectors that were trained, or drawn ones (`SyntheticCandidates`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from mapopt.data import ImageSet
from mapopt.detectors.registry import DETECTORS
from mapopt.envs.numbering import InstanceSplit, check_number, check_split
from mapopt.errors import ConfigError
from mapopt.postprocessing.candidates import CandidateSet
from mapopt.training.checkpoint import Checkpoint
from mapopt.training.device_set import DeviceSet
from mapopt.training.fleet import Trainer
from mapopt.training.inference import LoadedDetector, in_original_pixels


@dataclass(frozen=True, eq=False, kw_only=True)
class CandidateInstance:
    """One detector's candidates, as one problem of post-processing."""

    val: CandidateSet
    """What rewards and is observed."""
    test: CandidateSet
    """What only the last info of an episode shows."""
    description: str


class CandidateFamily(Protocol):
    """Numbered instances, all with the same number of classes."""

    @property
    def split(self) -> InstanceSplit:
        """Whether the instances are for training an agent or for evaluating it."""

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def classes(self) -> int:
        """Number of categories."""

    def instance(self, number: int) -> CandidateInstance:
        """Returns the instance of a number in ``[0, count)``; the same number gives the same bits."""


class DetectorCandidates:
    """What trained detectors put out on their val and test images: one instance each.

    The candidates of the dense detectors are the 300 strongest pairs of a location and a class of every image; those of
    torchvision's detectors are what their own post-processing suppresses among. A setting that is found here is
    deployed by `LoadedDetector.detect(images, setting)`, which reports exactly what was scored. Knobs have one score
    threshold and one limit: only a setting with the same threshold for every class and no limit of a class alone
    (`PostProcessingSettings.of`) is also what `Trainer.evaluate` does with those knobs.

    Args:
        instances: as `from_trainer` and `from_checkpoint` make them.
        split: whether they are for training an agent or for evaluating it.

    Raises:
        ConfigError: there is none, or they differ in their number of classes.
    """

    def __init__(self, instances: Sequence[CandidateInstance], *, split: InstanceSplit = "train") -> None:
        check_split(split)
        if not instances:
            raise ConfigError("no detector was given: give the candidates of at least one")
        classes = {candidates.classes for instance in instances for candidates in (instance.val, instance.test)}
        if len(classes) > 1:
            raise ConfigError(f"detectors of {sorted(classes)} classes were given: expected the same number in all")
        self._instances, self._classes, self.split = list(instances), classes.pop(), split

    @classmethod
    def from_trainer(cls, *trainers: Trainer, split: InstanceSplit = "train") -> DetectorCandidates:
        """Runs trainers' detectors, as they are now, on the val and test sets of their tasks."""
        return cls([_of_trainer(trainer) for trainer in trainers], split=split)

    @classmethod
    def from_checkpoint(
        cls,
        path: Path | str,
        *,
        val: ImageSet,
        test: ImageSet,
        split: InstanceSplit = "train",
        device: str = "cpu",
        detector: str | Callable[..., Any] | None = None,
    ) -> DetectorCandidates:
        """Runs a checkpoint's detector on images that are at its size.

        Args:
            path: the checkpoint's file.
            val: images that settings are scored on.
            test: images that are scored once, at an episode's end.
            split: which of the family's splits these candidates are.
            device: where to run the detector.
            detector: what the detector is, if it is one of your own; see `LoadedDetector`.

        Raises:
            CheckpointError: the checkpoint is damaged, or of a detector that is not given.
            ConfigError: the images have another size or other categories.
        """
        checkpoint = Checkpoint.load(Path(path))
        for images in (val, test):
            if images.size != checkpoint.size or images.annotations.category_names != checkpoint.categories:
                raise ConfigError(
                    f"{path} was trained on {', '.join(checkpoint.categories)} at {checkpoint.size} pixels, the images "
                    f"have {', '.join(images.annotations.category_names)} at {images.size}: load them as it was trained"
                )
        loaded = LoadedDetector(checkpoint, torch.device(device), detector=detector)
        return cls([_instance(loaded, val, test, str(path))], split=split)

    @property
    def count(self) -> int:
        """Detectors."""
        return len(self._instances)

    @property
    def classes(self) -> int:
        """Number of categories."""
        return self._classes

    def instance(self, number: int) -> CandidateInstance:
        """Returns the instance of a number in ``[0, count)``."""
        check_number(number, self.count)
        return self._instances[number]


def _of_trainer(trainer: Trainer) -> CandidateInstance:
    task, snapshot = trainer.task, trainer.snapshot()
    checkpoint = Checkpoint(
        snapshot=snapshot,
        recipe=task.recipe,
        categories=task.splits.train.annotations.category_names,
        size=task.splits.train.size,
        history=(),
        settings={},
    )
    # A trainer's own detector is in use already: it is not a file that names it.
    own = None if task.recipe.detector in DETECTORS else task.recipe.detector
    detector = LoadedDetector(checkpoint, snapshot.tensors["weights"].device, detector=own)
    return _instance(detector, task.splits.val, task.splits.test, f"{task.name} after {trainer.images} images")


def _instance(detector: LoadedDetector, val: ImageSet, test: ImageSet, name: str) -> CandidateInstance:
    return CandidateInstance(
        val=_candidate_set(detector, val),
        test=_candidate_set(detector, test),
        description=f"{name}: the candidates of a trained {detector.checkpoint.recipe.detector}",
    )


def _candidate_set(detector: LoadedDetector, images: ImageSet) -> CandidateSet:
    candidates = detector.candidates(images)
    boxes, places = candidates.boxes.numpy(), candidates.images.numpy()
    return CandidateSet(
        boxes=boxes,
        placed=in_original_pixels(boxes, places, images),
        scores=candidates.scores.numpy(),
        labels=candidates.labels.numpy(),
        images=places,
        truth=DeviceSet(images, torch.device("cpu")).truth,
    )
