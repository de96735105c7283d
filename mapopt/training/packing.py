"""Packs the lanes that have work to do: a step computes them alone, and those that rest cost nothing.

Lanes that train while others rest are copied into a smaller detector and optimizer of their own, and back when one of
them ends, or the interval does. That is a copy of some rows, so a step itself knows nothing of it. A lane's numbers do
not depend on its neighbors, hence neither on which of them are packed with it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mapopt.collectives import Processes
from mapopt.detectors.interface import Detector, KnobTable
from mapopt.detectors.registry import build_detector, supports_lanes
from mapopt.errors import ConfigError
from mapopt.registry import Choice
from mapopt.training.evaluated import AVERAGE, running_statistics
from mapopt.training.loss_scales import LossScales
from mapopt.training.multi_scale import check_sizes
from mapopt.training.one_network import check_one_network
from mapopt.training.optimizers.base import RowOptimizer, clip_rows, follow_rows
from mapopt.training.optimizers.in_place import waits
from mapopt.training.optimizers.part_rates import PartRates, part_factors
from mapopt.training.optimizers.registry import make_optimizer
from mapopt.training.optimizers.step_ratio import RatioSteps
from mapopt.training.recipe import Recipe

KEPT = 4
"""Sizes of packs whose detectors and optimizers are kept: they are large for many lanes, and made in milliseconds."""


@dataclass(kw_only=True)
class Rows:
    """Detector, optimizer and average of some lanes: all of them that a step changes."""

    recipe: Recipe
    detector: Detector
    optimizer: RowOptimizer
    ratio_steps: RatioSteps
    """The optimizer, where the length of its steps is set."""
    part_rates: PartRates | None = None
    """Where the recipe freezes layers or gives some a rate of their own."""
    average: Tensor | None
    """``[lanes, n]``; None where the recipe has no `ema`."""
    statistics: dict[str, Tensor] = field(default_factory=dict)
    """Averages of the running statistics, by the names of their buffers; empty where the recipe has no `ema`."""
    scales: LossScales | None = None
    """Of the loss, where the network runs in float16."""

    def renew(self, lane: int) -> None:
        """Begins optimizer and average of a lane anew, from the weights that it has."""
        weights = self.detector.weights.detach()
        for name, value in _make_optimizer(self.recipe, self.detector, weights[lane : lane + 1]).state.items():
            self.optimizer.state[name][lane] = value[0]
        if self.average is not None:
            self.average[lane] = weights[lane]
        self.begin_statistics(lane)
        if self.scales is not None:
            self.scales.renew(lane)

    @torch.no_grad()
    def begin_statistics(self, lane: int, known: Container[str] = ()) -> None:
        """Begins the averages of running statistics anew, but for those that are known by their places' names."""
        buffers = self.detector.buffers()
        for name, value in self.statistics.items():
            if f"{AVERAGE}.{name}" not in known:
                value[lane] = buffers[name][lane]

    @torch.no_grad()
    def put(self, lane: int, tensors: Mapping[str, Tensor]) -> None:
        """Puts a state into a lane; averages of running statistics that it lacks begin anew from these."""
        for name, place in self.places(lane).items():
            if name in tensors:
                place.copy_(tensors[name])
        self.begin_statistics(lane, tensors)

    def averaged(self, lane: int) -> dict[str, Tensor]:
        """Returns copies of the averages of a lane's running statistics, by the names of the buffers' places."""
        return {f"buffer.{name}": value[lane].clone() for name, value in self.statistics.items()}

    def hold(self, gradient: Tensor) -> Tensor:
        """Returns a gradient ``[lanes, n]`` with that of frozen layers set to 0, in place."""
        return gradient if self.part_rates is None else gradient.masked_fill_(self.part_rates.frozen, 0.0)

    def step(self, gradient: Tensor, knobs: KnobTable, running: Tensor, *, by_ratio: bool) -> Tensor:
        """Steps the lanes that run, and returns the lengths of the steps ``[lanes]``.

        Args:
            gradient: ``[lanes, n]``, clipped.
            knobs: values per lane.
            running: bool ``[lanes]``.
            by_ratio: whether the length of some step is set.
        """
        optimizer, weights = self.ratio_steps if by_ratio else self.optimizer, self.detector.weights
        if self.part_rates is None:
            return optimizer.update(weights, gradient, knobs, running)
        return self.part_rates.update(optimizer, weights, gradient, knobs, running)  # type: ignore[arg-type]

    def places(self, lane: int) -> dict[str, Tensor]:
        """Returns the tensors that a lane's state is in, by name."""
        places = {"weights": self.detector.weights.detach()[lane]}
        places |= {} if self.average is None else {AVERAGE: self.average[lane]}
        places |= {f"{AVERAGE}.{name}": value[lane] for name, value in self.statistics.items()}
        places |= {f"optimizer.{name}": value[lane] for name, value in self.optimizer.state.items()}
        places |= {} if self.scales is None else self.scales.places(lane)
        return places | {f"buffer.{name}": value[lane] for name, value in self.detector.buffers().items()}


