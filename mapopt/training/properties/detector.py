"""The properties of a detector: the rules of a trainer as far as they are a detector's to keep."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mapopt.detectors.interface import Detector, Targets
from mapopt.detectors.registry import supports_lanes
from mapopt.postprocessing.boxes import Boxes
from mapopt.training.fleet import Fleet, Trainer
from mapopt.training.knob_tensors import stack_knobs
from mapopt.training.own_knobs import OwnKnob
from mapopt.training.properties.base import Case
from mapopt.training.task import Task


@dataclass(frozen=True, kw_only=True)
class DetectorCase(Case):
    """A detector in a task that trains it on small scenes."""

    task: Task
    own: Mapping[str, OwnKnob] = field(default_factory=dict)

    def trainer(self, seed: int = 1) -> Trainer:
        """Returns a fresh trainer."""
        return Trainer(self.task, seed=seed)

    @property
    def step(self) -> int:
        """Images of a step."""
        return self.task.recipe.batch_size

    def detector(self) -> Detector:
        """Returns a fresh detector, of two lanes where it can have several."""
        return Fleet(self.task, [1, 1] if supports_lanes(self.task.recipe.detector) else [1]).detectors[0]

    def table(self, detector: Detector, turned: Mapping[str, float] | None = None) -> dict[str, Tensor]:
        """Returns the task's knobs as a step reads them, with some of them turned."""
        return stack_knobs([self.task.knobs.replace(**(turned or {}))] * detector.lanes)

    def batch(self, detector: Detector, *, objects: bool = True) -> tuple[Tensor, Targets]:
        """Returns the first training images as a step reads them; without their objects if so wanted."""
        images = self.task.splits.train
        targets = images.targets()

        def lanes(values: Tensor) -> Tensor:
            first = values[: self.step]
            return first.expand(detector.lanes, *first.shape).clone()

        labels = lanes(targets.labels)
        labels = labels if objects else torch.full_like(labels, -1)
        return lanes(images.pixels[: self.step]).float(), Targets(lanes(targets.boxes), labels, lanes(targets.crowd))

    def losses(
        self, detector: Detector, *, objects: bool = True, turned: Mapping[str, float] | None = None
    ) -> dict[str, Tensor]:
        """Returns the losses of the first step, with some knobs turned."""
        images, targets = self.batch(detector, objects=objects)
        return detector.losses(images, targets, self.table(detector, turned), seed=3)

    def same(self, what: str, given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
        """Fails unless two states have the same bits."""
        for name, tensor in expected.items():
            if not torch.equal(given[name], tensor):
                distance = float((given[name].double() - tensor.double()).abs().max())
                self.fail(f"{what}: '{name}' differs by up to {distance:g}, expected the same bits")


def _determined(case: DetectorCase) -> None:
    """Two calls of two steps equal one of four, whatever random numbers others draw in between."""
    whole, parts = case.trainer(), case.trainer()
    whole.train(4 * case.step)
    for _ in range(2):
        parts.train(2 * case.step)
        parts.evaluate("val")
        torch.rand(7), np.random.default_rng().random(3), random.random()
    case.same("4 steps at once and in 2 calls", parts.snapshot().tensors, whole.snapshot().tensors)


def _seeded(case: DetectorCase) -> None:
    """A seed decides the first weights."""
    first, again, other = (case.trainer(seed).snapshot().tensors["weights"] for seed in (1, 1, 2))
    case.expect(torch.equal(first, again), "the same seed gave other first weights: draw them from the seed alone")
    case.expect(not torch.equal(first, other), "another seed gave the same first weights")


def _snapshot(case: DetectorCase) -> None:
    """A state that is put into a fresh detector goes on with the same bits."""
    trainer, other = case.trainer(), case.trainer(seed=9)
    trainer.train(2 * case.step), other.train(case.step)
    other.restore(trainer.snapshot())
    case.same("a restored state", other.snapshot().tensors, trainer.snapshot().tensors)
    trainer.train(2 * case.step), other.train(2 * case.step)
    case.same(
        "2 steps after a state was restored (is all that is remembered in `buffers`?)",
        other.snapshot().tensors,
        trainer.snapshot().tensors,
    )


def _reset(case: DetectorCase) -> None:
    """A detector that starts afresh has forgotten what it was."""
    trainer, fresh = case.trainer(), case.trainer()
    trainer.train(2 * case.step)
    trainer.reset(1)
    case.same("a detector after `initialize`", trainer.snapshot().tensors, fresh.snapshot().tensors)


def _no_trace(case: DetectorCase) -> None:
    """Evaluation changes nothing, draws no random number, and gives the same twice."""
    trainer = case.trainer()
    trainer.train(case.step)
    before, stream = trainer.snapshot().tensors, torch.get_rng_state()
    first, second = trainer.detect("val"), trainer.detect("val")
    case.same("a state after `detect`", trainer.snapshot().tensors, before)
    case.expect(torch.equal(stream, torch.get_rng_state()), "`detect` drew from torch's global random stream")
    case.expect(
        np.array_equal(first.scores, second.scores) and np.array_equal(first.boxes, second.boxes),
        "`detect` gave other boxes when it was called again",
    )


def _losses(case: DetectorCase) -> None:
    """Losses are finite numbers per lane, also where there is no object."""
    detector = case.detector()
    for objects in (True, False):
        terms, where = case.losses(detector, objects=objects), "" if objects else " of images without objects"
        case.expect(
            isinstance(terms, Mapping) and {"class", "box"} <= set(terms),
            f"losses returned {sorted(terms) if isinstance(terms, Mapping) else type(terms).__name__}: expected class "
            "and box",
        )
        for name, value in terms.items():
            case.expect(
                value.shape == (detector.lanes,),
                f"the {name} loss{where} has shape {list(value.shape)}, expected one per lane, [{detector.lanes}]",
            )
            case.expect(
                torch.isfinite(value).all(), f"the {name} loss{where} is {value.tolist()}, expected finite numbers"
            )


def _gradient(case: DetectorCase) -> None:
    """A gradient reaches the weights, and only the last backward pass's."""
    detector = case.detector()
    gradients = []
    for _ in range(2):
        detector.clear_gradient()
        torch.stack(list(case.losses(detector).values())).sum().backward()
        gradients.append(detector.gradient().clone())
    given = gradients[0]
    case.expect(
        given.shape == detector.weights.shape,
        f"the gradient has shape {list(given.shape)}, expected that of the weights, {list(detector.weights.shape)}",
    )
    case.expect(torch.isfinite(given).all(), "the gradient is not finite")
    case.expect(bool(given.any(1).all()), "no gradient reaches the weights: it is 0 everywhere")
    case.expect(
        torch.equal(*gradients), "a second backward pass gave another gradient: `clear_gradient` is to forget it"
    )
    decay = detector.decay
    case.expect(
        decay.shape == detector.weights.shape[1:] and bool(((decay == 0) | (decay == 1)).all()),
        "`decay` is no mask of 0 and 1 over the numbers of a lane",
    )


def _knobs(case: DetectorCase) -> None:
    """Knobs are read at every call: weights of the losses, thresholds, limits and own ones."""
    detector = case.detector()
    even = {"class_weight": 1.0, "box_weight": 1.0}
    plain = {name: value.detach() for name, value in case.losses(detector, turned=even).items()}
    for name in ("class", "box"):
        heavier = case.losses(detector, turned=even | {f"{name}_weight": 3.0})
        expected = {key: value * 3 if key == name else value for key, value in plain.items()}
        for key, value in expected.items():
            case.expect(
                torch.allclose(heavier[key].detach(), value, rtol=1e-4, atol=1e-7),
                f"with {name}_weight 3 the {key} loss is {heavier[key].tolist()}, expected {value.tolist()}",
            )
    images = case.batch(detector)[0]
    everything = detector.detect(images, case.table(detector))
    if len(everything.scores):
        middle = float(everything.scores.median())
        kept = detector.detect(images, case.table(detector, {"score_threshold": min(middle, 0.95)}))
        case.expect(
            len(kept.scores) == 0 or float(kept.scores.min()) >= min(middle, 0.95) - 1e-6,
            f"with score_threshold {middle:g} scores of {_span(kept.scores)} are reported",
        )
    few = detector.detect(images, case.table(detector, {"detections": 2.0}))
    largest = _max_in_an_image(few)
    case.expect(largest <= 2, f"with detections 2 an image has {largest} boxes")
    for name, knob in case.own.items():
        case.expect(_turns(case, name, knob.turned()), f"the own knob '{name}' changes neither losses nor boxes")


def _turns(case: DetectorCase, name: str, value: float) -> bool:
    """Returns whether an own knob changes the losses or the boxes."""
    detector = case.detector()
    images = case.batch(detector)[0]
    seen = []
    for turned in ({}, {name: value}, {}):
        torch.stack(list(case.losses(detector, turned=turned).values())).sum().backward()
        gradient = detector.gradient().clone()
        detector.clear_gradient()
        boxes = detector.detect(images, case.table(detector, turned))
        seen.append((gradient, boxes.boxes, boxes.scores))
    differs = [not torch.equal(*pair) for pair in zip(seen[0], seen[1], strict=True)]
    stays = [torch.equal(*pair) for pair in zip(seen[0], seen[2], strict=True)]
    case.expect(all(stays), f"the own knob '{name}' was turned back, and the numbers did not come back")
    return any(differs)


def _boxes(case: DetectorCase) -> None:
    """Boxes are valid, and stand by lane, image and falling score; candidates by class within an image."""
    detector = case.detector()
    images = case.batch(detector)[0]
    for what, boxes in (
        ("detect", detector.detect(images, case.table(detector))),
        ("candidates", detector.candidates(images, case.table(detector))),
    ):
        count = len(boxes.scores)
        shapes = [list(getattr(boxes, name).shape) for name in ("boxes", "scores", "labels", "lanes", "images")]
        case.expect(
            shapes == [[count, 4], *[[count]] * 4], f"{what} returned the shapes {shapes}: expected [m, 4] and four [m]"
        )
        if not count:
            continue
        left, top, right, bottom = boxes.boxes.unbind(1)
        case.expect(torch.isfinite(boxes.boxes).all(), f"{what} returned boxes that are not finite")
        case.expect(
            ((left <= right) & (top <= bottom)).all(),
            f"{what} returned boxes that are not left, top, right, bottom",
        )
        case.expect(
            ((boxes.scores >= 0) & (boxes.scores <= 1)).all(),
            f"{what} returned scores of {_span(boxes.scores)}: expected 0 to 1",
        )
        for name, limit in (("labels", detector.classes), ("lanes", detector.lanes), ("images", len(images[0]))):
            values = getattr(boxes, name)
            case.expect(
                ((values >= 0) & (values < limit)).all(),
                f"{what} returned {name} of {_span(values)}: expected positions from 0 to {limit - 1}",
            )
        place = boxes.lanes * len(images[0]) + boxes.images
        case.expect((place.diff() >= 0).all(), f"{what} returned boxes that do not stand by lane and image")
        group = place * detector.classes + boxes.labels if what == "candidates" else place
        falling = (group.diff() > 0) | ((group.diff() == 0) & (boxes.scores.diff() <= 0))
        by = "lane, image, class" if what == "candidates" else "lane, image"
        case.expect(falling.all(), f"{what} returned boxes that do not stand by {by} and falling score")


def _lanes(case: DetectorCase) -> None:
    """A lane's numbers do not depend on the number of lanes or on its place among them."""
    if not supports_lanes(case.task.recipe.detector):
        return  # its lanes are detectors of their own
    pair, many = Fleet(case.task, [4, 9]), Fleet(case.task, [7, 9, 4])
    pair.train(2 * case.step), many.train(2 * case.step)
    for lane, place in ((0, 2), (1, 1)):
        case.same("a lane among 2 and among 3", many.snapshot(place).tensors, pair.snapshot(lane).tensors)


def _failure(case: DetectorCase) -> None:
    """Weights that are not finite give a loss that is not, which ends the run before a step."""
    trainer = case.trainer()
    with torch.no_grad():
        trainer.fleet.detectors[0].weights[0] = float("nan")
    case.expect(
        trainer.train(case.step).diverged, "weights of NaN gave a finite loss and gradient: nothing is to hide them"
    )


DETECTOR_PROPERTIES: dict[str, Callable[[DetectorCase], None]] = {
    "losses": _losses,
    "gradient": _gradient,
    "boxes": _boxes,
    "knobs are read at every call": _knobs,
    "seeded": _seeded,
    "evaluation leaves no trace": _no_trace,
    "determined": _determined,
    "snapshot": _snapshot,
    "reset": _reset,
    "lanes": _lanes,
    "failure is a value": _failure,
}
"""Every property of a detector, and what checks it."""


def _max_in_an_image(boxes: Boxes) -> int:
    if not len(boxes.scores):
        return 0
    places = torch.stack([boxes.lanes, boxes.images], 1)
    return int(places.unique(dim=0, return_counts=True)[1].max())


def _span(values: Tensor) -> str:
    return f"{float(values.min()):g} to {float(values.max()):g}" if len(values) else "none"
