"""A short test of learning rates: the same beginning of a run at several constant rates, side by side.

Short tests favor small rates, which fall fast at first and stay behind later, so only a rate that is far from the best
is a finding.

Reference: L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, section 3.3, raises the rate
within one run. We train every rate from the same start instead, as lanes of one fleet, so that none inherits the
weights of another.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from mapopt.training.diagnosis.case import Case
from mapopt.training.diagnosis.findings import Finding, measured
from mapopt.training.fleet import Fleet
from mapopt.training.knobs import ranges
from mapopt.training.task import Task

FACTORS = (1 / 64, 1 / 16, 1 / 4, 1.0, 4.0, 16.0)
"""Of the run's own learning rate."""
STEPS = 32
"""Of each of the two intervals; the loss of the second counts."""


def try_rates(case: Case, *, seed: int = 0, device: torch.device | str = "cpu") -> Iterator[Finding]:
    """Yields how far the run's learning rate is from the best of some that are tried.

    Args:
        case: with images.
        seed: of every try.
        device: where to train.
    """
    assert case.splits is not None
    task = Task(name=case.name, splits=case.splits, recipe=case.recipe, knobs=case.knobs)
    own, bounds = task.knobs.get("lr"), ranges()["lr"]
    rates = sorted({bounds.clip(own * factor) for factor in FACTORS})
    fleet = Fleet(task, [seed] * len(rates), device=device)
    fleet.set_knobs([task.knobs.replace(lr=rate) for rate in rates])
    images = STEPS * case.recipe.batch_size
    fleet.train(images)
    intervals = fleet.train(images)
    losses = [float("inf") if interval.diverged else interval.class_loss + interval.box_loss for interval in intervals]
    best = rates[min(range(len(rates)), key=lambda place: losses[place])]
    factor = max(best / own, own / best)
    tried = ", ".join(f"{rate:.2g}: {loss:.3g}" for rate, loss in zip(rates, losses, strict=True))
    yield measured(
        "rate_range",
        factor,
        f"of the learning rates that were tried for {2 * STEPS} steps each, {best:.2g} has the lowest loss, "
        f"{factor:.0f} times {'above' if best > own else 'below'} the run's {own:.2g} (rate: loss {tried})"
        if best != own
        else f"of the learning rates that were tried for {2 * STEPS} steps each, the run's {own:.2g} has the lowest "
        f"loss (rate: loss {tried})",
        f"--knobs.lr {best:.2g}",
    )
