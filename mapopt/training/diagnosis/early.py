"""No silent zero: a run whose val AP is near 0 after a tenth of its budget says why, by itself.

The checks are those of `mapopt diagnose`, without the audit of the image files, which would take longer than a round.
"""

from __future__ import annotations

import torch

from mapopt.detectors.registry import DETECTORS
from mapopt.errors import MapoptError
from mapopt.training.budget import Budget
from mapopt.training.checkpoint import Checkpoint
from mapopt.training.controllers.base import Controller
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.diagnosis.case import Case
from mapopt.training.diagnosis.diagnose import diagnose_case
from mapopt.training.diagnosis.printed import one_line
from mapopt.training.inference import LoadedDetector
from mapopt.training.task import Task

_SAID = 2
"""Findings that are said at the most: more belong into a diagnosis."""


def explain(task: Task, budget: Budget, controller: Controller, checkpoint: Checkpoint, device: torch.device) -> str:
    """Returns a line or two on why val AP is near 0.

    Args:
        task: of the run.
        budget: of the run.
        controller: what decides its knobs.
        checkpoint: the state after the last round, with the history.
        device: where to run the detector.
    """
    history = checkpoint.history
    detector = task.recipe.detector
    # A detector that is built for a look must not move the random stream of the training.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            loaded = LoadedDetector(checkpoint, device, detector=None if detector in DETECTORS else detector)
        except MapoptError:
            loaded = None
        case = Case(
            name=task.name,
            data="DATA",
            recipe=task.recipe,
            knobs=task.knobs,
            budget=budget,
            schedule=controller if isinstance(controller, Schedule) else None,
            history=history,
            splits=task.splits,
            detector=loaded,
        )
        alarms = diagnose_case(case).alarms[:_SAID]
    said = f"val AP is {case.ap:.4f} after {case.progress:.0%} of the budget"
    if not alarms:
        first, last = (played.interval.class_loss + played.interval.box_loss for played in (history[0], history[-1]))
        return (
            f"{said}: no mistake was found in settings, images and boxes, and the loss went from {first:.4g} to "
            f"{last:.4g}; mapopt diagnose looks closer"
        )
    return "\n".join([f"{said}: {one_line(alarms[0])}", *(f"and: {one_line(finding)}" for finding in alarms[1:])])
