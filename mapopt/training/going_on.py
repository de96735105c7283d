"""What a run that goes on must know of its folder: its best state so far, and how far it came until its time was up."""

from __future__ import annotations

from collections.abc import Sequence

from mapopt.errors import CheckpointError
from mapopt.training.checkpoint import Checkpoint, CheckpointFolder
from mapopt.training.fleet import Trainer
from mapopt.training.history import Round
from mapopt.training.loop import selected_round
from mapopt.training.run_files import BEST, LAST
from mapopt.training.run_folder import RunFolder
from mapopt.training.settings import TrainSettings
from mapopt.training.snapshots import Snapshot


def best_so_far(trainer: Trainer, states: CheckpointFolder, folder: RunFolder, history: Sequence[Round]) -> Snapshot:
    """Returns what detection needs of the best round so far; writes it where a kill left it behind.

    Raises:
        CheckpointError: it is not there, and cannot be made of the last one.
    """
    rounds = selected_round(history) + 1
    best = folder.best(rounds)
    if best is None and rounds == len(history):
        best = trainer.fleet.for_detection(0)
        states.save("best", best, history)
    if best is None:
        raise CheckpointError(
            f"{folder.folder / BEST}: is not there, or not of round {rounds}, which is the best of {LAST}. Put the two "
            f"back as they were, or begin another run from the last weights with --start-from {folder.folder / LAST}."
        )
    return best


def how_far(states: CheckpointFolder, settings: TrainSettings) -> str:
    """Says how far a run came until its time was up."""
    path = states.folder / LAST
    played = len(Checkpoint.load(path).history) if path.is_file() else 0
    if not played:
        return (
            f"the time limit of {settings.time_limit:g} hours came before the first of {settings.rounds} rounds ended, "
            "so nothing is kept: give more --time-limit, or more and shorter --rounds"
        )
    return (
        f"the time limit of {settings.time_limit:g} hours came after round {played} of {settings.rounds}, which is "
        "kept: the same command with --resume goes on from there"
    )
