"""Checks of what was chosen before the run: settings that nothing reads, and a budget that is too short for them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mapopt.data.augmentation.settings import FOLLOWING
from mapopt.training.diagnosis.case import Case
from mapopt.training.diagnosis.findings import Finding, measured
from mapopt.training.samples import training_samples, without_transform
from mapopt.training.unread import unread_knobs

LOOKED_AT = 128
"""Training samples whose objects are counted, at the most."""

_CLIPPING_MATTERS = ("sgd", "dog")
"""Optimizers whose step is as long as the gradient that they are given; the others divide by its length."""

_MANY_STEPS = 2000
"""Steps from which on a budget is not called short, however few epochs of a large set it is."""

_SMALLEST_BATCH = 4
"""Images a step that are advised at the least."""


_TOGETHER = 16
"""Training samples that are made at a time: at 640 pixels each takes 5 MB, and as much again while it is augmented."""


def check_unread(case: Case) -> Iterator[Finding]:
    """Yields the knobs that were set, or that the schedule moves, and that nothing reads."""
    said = unread_knobs(case.recipe, case.knobs)
    names = {note.split()[1] for note in said}
    for name, points in (case.schedule.moves if case.schedule is not None else {}).items():
        if name in case.knobs.as_dict() and name not in names:
            for _, value in points:
                moved = unread_knobs(case.recipe, case.knobs.replace(**{name: value}))
                new = [note for note in moved if note.split()[1] == name]
                said += new[:1] if name not in names else []
                names |= {name} if new else set()
    yield measured(
        "unread",
        len(said),
        "; ".join(said) or "every knob that was set is read",
        f"leave --knobs.{said[0].split()[1].replace('_', '-')} out" if said else "nothing",
    )


def check_warmup(case: Case) -> Iterator[Finding]:
    """Yields the fraction of the budget that the warm-up takes."""
    if case.schedule is None:
        return
    fraction = case.schedule.warmup
    yield measured(
        "warmup",
        fraction,
        f"the warm-up takes {fraction:.0%} of the {case.budget.images} images, so that the learning rate is what it "
        f"should be for {max(0.0, 1 - fraction):.0%} of them",
        "--schedule.warmup 0.1",
    )


def check_budget(case: Case) -> Iterator[Finding]:
    """Yields how often each image is seen, and how many steps there are."""
    if case.splits is not None:
        count = len(case.splits.train)
        epochs = case.budget.images / count
        batch = case.recipe.batch_size
        enough = -(-10 * count // (case.budget.rounds * batch)) * case.budget.rounds * batch
        if case.budget.images < _MANY_STEPS * batch:
            yield measured(
                "few_epochs",
                epochs,
                f"the budget of {case.budget.images} images shows each of the {count} train images {epochs:.1f} times",
                f"--images {enough}",
            )
    steps = case.budget.images // case.recipe.batch_size
    # Fewer images than that make a poor step: then only a longer run helps.
    smaller = case.budget.images // 400
    other = f"--recipe.batch-size {smaller}, or " if _SMALLEST_BATCH <= smaller < case.recipe.batch_size else ""
    yield measured(
        "few_steps",
        steps,
        f"the budget of {case.budget.images} images is {steps} steps of {case.recipe.batch_size} images",
        f"{other}--images {case.recipe.batch_size * 400}",
    )


def check_augmentation(case: Case) -> Iterator[Finding]:
    """Yields the strength of the augmentation, of the kinds that follow it."""
    given = case.recipe.augmentation
    if all(getattr(given, name) is not None for name in FOLLOWING):
        return
    strength = case.knobs.augment
    yield measured(
        "strong_augmentation",
        strength,
        f"augmentation has strength {strength:g}: images are scaled by up to {2**strength:.1f} either way and change "
        "in color, so that the detector mostly learns of images such as val does not have",
        "--knobs.augment 0.3",
    )


def check_lost_objects(case: Case) -> Iterator[Finding]:
    """Yields the fraction of the objects that augmentation leaves out of the samples that a run begins with."""
    assert case.splits is not None
    recipe = without_transform(case.recipe)
    count, before, after = min(case.sample, LOOKED_AT), 0, 0
    for seen in range(0, count, _TOGETHER):
        strengths = np.full(min(_TOGETHER, count - seen), case.knobs.augment)
        for sample in training_samples(case.splits.train, recipe, strengths, seen=seen):
            before += len(sample.before.boxes)
            after += len(sample.after.boxes)
    if not before:
        return
    kinds = ", ".join(kind.replace("_", "-") for kind in recipe.augmentation.kinds)
    yield measured(
        "lost_objects",
        max(0.0, 1 - after / before),
        f"of the {before} objects in {count} training samples {after} are left when augmentation "
        f"{f'({kinds}) ' if kinds else ''}has cropped and hidden the others",
        "mapopt preview shows the samples; a smaller --recipe.augmentation.scale or .cut-out-size, or a lower "
        "--recipe.augmentation.min-visible",
    )


def check_clipping(case: Case) -> Iterator[Finding]:
    """Yields the fraction of the steps whose gradient was clipped, where that shortens the step."""
    if case.recipe.optimizer not in _CLIPPING_MATTERS or not case.played:
        return
    steps = sum(played.interval.steps for played in case.played)
    clipped = sum(played.interval.clipped * played.interval.steps for played in case.played) / max(1, steps)
    norm = case.played[-1].interval.gradient_norm
    yield measured(
        "clipped",
        clipped,
        f"the gradient was clipped in {clipped:.0%} of {steps} steps: its length is {norm:.3g} on average, and "
        f"--recipe.clip {case.recipe.clip:g} cuts it to that",
        "--recipe.clip 10",
    )


def check_stop(case: Case) -> Iterator[Finding]:
    """Yields the fraction of the budget after which a run was stopped that could have gone on."""
    if case.status == "stopped":
        yield measured(
            "stopped_early",
            case.progress,
            f"stopped after {case.progress:.0%} of the budget ({case.reason}), with the learning rate still at "
            f"{case.history[-1].knobs.get('lr'):.3g}",
            "--patience 0",
        )
