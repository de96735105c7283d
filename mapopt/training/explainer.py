"""Says why a run has learned nothing, once, when a tenth of its budget is over."""

from __future__ import annotations

from collections.abc import Sequence

from mapopt.training.budget import Budget
from mapopt.training.checkpoint import CheckpointFolder
from mapopt.training.controllers.base import Controller
from mapopt.training.first_words import is_due
from mapopt.training.fleet import Trainer
from mapopt.training.history import Round
from mapopt.training.record import ProgressPrinter


class Explainer:
    """Says why val AP is near 0 after a tenth of the budget, if it is."""

    def __init__(
        self,
        trainer: Trainer,
        controller: Controller,
        budget: Budget,
        states: CheckpointFolder,
        history: Sequence[Round],
        printer: ProgressPrinter,
    ) -> None:
        self._trainer, self._controller, self._budget, self._states = trainer, controller, budget, states
        self._history, self._printer = list(history), printer

    def __call__(self, lane: int, played: Round) -> None:
        """Adds a round, and speaks where it is time to."""
        self._history.append(played)
        if is_due(self._history, self._budget):
            # Imported where it is needed: most runs have learned something by then.
            from mapopt.training.diagnosis.early import explain

            checkpoint = self._states.checkpoint(self._trainer.snapshot(), self._history)
            device = self._trainer.fleet.detectors[0].weights.device
            self._printer.say(explain(self._trainer.task, self._budget, self._controller, checkpoint, device))
