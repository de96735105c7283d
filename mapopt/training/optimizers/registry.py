"""The optimizers by name."""

from __future__ import annotations

from mapopt.training.optimizers.adamw import RowAdamW
from mapopt.training.optimizers.sgd import RowSGD

OPTIMIZERS: dict[str, type[RowSGD] | type[RowAdamW]] = {"sgd": RowSGD, "adamw": RowAdamW}
