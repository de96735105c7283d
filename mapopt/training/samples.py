"""Training samples as a run sees them: which images come first, and what augmentation makes of them and their boxes.

They are made by what makes the batches of training, from the same seeds, so what is shown is what is trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from mapopt.data import ImageSet
from mapopt.training.batches import Kinds, make_batch, make_plan
from mapopt.training.class_balance import sampling_of
from mapopt.training.device_set import DeviceSet
from mapopt.training.history import Round
from mapopt.training.knobs import Knobs
from mapopt.training.recipe import Recipe
from mapopt.training.steps import StepPlan


@dataclass(frozen=True, eq=False)
class Boxed:
    """Pixels with the objects in them.

    Attributes:
        pixels: uint8 ``[height, width, 3]``.
        boxes: ``[g, 4]`` xyxy in these pixels.
        labels: ``[g]`` positions of categories.
        crowd: bool ``[g]``: a region, no object.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Sample:
    """An image of the training set, as it is and as it was trained on."""

    position: int
    """Of the image in its set."""
    before: Boxed
    after: Boxed


def training_samples(
    images: ImageSet,
    recipe: Recipe,
    strengths: NDArray[np.float64],
    *,
    factors: NDArray[np.float64] | None = None,
    seed: int = 0,
    seen: int = 0,
) -> list[Sample]:
    """Returns the samples that a run trains on.

    Args:
        images: the training set.
        recipe: of the run, which decides how images are drawn and names kinds of augmentation.
        strengths: of the augmentation, one for each sample.
        factors: of the probabilities of the kinds that the recipe names, one for each sample; 1 by default.
        seed: of the run.
        seen: images that the run has trained on before.
    """
    own, device, count = DeviceSet(images, torch.device("cpu")), torch.device("cpu"), len(strengths)
    plan = make_plan(
        [seed],
        [seen],
        [own],
        [strengths],
        device,
        **sampling_of(recipe),
        kinds=[Kinds(recipe.augmentation, factors)],
    )
    made, targets = make_batch([own], plan, [0], [count], size=count)
    pixels = made[0].round().clamp(0, 255).to(torch.uint8)
    samples = []
    for place, position in enumerate(plan.order[0].tolist()):
        before = _boxed(own.pixels[position], own.boxes[position], own.labels[position], own.crowd[position])
        after = _boxed(pixels[place], targets.boxes[0, place], targets.labels[0, place], targets.crowd[0, place])
        samples.append(Sample(position, before, after))
    return samples


def without_transform(recipe: Recipe) -> Recipe:
    """Returns a recipe without the transform of one's own that its augmentation names."""
    given = recipe.augmentation
    if not given.transform:
        return recipe
    return replace(recipe, augmentation=replace(given, transform="", transform_settings={}))


def first_strengths(played: Round, recipe: Recipe, count: int, *, knob: str = "augment") -> NDArray[np.float64]:
    """Returns how strongly the first images of a round were augmented, at the most `count` of them.

    Args:
        played: the round.
        recipe: of the run.
        count: images.
        knob: augment or augment_kinds.
    """
    ramp_from: Knobs | None = played.ramp_from
    steps = StepPlan(
        [played.knobs],
        [ramp_from],
        [played.via],
        images=played.interval.images,
        batch_size=recipe.batch_size,
        device=torch.device("cpu"),
    )
    return steps.per_image(knob)[0][:count]


def _boxed(pixels: torch.Tensor, boxes: torch.Tensor, labels: torch.Tensor, crowd: torch.Tensor) -> Boxed:
    real = (labels >= 0).numpy()
    return Boxed(
        np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()),
        boxes.numpy().astype(np.float64)[real],
        labels.numpy()[real],
        crowd.numpy()[real],
    )
