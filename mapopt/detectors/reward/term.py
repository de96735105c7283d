"""The term of a loss whose gradient raises the expected reward of rankings that are drawn from a detector's scores.

A ranking of a class's reported boxes over the batch is drawn from the Plackett-Luce model of their logits. How likely
it is to be drawn again follows from its reward, less that of the other rankings (a baseline that costs nothing), image
by image: what an entry adds to the gradient counts by the credit of its image, see `rewards`, which leaves the
expectation as it is and takes the luck of the other images out. The boxes are fixed, so more of them pay nothing, and
the sum of the gradient over a class is 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapopt.compiling import load_kernels
from mapopt.detectors.interface import KnobTable, Targets
from mapopt.detectors.reward.rewards import (
    RECALLS,
    Ranked,
    credits_of,
    log_probability_gradient,
    rewards_of,
    thresholds_of,
)
from mapopt.losses.sums.evenly import evenly
from mapopt.postprocessing.boxes import Boxes
from mapopt.postprocessing.suppression import choose, strongest_pairs

_MAX_DETECTIONS = 100
"""Boxes of an image that are ranked, as COCO's evaluation counts."""


class RewardTerm:
    """1 less the mean reward over rankings and classes, per lane, with the policy gradient.

    Args:
        reward: what is computed of a ranking; see `mapopt.detectors.reward.rewards.rewards_of`.
        samples: rankings that are drawn at every step, at least 2.

    Reference: A. Pinto et al., "Tuning computer vision models with task rewards", ICML 2023, section 3; W. Kool et al.,
        "Buy 4 REINFORCE Samples, Get a Baseline for Free!", 2019. Differs: rankings are drawn instead of sets of boxes,
        and an image has a credit of its own.
    """

    def __init__(self, reward: str, samples: int) -> None:
        self.reward, self.samples = reward, samples

    def __call__(
        self,
        logits: Tensor,
        boxes: Tensor,
        targets: Targets,
        knobs: KnobTable,
        *,
        size: tuple[int, int],
        class_weights: Tensor | None = None,
    ) -> Tensor:
        """Returns the term ``[lanes]``.

        Args:
            logits: ``[lanes, batch, locations, classes]``.
            boxes: ``[lanes, batch, locations, 4]`` predicted, xyxy pixels.
            targets: the objects.
            knobs: values per lane; of ours those of post-processing and ``temperature``, by which logits are divided
                before a ranking is drawn.
            size: (height, width) that boxes are clipped to.
            class_weights: ``[lanes, classes]`` by which classes count.
        """
        lanes = logits.shape[0]
        kept, places, scores = self._reported(logits.detach(), boxes.detach(), targets, knobs, size)
        values, gradient = np.ones(lanes), np.zeros(len(places))
        lane_of = kept.lanes.numpy(force=True)
        bounds = np.searchsorted(lane_of, np.arange(lanes + 1))
        temperature = knobs["temperature"].double().numpy(force=True)
        for lane in range(lanes):
            part = slice(int(bounds[lane]), int(bounds[lane + 1]))
            weights = None if class_weights is None else class_weights[lane].double().numpy(force=True)
            values[lane], gradient[part] = self._lane(
                kept.at(torch.arange(part.start, part.stop, device=kept.boxes.device)),
                scores[part] / temperature[lane],
                Targets(*(values[lane] for values in (targets.boxes, targets.labels, targets.crowd))),
                weights,
            )
            gradient[part] /= temperature[lane]
        chosen = logits.reshape(-1)[places]
        factors = torch.from_numpy(gradient).to(chosen)
        moved = torch.zeros(lanes, device=logits.device, dtype=chosen.dtype).index_add(
            0, kept.lanes, factors * (chosen - chosen.detach())
        )
        # A score that is no number stands in no ranking; it must not be hidden by that.
        lost = logits.detach().isnan().flatten(1).any(1)
        return torch.where(lost, torch.nan, torch.from_numpy(values).to(chosen)) + moved

    def _reported(
        self, logits: Tensor, boxes: Tensor, targets: Targets, knobs: KnobTable, size: tuple[int, int]
    ) -> tuple[Boxes, Tensor, NDArray[np.float64]]:
        """Returns the boxes that are reported, by lane, where their logits are, and logits as suppression left them."""
        _, batch, locations, classes = logits.shape
        strengths = evenly(torch.sigmoid, logits)
        image, location, label = strongest_pairs(strengths, torch.zeros_like(knobs["score_threshold"]))
        if targets.counted is not None:
            counted = targets.counted.reshape(-1)[image]
            image, location, label = image[counted], location[counted], label[counted]
        places = (image * locations + location) * classes + label
        frame = boxes.new_tensor([size[1], size[0], size[1], size[0]])
        candidates = Boxes(
            boxes.reshape(-1, 4)[image * locations + location].clamp(min=0).minimum(frame).float(),
            strengths.reshape(-1)[places].float(),
            label,
            image.div(batch, rounding_mode="floor"),
            image % batch,
        )
        rows, left = choose(
            candidates,
            torch.zeros_like(knobs["score_threshold"]),
            knobs["nms_iou"],
            soft_nms_sigma=knobs["soft_nms_sigma"],
            detections=knobs["detections"].clamp(max=_MAX_DETECTIONS),
            side=max(size),
        )
        raw = logits.reshape(-1)[places[rows]].double().numpy(force=True)
        before = candidates.scores[rows].double().numpy(force=True)
        decay = np.divide(left.double().numpy(force=True), before, out=np.ones(len(raw)), where=before > 0)
        return candidates.at(rows), places[rows], _decayed(raw, decay)

    def _lane(
        self, kept: Boxes, scores: NDArray[np.float64], targets: Targets, weights: NDArray[np.float64] | None
    ) -> tuple[float, NDArray[np.float64]]:
        """Returns 1 less the mean reward of one lane, and its gradient ``[n]`` in the scores."""
        gradient, total, sum_of_weights = np.zeros(len(scores)), 0.0, 0.0
        # What is drawn follows from the lane's own numbers, so it does not depend on which lanes run beside it.
        seed = int.from_bytes(hashlib.blake2b(scores.tobytes(), digest_size=8).digest(), "little")
        generator = np.random.default_rng(seed)
        for label, rows, ranked in _by_class(kept, targets):
            weight = 1.0 if weights is None else float(weights[label])
            sum_of_weights += weight
            if not len(rows):
                continue
            own = scores[rows]
            noise = generator.gumbel(size=(self.samples, len(rows)))
            orders = np.argsort(-(own + noise), axis=1, kind="stable")
            rewards = self._rewards(ranked, orders)
            credit = credits_of(rewards, ranked.objects)
            advantages = (credit - credit.mean(0)) * self.samples / (self.samples - 1)
            own_gradient = self._gradient(ranked, own, orders, advantages) / self.samples
            # That of the expected reward sums to 0: all scores moved alike rank as before. So may its estimate.
            gradient[rows] -= weight * (own_gradient - own_gradient.mean())
            total += weight * float(rewards[:, 0].mean())
        if sum_of_weights <= 0:
            return 0.0, gradient
        return 1.0 - total / sum_of_weights, gradient / sum_of_weights

    def _rewards(self, ranked: Ranked, orders: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns ``[samples, 1 + images]``: the rewards of all images, then without each of them."""
        kernels = load_kernels("mapopt.detectors.reward.kernels")
        if kernels is None:
            return np.stack([rewards_of(ranked, order, self.reward) for order in orders])
        rewards = np.empty((len(orders), 1 + len(ranked.objects)))
        kind = {"f1": kernels.F1, "lrp": kernels.LRP}.get(self.reward, kernels.AP)
        kernels.reward_rankings(
            orders,
            ranked.images,
            ranked.overlaps,
            ranked.crowd,
            ranked.objects,
            thresholds_of(self.reward),
            kind,
            RECALLS,
            rewards,
        )
        return rewards

    @staticmethod
    def _gradient(
        ranked: Ranked, scores: NDArray[np.float64], orders: NDArray[np.int64], advantages: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Returns ``[n]``: the sum over rankings of log-probabilities' gradients, times their images' advantages.

        What is drawn after the last box that fits any object changes no reward and is left out.
        """
        fits = np.any(ranked.overlaps >= 0.5, axis=1)[orders]
        draws = np.where(fits.any(1), orders.shape[1] - fits[:, ::-1].argmax(1), 0)
        kernels = load_kernels("mapopt.detectors.reward.kernels")
        gradient = np.zeros(len(scores))
        if kernels is None:
            for order, count, advantage in zip(orders, draws, advantages, strict=True):
                gradient += advantage[ranked.images] * log_probability_gradient(scores, order, int(count))
        else:
            kernels.add_gradients(scores, orders, draws, ranked.images, advantages, gradient)
        return gradient


def _by_class(kept: Boxes, targets: Targets) -> Iterator[tuple[int, NDArray[np.int64], Ranked]]:
    """Yields each class that has objects, the positions of its boxes, and what they are ranked by."""
    images, labels = (values.numpy(force=True) for values in (kept.images, kept.labels))
    objects, crowds = (values.numpy(force=True) for values in (targets.labels, targets.crowd))
    overlaps = _overlaps(kept.boxes, targets, kept.images)
    for label in np.unique(objects[(objects >= 0) & ~crowds]):
        rows = np.flatnonzero(labels == label)
        own = objects == label
        ranked = Ranked(
            images[rows],
            np.where(own[images[rows]], overlaps[rows], -1.0),
            own & crowds,
            (own & ~crowds).sum(1),
        )
        yield int(label), rows, ranked


def _overlaps(boxes: Tensor, targets: Targets, images: Tensor) -> NDArray[np.float64]:
    """Returns ``[n, g]`` the IoU of boxes with all objects of their images; with crowds the part that is inside."""
    ours, theirs = boxes.double()[:, None], targets.boxes[images].double()
    corner = torch.minimum(ours[..., 2:], theirs[..., 2:]) - torch.maximum(ours[..., :2], theirs[..., :2])
    inside = corner.clamp(min=0).prod(-1)
    area, whole = ((each[..., 2:] - each[..., :2]).clamp(min=0).prod(-1) for each in (ours, theirs))
    union = torch.where(targets.crowd[images], area.expand_as(inside), area + whole - inside)
    return torch.where(union > 0, inside / union, 0.0).numpy(force=True)


def _decayed(logits: NDArray[np.float64], decay: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the logits of probabilities that were multiplied by factors up to 1."""
    chances = 1 / (1 + np.exp(-logits))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        moved = np.log(decay) + np.minimum(logits, 0) - np.log1p(np.exp(-np.abs(logits))) - np.log1p(-decay * chances)
    return np.where(decay < 1, moved, logits)
