"""About how long a comparison will take: from stored runs of its like, or from what the tiny detector takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mapopt.experiments.comparison.jobs import Job
from mapopt.experiments.comparison.stored_run import StoredRun
from mapopt.training import expected_image_seconds


def expected_seconds(jobs: Sequence[Job], runs: Sequence[StoredRun], *, workers: int) -> float | None:
    """Returns about how many seconds some jobs will take by the clock; None where nothing tells.

    Args:
        jobs: what is to be trained.
        runs: what was trained already, from which it is estimated where it can be.
        workers: processes.
    """
    total = 0.0
    for job in jobs:
        rate = _rate(job, runs)
        if rate is None:
            return None
        total += rate * job.budget.images * len(job.seeds)
    return total / max(1, min(workers, len(jobs)))


def _rate(job: Job, runs: Sequence[StoredRun]) -> float | None:
    """Returns the seconds that an image of a job takes: as in its method's runs, or else in others on its task."""
    like = [run for run in runs if run.task == job.task and run.images and run.device == job.keys.made_by.device]
    closest = [run for run in like if run.method == job.method] or like
    if closest:
        return float(np.mean([run.seconds / run.images for run in closest]))
    if job.keys.made_by.device != "cpu":
        return None
    size = job.data.size if job.data.data is not None else (job.data.scenes.size,) * 2
    return expected_image_seconds(job.recipe.detector, size)
