"""Everything that a lane's further training depends on, in tensors by name, or what detection needs of it alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from mapopt.detectors.interface import CONSTANT
from mapopt.errors import CheckpointError, ConfigError
from mapopt.training.evaluated import AVERAGE, EVALUATED
from mapopt.training.knobs import Knobs
from mapopt.training.task import Task


@dataclass(frozen=True)
class Snapshot:
    """A lane's state, but for its data.

    What is for detection alone has the weights that are evaluated as "evaluated", and neither "weights" nor an
    optimizer's state.
    """

    tensors: dict[str, Tensor]
    seed: int
    seen: int
    knobs: Knobs
    diverged: bool

    @property
    def resumable(self) -> bool:
        """Whether training can go on from here; otherwise it is for detection alone."""
        return "weights" in self.tensors


def constants_not_in(tensors: Mapping[str, Tensor], buffers: Iterable[str]) -> set[str]:
    """Returns the names of constants of a network that a state lacks, as those of earlier versions did.

    Args:
        tensors: the state's, by name.
        buffers: names of `mapopt.detectors.Detector.buffers`.
    """
    return {f"buffer.{name}" for name in buffers if name.startswith(CONSTANT)} - tensors.keys()


def check_fits(snapshot: Snapshot, places: Mapping[str, Tensor], task: Task) -> None:
    """Raises CheckpointError unless a state can be put into a lane.

    Args:
        snapshot: the state.
        places: the tensors of the lane by name.
        task: the lane's.
    """
    expected = dict(places)
    if not snapshot.resumable:
        expected = {name: place for name, place in places.items() if name.startswith("buffer.")}
        expected[EVALUATED] = places["weights"]
    lacking = constants_not_in(snapshot.tensors, (name.removeprefix("buffer.") for name in places))
    lacking |= {name for name in places if name.startswith(f"{AVERAGE}.")} - snapshot.tensors.keys()
    expected = {name: place for name, place in expected.items() if name not in lacking}
    # An average used to be kept where there is none.
    beside = {EVALUATED, AVERAGE} - expected.keys()
    if {name: (place.shape, place.dtype) for name, place in expected.items()} != {
        name: (tensor.shape, tensor.dtype) for name, tensor in snapshot.tensors.items() if name not in beside
    }:
        classes = len(task.splits.train.annotations.category_ids)
        raise CheckpointError(
            f"the saved state does not fit the detector '{task.recipe.detector}' with {classes} classes and "
            f"optimizer '{task.recipe.optimizer}': use the recipe it was saved with"
        )
    try:
        snapshot.knobs.check(task.ranges)
    except ConfigError as error:
        raise CheckpointError(f"the saved state's knobs are not the task's: {error}") from None
