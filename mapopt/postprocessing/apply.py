"""Settings applied to candidates: the suppression of detectors, then limits of every class and of all together."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapopt.postprocessing.boxes import Boxes
from mapopt.postprocessing.settings import PostProcessingSettings
from mapopt.postprocessing.suppression import choose


def apply_settings(candidates: Boxes, settings: PostProcessingSettings, *, side: int) -> Boxes:
    """Selects the boxes to report among candidates.

    Args:
        candidates: of one lane, by image and class, then falling score, as `LoadedDetector.candidates` gives them.
        settings: for the classes of the candidates.
        side: pixels that no coordinate exceeds.

    Returns:
        By image, then falling score.
    """
    rows, scores = choose_by_settings(candidates, settings, side=side)
    return candidates.at(rows).with_scores(scores)


@torch.no_grad()
def choose_by_settings(candidates: Boxes, settings: PostProcessingSettings, *, side: int) -> tuple[Tensor, Tensor]:
    """Returns the positions among candidates of the boxes to report, and their scores; see `apply_settings`.

    Args:
        candidates: As for `apply_settings`, like what follows.
        settings: See there.
        side: See there.
    """
    thresholds = torch.tensor([settings.score_thresholds], dtype=candidates.scores.dtype)
    high = (candidates.scores >= thresholds[0, candidates.labels]).nonzero().squeeze(1)
    rows, scores = choose(
        candidates.at(high),
        thresholds,
        torch.tensor([settings.nms_iou]),
        soft_nms_sigma=torch.tensor([settings.soft_nms_sigma]),
        detections=torch.tensor([torch.inf]),
        side=side,
    )
    rows = high[rows]
    labels, images = candidates.labels[rows].numpy(), candidates.images[rows].numpy()
    within = np.flatnonzero(_ranks(images * settings.classes + labels) < np.array(settings.class_detections)[labels])
    kept = torch.from_numpy(within[_ranks(images[within]) < settings.detections])
    return rows[kept], scores[kept]


def _ranks(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns how many earlier entries share an entry's group."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    ranks = np.empty(len(groups), np.int64)
    ranks[order] = np.arange(len(groups)) - np.searchsorted(ordered, ordered)
    return ranks