def make_rows(recipe: Recipe, *, lanes: int, classes: int, size: tuple[int, int], device: torch.device) -> Rows:
    """Returns fresh detector, optimizer and average of some lanes."""
    check_one_network(recipe, lanes=supports_lanes(recipe.detector))  # one's own, of which a recipe does not know
    check_sizes(recipe, size)
    autocast = recipe.autocast_on(device.type)
    detector = build_detector(
        Choice(name=recipe.detector, settings=recipe.detector_settings),
        recipe,
        classes=classes,
        size=size,
        lanes=lanes,
        weights=recipe.weights,
        device=device,
        autocast=autocast,
    )
    optimizer = _make_optimizer(recipe, detector, detector.weights)
    factors = part_factors(detector.parts(), recipe.frozen, recipe.layer_lr)
    if factors is not None and callable(getattr(optimizer, "evaluated", None)):
        raise ConfigError(
            f"frozen or layer_lr with optimizer '{recipe.optimizer}', which evaluates an average of its own that would "
            "not follow: expected another optimizer, such as sgd or adamw"
        )
    by_layer = recipe.step_ratio_scope == "layer"
    return Rows(
        recipe=recipe,
        detector=detector,
        optimizer=optimizer,
        ratio_steps=RatioSteps(optimizer, detector.parts() if by_layer else None),
        part_rates=None if factors is None else PartRates(factors.to(device)),
        average=detector.weights.detach().clone() if recipe.ema else None,
        statistics={name: value.clone() for name, value in running_statistics(detector).items()} if recipe.ema else {},
        scales=LossScales(lanes, device) if autocast == "float16" else None,
    )


def _make_optimizer(recipe: Recipe, detector: Detector, weights: Tensor) -> RowOptimizer:
    settings = recipe.optimizer_settings
    return make_optimizer(recipe.optimizer, weights, detector.decay, settings, parts=detector.parts())


@dataclass(kw_only=True)
class Pack:
    """Lanes that are computed together."""

    rows: Rows
    lanes: list[int]
    """The engine's lane of every row; what pads them stands last."""
    training: list[int]
    """Those that train; the state of the others stays as it is."""
    running: Tensor
    """bool ``[rows]``, False of what does not train, or no longer, because a loss or gradient was not finite."""
    resting: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    """Of the engine's own rows that do not train: what losses and norms remember, which a step changes."""

    @property
    def places(self) -> list[int]:
        """The rows of the lanes that train."""
        return [self.lanes.index(lane) for lane in self.training]

    @torch.no_grad()
    def take_gradient(self, total: Tensor, processes: Processes) -> tuple[Tensor, Tensor, Tensor]:
        """Takes the gradient that a backward pass has left, and finds out which lanes no longer run.

        Args:
            total: the losses' sums ``[lanes]``.
            processes: over whose parts of the batch the gradient is averaged.

        Returns:
            the gradient ``[lanes, n]``, clipped; its lengths before that ``[lanes]``; and which lanes take the step,
            bool ``[lanes]``: all that run, but for those whose gradient did not fit into float16.
        """
        rows, scales = self.rows, self.rows.scales
        gradient = rows.hold(processes.average(rows.detector.gradient()))
        if scales is not None:
            scales.unscale(gradient)
        gradient, norms = clip_rows(gradient, rows.recipe.clip)
        self.running &= torch.isfinite(total)
        if scales is None:
            self.running &= torch.isfinite(norms)
            return gradient, norms, self.running
        running, stepping = scales.follow(norms, self.running)
        self.running &= running
        # What is left of a gradient that did not fit is compared with the next one, perhaps.
        return gradient.masked_fill_(~stepping[:, None], 0.0), norms, stepping

    @torch.no_grad()
    def follow(self, steps: Sequence[int]) -> None:
        """Moves the averaged weights; early on the average is short, so that it forgets the initialisation.

        Args:
            steps: that each row has taken before, counted in steps of its present size.
        """
        counts = torch.tensor(steps, device=self.running.device)
        decay = ((1 + counts) / (10 + counts)).clamp(max=self.rows.recipe.ema).float()
        assert self.rows.average is not None
        follow_rows(self.rows.average, self.rows.detector.weights.detach(), decay, self.running)
        buffers = self.rows.detector.buffers() if self.rows.statistics else {}
        for name, mean in self.rows.statistics.items():
            follow_rows(mean, buffers[name], decay, self.running)

    def still_running(self) -> list[int]:
        """Returns the lanes that train, as far as is known without waiting for a device."""
        if waits(self.running):
            return self.training
        runs = self.running.tolist()
        return [lane for place, lane in zip(self.places, self.training, strict=True) if runs[place]]


