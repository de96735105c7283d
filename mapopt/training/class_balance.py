"""Help for rare classes: weights by frequency, images drawn by their classes, and images repeated for rare ones.

All are functions of a training set's annotations alone, so that every lane and every resumed run has the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch

from mapopt.detectors.interface import Detector
from mapopt.errors import ConfigError, unknown_name
from mapopt.training.recipe import Recipe

if TYPE_CHECKING:
    from mapopt.data import Annotations

NAMED = 6
"""Classes whose weights are all printed; of more only the smallest and the largest."""


def tell_classes(detector: Detector, lane: int, recipe: Recipe, notes: Annotations) -> None:
    """Tells a detector how frequent the classes of a lane are, and how they weigh if a recipe weighs them.

    Raises:
        ConfigError: the recipe weighs them, and the class loss takes no weights, or there is no class of a name.
    """
    detector.count_classes(lane, torch.from_numpy(notes.counts))
    weights = _weights(recipe, notes)
    if weights is not None:
        detector.weigh_classes(lane, torch.from_numpy(weights).float())


def _weights(recipe: Recipe, notes: Annotations) -> np.ndarray | None:
    """Returns a recipe's factors ``[classes]``, those by frequency times those by name; None where it has none."""
    if recipe.class_balance != "weights" and not recipe.class_weights:
        return None
    names = list(notes.category_names)
    weights = np.ones(len(names))
    if recipe.class_balance == "weights":
        weights = class_weights(notes, recipe.class_balance_power)
    for name, factor in recipe.class_weights.items():
        if name not in names:
            raise ConfigError(unknown_name("class in class_weights", name, names))
        weights[names.index(name)] *= factor
    return weights


class Sampling(TypedDict):
    """How images are drawn for rare classes."""

    balanced: bool
    repeat_threshold: float


def sampling_of(recipe: Recipe) -> Sampling:
    """Returns how a recipe draws images for rare classes: classes equally often, images repeated, or neither."""
    repeats = recipe.class_balance == "repeat-factor"
    return Sampling(
        balanced=recipe.class_balance == "sampling", repeat_threshold=recipe.repeat_threshold if repeats else 0.0
    )


def class_weights(notes: Annotations, power: float = 1.0) -> np.ndarray:
    """Returns factors ``[classes]``: inverse frequencies to a power, with a mean of 1 over all objects.

    Args:
        notes: of the training set. A class without objects counts as having one.
        power: 1 gives every class the same weight in all, 0 every object.
    """
    counts = notes.counts.clip(min=1)
    scaled = counts**power
    weights: np.ndarray = counts.sum() / ((counts / scaled).sum() * scaled)
    return weights


def balanced_probabilities(notes: Annotations) -> np.ndarray:
    """Returns the probabilities ``[images]`` with which images are drawn so that classes come equally often.

    A class is drawn, then one of the images that hold it. Images without objects keep their fraction.

    Reference: Shen, Lin, Huang, "Relay Backpropagation for Effective Learning of Deep Convolutional Neural
    Networks", ECCV 2016 (class-aware sampling).
    """
    holds = _holds(notes)
    empty = ~holds.any(1)
    holding = holds[:, holds.any(0)] / holds.sum(0)[holds.any(0)]
    probabilities = np.full(len(notes), 1 / len(notes))
    if holding.size:
        probabilities[~empty] = (holding.mean(1) * (~empty).mean())[~empty]
    return probabilities


def repeat_factors(notes: Annotations, threshold: float) -> np.ndarray:
    """Returns how often each image comes in an epoch on average, ``[images]``, at least once.

    Of image I: ``max over its classes c of max(1, sqrt(threshold / f_c))``, with f_c the fraction of the images that
    hold class c.

    Args:
        notes: of the training set.
        threshold: the fraction of images below which a class is repeated; 0 repeats nothing.

    Reference: A. Gupta, P. Dollar, R. Girshick, "LVIS: A Dataset for Large Vocabulary Instance Segmentation", CVPR
    2019, appendix B (repeat factor sampling).
    """
    holds = _holds(notes)
    fractions = holds.mean(0)
    factors = np.sqrt(threshold / np.where(fractions > 0, fractions, 1.0)).clip(min=1.0)
    repeats: np.ndarray = np.where(holds, factors, 1.0).max(1, initial=1.0)
    return repeats


def describe(recipe: Recipe, notes: Annotations) -> str:
    """Says in a line what a recipe's help for rare classes comes to on a training set; nothing without any."""
    weights = _weights(recipe, notes)
    parts = [] if weights is None else [_describe_weights(weights, notes)]
    if recipe.class_balance == "sampling":
        often = balanced_probabilities(notes) * len(notes)
        parts.append(f"classes drawn equally: an image {often.min():.2g} to {often.max():.2g} times in {len(notes)}")
    if recipe.class_balance == "repeat-factor":
        repeats = repeat_factors(notes, recipe.repeat_threshold)
        parts.append(
            f"images repeated 1 to {repeats.max():.2g} times: an epoch has {round(repeats.sum())} for {len(notes)}"
        )
    return "; ".join(parts)


def _describe_weights(weights: np.ndarray, notes: Annotations) -> str:
    order = range(len(weights)) if len(weights) <= NAMED else (int(weights.argmin()), int(weights.argmax()))
    named = [f"{notes.category_names[number]} {weights[number]:.3g}" for number in order]
    return "class weights: " + (", ".join(named) if len(weights) <= NAMED else " to ".join(named))


def _holds(notes: Annotations) -> np.ndarray:
    """Returns which image holds which class, bool ``[images, classes]``."""
    holds = np.zeros((len(notes), len(notes.category_ids)), dtype=bool)
    holds[notes.images, notes.labels] = True
    return holds
