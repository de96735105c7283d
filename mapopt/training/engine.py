"""The training step, for many lanes at once: the one place where weights change.

``train(images)`` is a function of the lanes' states and knobs and of nothing else. Knobs are read at every step, a
non-finite loss or gradient stops its lane before the optimizer steps, and evaluation leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from mapopt.collectives import ALONE, Processes
from mapopt.data.order import sample_seed
from mapopt.detectors.interface import Detector
from mapopt.detectors.registry import supports_lanes
from mapopt.errors import ConfigError
from mapopt.metrics import Detections, GroundTruth, Report
from mapopt.stopwatch import Stopwatch
from mapopt.training.batches import Kinds, Plan, batches_of_step, make_plan
from mapopt.training.class_balance import sampling_of, tell_classes
from mapopt.training.device_set import DeviceSet
from mapopt.training.device_sets import DeviceSets
from mapopt.training.evaluated import EVALUATED, evaluating
from mapopt.training.first_gradients import FirstGradients
from mapopt.training.gradients import leave_gradient, number_of_pieces
from mapopt.training.held_out import held_out_losses
from mapopt.training.history import Interval, Measure, Scores
from mapopt.training.knob_tensors import stack_knobs
from mapopt.training.knobs import Knobs
from mapopt.training.lane_detections import detect_in_batches, detections_by_lane, evaluate_detections
from mapopt.training.log import IntervalLog
from mapopt.training.measures import measure
from mapopt.training.multi_scale import at_other_sizes
from mapopt.training.optimizers.registry import averages_already
from mapopt.training.packing import Pack, Packing, Rows, make_rows
from mapopt.training.ramps import Via
from mapopt.training.snapshots import Snapshot, check_fits
from mapopt.training.steps import StepPlan, check_shared
from mapopt.training.task import Task, check_alike

Lanes = Sequence[int] | None  # None for all


class LaneEngine:
    """Trains and evaluates lanes of one detector, each with its own data, seed and knobs.

    Args:
        tasks: one per lane, all alike; see `check_alike`.
        seeds: one per lane: initialisation, order of the data and augmentation.
        device: where to train.
        processes: that share every step and every evaluation.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        seeds: Sequence[int],
        *,
        device: torch.device | str = "cpu",
        processes: Processes = ALONE,
    ) -> None:
        first = tasks[0]
        check_alike(tasks)
        self.recipe, self.classes, self.lanes = first.recipe, first.classes, len(tasks)
        self.device, self.tasks, self.processes = torch.device(device), list(tasks), processes
        self.seeds, self.seen, self.size = [0] * self.lanes, [0] * self.lanes, first.splits.train.size
        self.knobs = [task.knobs for task in tasks]
        self._all = self._make_rows(self.lanes)
        self.detector, self.optimizer, self.average = self._all.detector, self._all.optimizer, self._all.average
        self._averages = callable(getattr(self.optimizer, "evaluated", None))
        if self._averages and self.recipe.ema:
            raise ConfigError(averages_already(self.recipe.optimizer, self.recipe.ema))
        # Elsewhere all lanes are computed at every step: asking the device which of them run would wait for it.
        packs = supports_lanes(self.recipe.detector) and self.device.type == "cpu"
        self._packing = Packing(self._all, self._make_rows, self._tell, packs=packs)
        self.diverged = torch.zeros(self.lanes, dtype=torch.bool, device=self.device)
        self._given: dict[int, Tensor] = {}  # what lanes are evaluated with, other than their optimizer says
        self._sets, self._first = DeviceSets(self.device), FirstGradients(processes)
        self.on_step: Callable[[int], object] = int  # called after every step, it does nothing with the number
        for lane, seed in enumerate(seeds):
            self.reset(lane, seed)

    def reset(self, lane: int, seed: int, task: Task | None = None) -> None:
        """Starts a lane afresh, on other data if a task is given.

        Raises:
            ConfigError: the task is not like those that the lanes were made for; the lane stays as it was.
        """
        if task is not None:
            check_alike([self.tasks[lane], task])
            self.lend(lane, task)
        self.seeds[lane], self.seen[lane] = seed, 0
        self.knobs[lane] = self.tasks[lane].knobs.settled()
        self.diverged[lane] = False
        self._given.pop(lane, None)
        self.detector.initialize(lane, seed)
        self._tell(self.detector, lane, lane)
        self.renew(lane)

    def lend(self, lane: int, task: Task) -> None:
        """Gives a lane another task, like its own, and nothing else."""
        self.tasks[lane] = task
        self._sets.evict([splits for own in self.tasks for splits in own.all_splits])

    def renew(self, lane: int) -> None:
        """Begins optimizer and average of a lane anew, from the weights that it has."""
        self._all.renew(lane)

    def _make_rows(self, lanes: int) -> Rows:
        return make_rows(self.recipe, lanes=lanes, classes=self.classes, size=self.size, device=self.device)

    def _tell(self, detector: Detector, place: int, lane: int) -> None:
        """Tells a detector's lane about the classes of an engine's lane."""
        tell_classes(detector, place, self.recipe, self._set(lane, "train").images.annotations)

    def _tell_changed(self) -> None:
        """Tells the detector anew about the lanes whose data change in mid-run."""
        for lane in (lane for lane, task in enumerate(self.tasks) if task.change is not None):
            self._tell(self.detector, lane, lane)

    def train(
        self,
        images: int,
        *,
        ramp_from: Sequence[Knobs | None] | None = None,
        via: Sequence[Via] | None = None,
        active: Sequence[bool] | None = None,
        measures: Sequence[Measure] = (),
    ) -> list[Interval]:
        """Trains every active lane on `images` further images.

        Args:
            images: a multiple of the batch size; each lane cuts them into steps as its own batch fraction says.
            ramp_from: per lane, the knobs from which to move to the lane's own, step by step.
            via: per lane, where they pass on the way; see `mapopt.training.Decision`.
            active: lanes to train; the others keep their state.
            measures: what to measure of the training; "gradient_agreement" and "components" are a matter of it.
        """
        batch = self.recipe.batch_size
        if images % batch:
            raise ConfigError(f"an interval of {images} images is no multiple of the batch size {batch}")
        watch = Stopwatch()
        starts = ramp_from or [None] * self.lanes
        steps = StepPlan(self.knobs, starts, via, images=images, batch_size=batch, device=self.device)
        check_shared(steps.sizes, batch, self.processes.count)
        asked = list(active or [True] * self.lanes)
        lost = self.diverged.tolist()
        training = [lane for lane in range(self.lanes) if asked[lane] and not lost[lane] and steps.steps[lane]]
        log = IntervalLog(self.lanes, self.device, measures=measures)
        self._given = {lane: weights for lane, weights in self._given.items() if lane not in training}
        self._tell_changed()
        if training:
            self._play(training, steps, log)
        for lane in range(self.lanes):
            self.seen[lane] += images if asked[lane] else 0
        self._first.check(self.tasks[0].name, self.recipe.loss)
        seconds, weights = self.processes.spent(*watch.split(sum(asked))), self.detector.weights.detach()
        return log.intervals(images=images, steps=steps.steps, seconds=seconds, weights=weights, diverged=self.diverged)

    def _play(self, training: list[int], steps: StepPlan, log: IntervalLog) -> None:
        """Takes the steps of an interval; lanes are packed anew whenever one of them is done or has diverged."""
        planned = self._packing.lanes_for(training)
        plan = self._plan(planned, steps)
        step = 0
        while training:
            pack = self._packing.pack(training, self.diverged)
            sets = [self._set(lane, "train") for lane in pack.lanes]
            own, part = steps.of(pack.lanes), log.of(pack.lanes)
            shown = plan.of([planned.index(lane) for lane in pack.lanes], playing=pack.places)
            left = training
            while left == training:
                # What detectors sample inside their losses does not depend on which lanes are packed.
                self._step(pack, sets, shown, own, step, part, self.seen[0] + step * steps.sizes[0])
                step += 1
                self.on_step(step * steps.sizes[0])
                left = [lane for lane in pack.still_running() if steps.steps[lane] > step]
            log.put(part, pack.places, training)
            self.diverged[training] |= ~pack.running[pack.places]
            self._packing.put_back(pack)
            training = left

    def _plan(self, lanes: list[int], steps: StepPlan) -> Plan:
        """Plans an interval of some lanes."""
        recipe, strengths, factors = self.recipe, steps.per_image("augment"), steps.per_image("augment_kinds")
        return make_plan(
            [self.seeds[lane] for lane in lanes],
            [self.seen[lane] for lane in lanes],
            [self._set(lane, "train") for lane in lanes],
            [strengths[lane] for lane in lanes],
            self.device,
            **sampling_of(recipe),
            kinds=[Kinds(self.tasks[lane].recipe.augmentation, factors[lane]) for lane in lanes],
        )

    def _step(
        self, pack: Pack, sets: Sequence[DeviceSet], plan: Plan, steps: StepPlan, step: int, log: IntervalLog, seen: int
    ) -> None:
        # Lanes that are one network keep the shapes of a full batch: others would give them other kernels and bits.
        size = self.recipe.batch_size if supports_lanes(self.recipe.detector) else steps.sizes[0]
        processes = self.processes
        pieces = number_of_pieces(size // processes.count, self.recipe.accumulate)
        batches = batches_of_step(sets, plan, steps.sizes, step, size=size, pieces=pieces, processes=processes)
        if self.recipe.multi_scale:
            batches = at_other_sizes(batches, self.recipe, self.size, self.seeds[0], seen)
        seeds = [sample_seed(self.seeds[0], seen + place * (size // pieces), stream=2) for place in range(pieces)]
        detector, knobs, components = pack.rows.detector, steps.at(step), log.components is not None
        look, scales = self._first.look, pack.rows.scales
        losses, total, parts = leave_gradient(
            detector, batches, knobs, seeds=seeds, look=look, scales=scales, components=components, processes=processes
        )
        gradient, norms, stepping = pack.take_gradient(total, processes)
        with torch.no_grad():
            moved = pack.rows.step(gradient, self.recipe.scaled(knobs), stepping, by_ratio=steps.by_ratio)
        if self.recipe.ema:
            pack.follow([self.seen[lane] // size + step for lane, size in zip(pack.lanes, steps.sizes, strict=True)])
        log.add(
            losses,
            gradients=norms,
            limit=self.recipe.clip,
            moved=moved,
            weights=detector.weights.detach(),
            running=pack.running,
            stepping=stepping,
            gradient=gradient,
        )
        if log.components is not None:
            log.components.add(parts, pack.running)

    @torch.no_grad()
    def evaluate(
        self, split: Literal["val", "test"], *, mode: Literal["full", "reward"] = "reward", lanes: Lanes = None
    ) -> list[Report]:
        """Evaluates lanes, all by default, on their own split, with averaged weights where the recipe keeps them."""
        return evaluate_detections(self._truths(split, lanes), self.detect(split, lanes=lanes), mode=mode)

    @torch.no_grad()
    def score(
        self, split: Literal["val", "test"], *, measures: Sequence[Measure] = (), lanes: Lanes = None
    ) -> list[Scores]:
        """Evaluates lanes, all by default, as for a reward, and measures what else is asked for.

        Args:
            split: what to evaluate on.
            measures: what to measure beside AP; nothing costs nothing.
            lanes: which; one that diverged has failed and is not measured.
        """
        chosen, lost = list(range(self.lanes)) if lanes is None else list(lanes), self.diverged.tolist()
        truths, detections = self._truths(split, chosen), self.detect(split, lanes=chosen)
        reports = evaluate_detections(truths, detections, mode="reward")
        parts = "components" in measures
        losses = self.losses(split, lanes=chosen, components=parts) if "loss" in measures else [{}] * len(chosen)
        return [
            Scores.failed(self.classes, measures=measures)
            if lost[lane]
            else Scores.of(report, **measure(truth, boxes, measures), **held_out)
            for lane, truth, boxes, report, held_out in zip(chosen, truths, detections, reports, losses, strict=True)
        ]

    @torch.no_grad()
    def losses(
        self, split: Literal["val", "test"], *, lanes: Lanes = None, components: bool = False
    ) -> list[dict[str, Any]]:
        """Returns the unweighted losses of lanes, all by default, on their own split; see `held_out_losses`."""
        chosen = list(range(self.lanes)) if lanes is None else list(lanes)
        self._tell_changed()
        pack = self._packing.pack(chosen, self.diverged)
        sets, detector = [self._set(lane, split) for lane in pack.lanes], pack.rows.detector
        with evaluating(detector, self._evaluated()[pack.lanes], range(len(pack.lanes)), pack.rows.statistics):
            knobs = stack_knobs([self.knobs[lane] for lane in pack.lanes], self.device)
            size, processes = self.recipe.batch_size, self.processes
            losses = held_out_losses(detector, sets, knobs, batch_size=size, components=components, processes=processes)
        return [losses[place] for place in pack.places]

    def _truths(self, split: str, lanes: Lanes) -> list[GroundTruth]:
        return [self._set(lane, split).truth for lane in (range(self.lanes) if lanes is None else lanes)]

    @torch.no_grad()
    def detect(self, split: Literal["train", "val", "test"], *, lanes: Lanes = None) -> list[Detections]:
        """Returns the boxes of lanes, all by default, on their own split, in the images' original pixels."""
        chosen = list(range(self.lanes)) if lanes is None else list(lanes)
        running = self._packing.padded(chosen)
        sets = [self._set(lane, split) for lane in running]
        if len({len(images) for images in sets}) > 1:
            raise ConfigError(f"the lanes of a fleet have {split} splits of different lengths: make them equal")
        knobs = stack_knobs([self.knobs[lane] for lane in running], self.device)
        with evaluating(self.detector, self._evaluated(), running, self._all.statistics):
            parts = detect_in_batches(self.detector, sets, knobs, size=self.size, processes=self.processes)
        return detections_by_lane(parts, sets, processes=self.processes)[: len(chosen)]

    def _evaluated(self) -> Tensor:
        """Returns the weights ``[lanes, n]`` that are evaluated: the trained ones, or an average of them."""
        trained = self.detector.weights.detach()
        if self._averages:
            weights: Tensor = self.optimizer.evaluated(trained)  # type: ignore[attr-defined]
            if self._given:
                weights = weights.clone()
                weights[list(self._given)] = torch.stack(list(self._given.values()))
            return weights
        return trained if self.average is None else self.average

    def snapshot(self, lane: int) -> Snapshot:
        """Copies a lane's state."""
        return self._copy(lane, list(self._all.places(lane)), evaluated=self._averages)

    def for_detection(self, lane: int) -> Snapshot:
        """Copies what detection needs of a lane: the weights that are evaluated, and running statistics."""
        buffers = [name for name in self._all.places(lane) if name.startswith("buffer.")]
        return self._copy(lane, buffers, evaluated=True)

    def _copy(self, lane: int, names: Sequence[str], *, evaluated: bool) -> Snapshot:
        places = self._all.places(lane)
        tensors = {name: places[name].clone() for name in names}
        if evaluated:
            tensors |= {EVALUATED: self._evaluated()[lane].clone(), **self._all.averaged(lane)}
        return Snapshot(tensors, self.seeds[lane], self.seen[lane], self.knobs[lane], bool(self.diverged[lane]))

    @torch.no_grad()
    def restore(self, lane: int, snapshot: Snapshot, *, keep_knobs: bool = False) -> None:
        """Puts a state into a lane; with `keep_knobs` the lane's own knobs and seed stay, as an exploit step wants.

        After what is for detection alone, optimizer and average begin anew.

        Raises:
            CheckpointError: the state belongs to another detector or optimizer; the lane stays as it was.
        """
        self.check(snapshot)
        tensors = snapshot.tensors
        self._given.pop(lane, None)
        if not snapshot.resumable:
            self.detector.weights[lane] = tensors[EVALUATED]
            self.renew(lane)
            if self._averages:  # which may have these weights but for rounding
                self._given[lane] = tensors[EVALUATED].to(self.device)
        self._all.put(lane, tensors)
        self.seen[lane], self.diverged[lane] = snapshot.seen, snapshot.diverged
        if not keep_knobs:
            self.seeds[lane], self.knobs[lane] = snapshot.seed, snapshot.knobs

    def check(self, snapshot: Snapshot) -> None:
        """Raises CheckpointError unless a state is of this detector and optimizer."""
        check_fits(snapshot, self._all.places(0), self.tasks[0])

    def _set(self, lane: int, split: str) -> DeviceSet:
        task = self.tasks[lane]
        return self._sets.get(task.splits_at(self.seen[lane]) if split == "train" else task.splits, split)
