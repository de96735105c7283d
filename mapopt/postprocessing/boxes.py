"""Boxes of a batch with their scores, labels, lanes and images: what detectors put out and suppression takes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Boxes:
    """The boxes a detector reports for a batch, strongest first within an image."""

    boxes: Tensor
    """``[m, 4]`` xyxy in network pixels."""
    scores: Tensor
    """``[m]`` in [0, 1]."""
    labels: Tensor
    """``[m]`` positions of categories."""
    lanes: Tensor
    """``[m]``"""
    images: Tensor
    """``[m]`` positions in the batch."""

    def at(self, rows: Tensor) -> Boxes:
        """Returns some of the boxes, by positions ``[n]`` or as a mask ``[m]``."""
        return Boxes(self.boxes[rows], self.scores[rows], self.labels[rows], self.lanes[rows], self.images[rows])

    def with_scores(self, scores: Tensor) -> Boxes:
        """Returns the same boxes with other scores ``[m]``."""
        return Boxes(self.boxes, scores, self.labels, self.lanes, self.images)
