"""Knobs that were set and that no part of a recipe reads: they change nothing, and training says so when it starts.

Only parts of ours are looked at; what a part of a user's own reads is not known.
"""

from __future__ import annotations

from collections.abc import Iterator

from mapopt.data.augmentation.settings import FOLLOWING
from mapopt.detectors.objective import NO_REWARD, OWN_LOSS
from mapopt.losses.table import LOSS_TABLE
from mapopt.training.knobs import Knobs
from mapopt.training.recipe import Recipe

_UNTURNED = Knobs()


def unread_knobs(recipe: Recipe, knobs: Knobs) -> list[str]:
    """Returns a sentence for each knob that is not at its default and that the recipe's parts do not read.

    Args:
        recipe: what trains.
        knobs: what was given; those that are open count as not turned.

    >>> unread_knobs(Recipe(loss="mal"), Knobs(focal_gamma=2.5))
    ["knob focal_gamma is 2.5, and nothing reads it: loss 'mal' has no gamma"]
    """
    return [
        f"knob {name} is {getattr(knobs, name):g}, and nothing reads it: {reason}"
        for name, reason in _unread(recipe, knobs)
        if getattr(knobs, name) not in (None, getattr(_UNTURNED, name))
    ]


def _unread(recipe: Recipe, knobs: Knobs) -> Iterator[tuple[str, str]]:
    """Yields the knobs that are not read, and why."""
    pointwise = recipe.loss in LOSS_TABLE and LOSS_TABLE[recipe.loss].pointwise
    ranking = not pointwise and not recipe.is_detectors_own
    if all(_has_no_gamma(name) for name in (recipe.loss, *recipe.auxiliary)):
        if not ranking or _has_no_gamma(recipe.blend_with):
            yield "focal_gamma", f"loss '{recipe.loss}' has no gamma"
        elif knobs.surrogate_weight == 1 or recipe.reward != NO_REWARD:
            yield "focal_gamma", f"loss '{recipe.loss}' has no gamma, as long as surrogate_weight is 1"
    if not ranking and recipe.reward == NO_REWARD:
        for name in ("surrogate_weight", "temperature"):
            yield name, f"loss '{recipe.loss}' is no ranking loss"
    if recipe.detector.startswith("fcos"):
        yield "assign_iou", f"detector '{recipe.detector}' assigns locations by where they are"
    elif recipe.assignment == "task_aligned":
        yield "assign_iou", "assignment 'task_aligned' has no IoU to begin at"
    if recipe.settle(knobs).get("soft_nms_sigma") > 0:
        yield "nms_iou", "Soft-NMS stands in for it, and --knobs.soft-nms-sigma 0 turns that off"
    if not recipe.augmentation.kinds:
        yield "augment_kinds", "the recipe names no kinds of augmentation"
    if all(getattr(recipe.augmentation, name) is not None for name in FOLLOWING):
        yield "augment", "every kind that follows it has a number of its own"
    if recipe.optimizer == "dog":
        yield "momentum", "optimizer 'dog' has none"


def _has_no_gamma(name: str) -> bool:
    """Returns whether a loss is known to read no gamma; that of torchvision's own losses is no knob."""
    return name == OWN_LOSS or (name in LOSS_TABLE and "gamma" not in LOSS_TABLE[name].parameters)