class Packing:
    """Packs lanes, and puts them back.

    Args:
        whole: all lanes.
        make: makes the rows of some other number of lanes.
        tell: tells a detector's lane what it has to know of the data of an engine's lane: (detector, place, lane).
        packs: False where a step computes all lanes, whichever train.
    """

    def __init__(
        self, whole: Rows, make: Callable[[int], Rows], tell: Callable[[Detector, int, int], None], *, packs: bool
    ) -> None:
        self._whole, self._make, self._tell, self._packs = whole, make, tell, packs
        self._everyone = list(range(len(whole.detector.weights)))
        self._made: OrderedDict[int, Rows] = OrderedDict()

    def padded(self, lanes: Sequence[int]) -> list[int]:
        """Returns lanes that have the same bits as among any others, of which the first are those that are given."""
        return [*lanes, *[lanes[0]] * (self._smallest - len(lanes))]

    def lanes_for(self, training: Sequence[int]) -> list[int]:
        """Returns which lanes are computed where some train; none where none does."""
        if not training:
            return []
        padded = self.padded(training)
        return padded if self._packs and len(padded) != len(self._everyone) else self._everyone

    @torch.no_grad()
    def pack(self, training: Sequence[int], diverged: Tensor) -> Pack:
        """Packs lanes.

        Args:
            training: those that train.
            diverged: bool, of all lanes; those that have do not run.
        """
        lanes = self.lanes_for(training)
        trains = [lane in training and lanes.index(lane) == place for place, lane in enumerate(lanes)]
        running = torch.tensor(trains, device=diverged.device) & ~diverged[lanes]
        if lanes == self._everyone:
            resting = {lane: self._remembered(lane) for lane in lanes if lane not in training}
            return Pack(rows=self._whole, lanes=lanes, training=list(training), running=running, resting=resting)
        rows = self._rows(len(lanes))
        for place, lane in enumerate(lanes):
            self._tell(rows.detector, place, lane)
            _copy(self._whole.places(lane), rows.places(place))
        return Pack(rows=rows, lanes=lanes, training=list(training), running=running)

    @torch.no_grad()
    def put_back(self, pack: Pack) -> None:
        """Puts the state of the lanes that trained where all lanes have theirs."""
        if pack.rows is not self._whole:
            for place, lane in zip(pack.places, pack.training, strict=True):
                _copy(pack.rows.places(place), self._whole.places(lane))
        for lane, remembered in pack.resting.items():
            _copy(remembered, self._whole.places(lane))

    @property
    def _smallest(self) -> int:
        """Lanes that are computed at the least."""
        return int(getattr(self._whole.detector, "min_lanes", 2)) if self._packs else 1

    def _rows(self, lanes: int) -> Rows:
        if lanes not in self._made:
            self._made[lanes] = self._make(lanes)
        self._made.move_to_end(lanes)
        if len(self._made) > KEPT:
            self._made.popitem(last=False)
        return self._made[lanes]

    def _remembered(self, lane: int) -> dict[str, Tensor]:
        return {f"buffer.{name}": value[lane].clone() for name, value in self._whole.detector.buffers().items()}


def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, value in source.items():
        target[name].copy_(value)
