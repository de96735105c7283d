"""What a run says by itself: the objects of each class before its first step, and when it has to say why AP is 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mapopt.data.splits import Splits
from mapopt.losses.table import LOSS_TABLE
from mapopt.training.budget import Budget
from mapopt.training.class_balance import describe as describe_class_balance
from mapopt.training.history import Round
from mapopt.training.knobs import Knobs
from mapopt.training.recipe import Recipe
from mapopt.training.unread import unread_knobs

if TYPE_CHECKING:
    import torch

    from mapopt.training.task import Task

NAMED = 20
"""Classes that are all named; of more the most frequent and the rarest in train."""
_FREQUENT, _RARE = 5, 10

EARLY = 0.1
"""Fraction of the budget after which a run that has learned nothing says why."""
NOTHING = 0.01
"""AP below which a detector counts as having learned nothing."""


def introduction(name: str, task: Task, device: torch.device) -> str:
    """Returns what is trained on what, and what is to be known of it before the first step: some lines.

    Args:
        name: of the data.
        task: what the run is about.
        device: where it trains.
    """
    recipe, splits = task.recipe, task.splits
    counts = ", ".join(f"{len(images)} {split}" for split, images in splits.named())
    height, width = splits.train.size
    notes = [
        f"{name}: {counts} images at {height} x {width}; {recipe.detector} on {device}",
        describe_objects(splits),
        splits.note,
        describe_class_balance(recipe, splits.train.annotations),
        threshold_note(recipe, task.knobs),
        *unread_knobs(recipe, task.knobs),
    ]
    return "\n".join(note for note in notes if note)


def describe_objects(splits: Splits) -> str:
    """Returns how many objects of each class every split has, in a line.

    >>> from mapopt.data import ShapesConfig, make_shapes_splits
    >>> describe_objects(make_shapes_splits(ShapesConfig(classes=2), seed=0, train=40, val=10, test=10))
    'objects in train / val / test: disc 58 / 11 / 12, box 69 / 15 / 13'
    """
    counts = [images.annotations.counts.tolist() for _, images in splits.named()]
    names = splits.train.annotations.category_names
    rows = [f"{name} {' / '.join(map(str, numbers))}" for name, *numbers in zip(names, *counts, strict=True)]
    head = f"objects in {' / '.join(part for part, _ in splits.named())}: "
    if len(rows) <= NAMED:
        return head + ", ".join(rows)
    order = sorted(range(len(rows)), key=lambda place: -counts[0][place])
    frequent, rare = (", ".join(rows[place] for place in part) for part in (order[:_FREQUENT], order[-_RARE:]))
    return f"{head}{frequent}, {len(rows) - _FREQUENT - _RARE} more, the rarest {rare}"


def threshold_note(recipe: Recipe, knobs: Knobs) -> str:
    """Says that a score threshold may cut off all boxes of a ranking loss; empty where it cannot.

    >>> threshold_note(Recipe(loss="ap"), Knobs(score_threshold=0.25))
    "score threshold 0.25 with loss 'ap', which sets no scale of scores: it may cut off every box, and AP is then 0"
    >>> threshold_note(Recipe(loss="focal"), Knobs(score_threshold=0.25))
    ''
    """
    ranking = recipe.loss in LOSS_TABLE and not LOSS_TABLE[recipe.loss].pointwise
    if not ranking or not knobs.score_threshold:
        return ""
    return (
        f"score threshold {knobs.score_threshold:g} with loss '{recipe.loss}', which sets no scale of scores: it may "
        "cut off every box, and AP is then 0"
    )


def is_due(history: Sequence[Round], budget: Budget) -> bool:
    """Returns whether a tenth of the budget has just been spent, and val AP is near 0; of one round at the most."""
    if not history or history[-1].interval.diverged:
        return False
    before = history[-2].images if len(history) > 1 else 0
    now = history[-1].images
    just = before < EARLY * budget.images <= now
    return just and max(played.val.ap for played in history) < NOTHING
