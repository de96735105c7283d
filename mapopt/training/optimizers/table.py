"""What is known of every optimizer without importing it: where it is, its rate, and whether it averages the weights.

Recipes and flags are read and checked from this table, so that nothing imports torch for them. A test holds the table
to the classes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class OptimizerEntry:
    """An optimizer, as far as recipes need to know it."""

    where: str
    """Module and name of its class, as ``module:attribute``."""
    default_lr: float
    """The learning rate of a recipe whose user gives none."""
    default_weight_decay: float = 5e-4
    """The weight decay of a recipe whose user gives none."""
    averages: bool = False
    """Whether it has a point of its own that is evaluated, other than the weights it trains; see `RowOptimizer`."""


_HERE = "mapopt.training.optimizers"

OPTIMIZER_TABLE: dict[str, OptimizerEntry] = {
    "sgd": OptimizerEntry(where=f"{_HERE}.sgd:RowSGD", default_lr=0.2),
    "adamw": OptimizerEntry(where=f"{_HERE}.adamw:RowAdamW", default_lr=0.01),
    "nadamw": OptimizerEntry(where=f"{_HERE}.nadamw:RowNAdamW", default_lr=0.01),
    "muon": OptimizerEntry(where=f"{_HERE}.muon:RowMuon", default_lr=0.08, default_weight_decay=0.12),
    # These want no rate: lr is a factor of their own, 1 as published.
    "prodigy": OptimizerEntry(where=f"{_HERE}.prodigy:RowProdigy", default_lr=1.0),
    "dog": OptimizerEntry(where=f"{_HERE}.dog:RowDoG", default_lr=1.0, averages=True),
    # This one wants no schedule.
    "schedule_free_adamw": OptimizerEntry(
        where=f"{_HERE}.schedule_free_adamw:RowScheduleFreeAdamW", default_lr=0.01, averages=True
    ),
}
"""Name -> what is known of it."""
