"""How long a run is: its budget in images where epochs or hours were asked for.

A schedule has to know the length of a run, and a resumed run must have the same one; so what was asked for comes to a
number of images at the start, and that is what is stored.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import torch

from mapopt.collectives import ALONE, Processes
from mapopt.data.splits import Splits
from mapopt.errors import ConfigError
from mapopt.training.checkpoint import Checkpoint
from mapopt.training.fleet import Trainer
from mapopt.training.settings import TrainSettings
from mapopt.training.task import Task

TIMED_SECONDS = 3.0
"""Seconds of training that are timed to find out how many images are hours."""


def settle_length(
    settings: TrainSettings,
    splits: Splits,
    *,
    device: torch.device,
    resumed: Path | None = None,
    processes: Processes = ALONE,
) -> tuple[TrainSettings, str]:
    """Returns settings whose budget is in images, and a sentence about it; as they are where it is already.

    Args:
        settings: of the run.
        splits: its images.
        device: where it trains.
        resumed: last checkpoint of the run to go on with; hours were settled when it was begun.
        processes: that train together.

    Raises:
        ConfigError: the hours do not suffice for the evaluations.
    """
    if settings.epochs is not None:
        images = settings.whole_rounds(settings.epochs * len(splits.train))
        why = f"{settings.epochs:g} epochs of {len(splits.train)} images"
    elif settings.hours is not None:
        known = Checkpoint.load(resumed).settings.get("images", 0) if resumed is not None and processes.first else None
        known = processes.agree(known)
        if known is not None:
            images = int(known)
        else:
            images = settings.whole_rounds(images_in(settings.hours, settings, splits, device, processes=processes))
        why = f"{settings.hours:g} hours"
    else:
        return settings, ""
    settled = dataclasses.replace(settings, images=images, epochs=None, hours=None)
    return settled, f"{why}: {images} images in {settings.rounds} rounds"


def images_in(
    hours: float,
    settings: TrainSettings,
    splits: Splits,
    device: torch.device,
    *,
    processes: Processes = ALONE,
) -> float:
    """Returns how many images a run trains on in a time by the clock, as far as its first steps show.

    Raises:
        ConfigError: the evaluations alone take longer.
    """
    task = Task(name="timed", splits=splits, recipe=settings.recipe, knobs=settings.knobs)
    trainer, batch = Trainer(task, settings.seed, device=device, processes=processes), settings.recipe.batch_size
    trainer.train(batch)  # what is made in the first step
    began, steps = time.perf_counter(), 0
    while processes.agree(steps < 2 or time.perf_counter() - began < TIMED_SECONDS):
        trainer.train(batch)
        steps += 1
    an_image = (time.perf_counter() - began) / (steps * batch)
    began = time.perf_counter()
    trainer.evaluate("val")
    evaluation = (time.perf_counter() - began) * (settings.rounds + len(splits.test) / len(splits.val))
    an_image, evaluation = processes.agree((an_image, evaluation))
    left = hours * 3600 - evaluation
    if left < settings.rounds * batch * an_image:
        needed = (evaluation + settings.rounds * batch * an_image) / 3600
        raise ConfigError(
            f"hours is {hours:g}, and {settings.rounds} rounds of a step and an evaluation take about {needed:.2g}: "
            "give more --hours or fewer --rounds"
        )
    return left / an_image
