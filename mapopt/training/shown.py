"""What people see of a training run, as orders for once: nothing of it changes a bit of what is trained or stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mapopt.collectives import Processes
from mapopt.data.splits import Splits
from mapopt.training.trained_run import TrainedRun

AtEnd = Callable[[TrainedRun, Splits | None], None]
"""Called once with the finished run and its images, while its folder is still kept from other processes; the images are
None of a run that was finished before and whose images are no longer there."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What is shown of a run."""

    progress: bool = False
    """Print what is trained, and a line per round; on a terminal a bar moves inside a round, too."""
    val_loss: bool = False
    """Measure the losses on the val split, too, after every round."""
    log: str = "none"
    """A name in `mapopt.trackers.TRACKERS`: where the rounds are sent to."""
    at_end: AtEnd | None = None
    """What follows, such as drawing figures."""

    def of(self, processes: Processes) -> Shown:
        """Returns what one of several processes shows: the first everything, the others nothing."""
        return self if processes.first else Shown(val_loss=self.val_loss)
