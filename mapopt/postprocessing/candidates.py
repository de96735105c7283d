"""The boxes of one split before suppression, kept, so that post-processing can be tried thousands of times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mapopt.errors import ConfigError, DataError
from mapopt.metrics import GroundTruth
from mapopt.postprocessing.settings import PostProcessingSettings, check_classes

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, eq=False, kw_only=True)
class CandidateSet:
    """The boxes of one split before suppression, and the ground truth.

    Attributes:
        boxes: float32 ``[n, 4]`` xyxy in network pixels, in which suppression compares them.
        placed: float64 ``[n, 4]`` the same boxes in the pixels of the ground truth, in which they are evaluated.
        scores: float32 ``[n]``, not negative.
        labels: int64 ``[n]`` positions of categories.
        images: int64 ``[n]`` positions of images.
        truth: images and categories are named by their positions.

    Raises:
        DataError: columns differ in length, a score is negative or not finite, a label or image has no position, or
            there is no object to find.
    """

    boxes: NDArray[np.float32]
    placed: NDArray[np.float64]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]
    truth: GroundTruth

    def __post_init__(self) -> None:
        lengths = [len(getattr(self, name)) for name in ("boxes", "placed", "scores", "labels", "images")]
        if len(set(lengths)) > 1:
            raise DataError(f"candidates have columns of {lengths} rows: expected one row for every box")
        if not (np.isfinite(self.scores).all() and (self.scores >= 0).all()):
            raise DataError("a candidate's score is negative or not finite: expected scores from 0 up")
        for name, count in (("labels", self.classes), ("images", len(self.truth.images))):
            column = getattr(self, name)
            if len(column) and not (column.min() >= 0 and column.max() < count):
                raise DataError(
                    f"candidates have {name} {column.min()} to {column.max()}: expected positions, 0 to {count - 1}"
                )
        if self.truth.crowd.all():
            raise DataError("a split of candidates has no object to find: give images with objects")

    @classmethod
    def from_torchvision(
        cls,
        model: nn.Module,
        images: Iterable[Tensor],
        targets: Sequence[Mapping[str, Any]],
        *,
        score_threshold: float | None = None,
        batch: int = 1,
    ) -> CandidateSet:
        """Runs a detector of torchvision on images and keeps what it would suppress among.

        Labels stay torchvision's: a category's position is its label, and position 0 is a background without objects.
        The model is left as it was.

        Args:
            model: RetinaNet, FCOS, SSD, SSDlite, or Faster, Mask or Keypoint R-CNN of torchvision, however built and
                trained.
            images: ``[3, h, w]`` of 0 to 1 each, as the model takes them.
            targets: a dictionary for each image with ``boxes`` ``[g, 4]`` xyxy and ``labels`` ``[g]``, perhaps
                ``iscrowd`` and ``area``.
            score_threshold: smallest score kept; None takes the model's own.
            batch: images that the model takes at once; it pads those of a batch to one size, which changes what it
                sees at their edges.

        Raises:
            ConfigError: the model keeps no threshold and no limit that can be lifted.
            DataError: there are not as many targets as images, or what `GroundTruth.from_dicts` says of targets.
        """
        from mapopt.postprocessing.torchvision import collect_candidates, limits_of

        if limits_of(model) is None:
            raise ConfigError(
                f"candidates of a {type(model).__name__}: expected a detector of torchvision.models.detection, whose "
                "suppression can be lifted; with another one make a CandidateSet of its boxes before suppression"
            )
        columns = collect_candidates(model, images, score_threshold=score_threshold, batch=batch)
        if columns.count != len(targets):
            raise DataError(f"{len(targets)} targets were given for {columns.count} images: give one for each")
        names = ("boxes", "labels", "iscrowd", "area")
        plain = [{name: target[name] for name in names if name in target} for target in targets]
        labels = GroundTruth.from_dicts(plain).labels
        highest = max((int(column.max()) for column in (labels, columns.labels) if len(column)), default=0)
        return cls(
            boxes=columns.boxes,
            placed=columns.placed,
            scores=columns.scores,
            labels=columns.labels,
            images=columns.images,
            truth=GroundTruth.from_dicts(plain, categories=range(highest + 1)),
        )

    @property
    def classes(self) -> int:
        """Number of categories."""
        return len(self.truth.categories)

    def report(self, settings: PostProcessingSettings) -> list[dict[str, Tensor]]:
        """Returns what settings report, for every image ``boxes``, ``labels`` and ``scores`` as torchvision does.

        Boxes are in the pixels of the ground truth and stand by falling score.

        Raises:
            ConfigError: the settings are for another number of classes.
        """
        import torch

        from mapopt.postprocessing.apply import choose_by_settings
        from mapopt.postprocessing.boxes import Boxes

        check_classes(settings, self.classes)
        order = np.lexsort((-self.scores, self.labels, self.images))
        boxes, scores, labels, images, placed = (
            torch.from_numpy(column[order])
            for column in (self.boxes, self.scores, self.labels, self.images, self.placed)
        )
        side = int(np.ceil(self.boxes.max())) if len(self.boxes) else 1
        candidates = Boxes(boxes, scores, labels, torch.zeros_like(labels), images)
        rows, final = choose_by_settings(candidates, settings, side=side)
        results = []
        for image in range(len(self.truth.images)):
            here = images[rows] == image
            results.append({"boxes": placed[rows[here]].float(), "labels": labels[rows[here]], "scores": final[here]})
        return results
