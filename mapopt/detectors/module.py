"""Any module with torchvision's calling convention as a detector of one lane: its weights are a row, its losses stay.

The convention is that of torchvision's detectors and of its tutorial: ``model(images, targets)`` returns a dictionary
of losses in training, ``model(images)`` a list of dictionaries in evaluation. What the module computes, and how it
suppresses, is left alone; what is added is the interface that trainers, fleets and environments read.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet

from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.dense.rows import Row, RowModule, seeded
from mapopt.detectors.drop_in import FAMILIES, cover_losses
from mapopt.detectors.dropout import dropping
from mapopt.detectors.half_precision import half_precision
from mapopt.detectors.interface import Detector, KnobTable, Targets
from mapopt.detectors.objective import NO_REWARD, OWN_LOSS, Objective
from mapopt.detectors.request import HalfPrecision
from mapopt.detectors.together import joins_losses, losses_together
from mapopt.errors import ConfigError
from mapopt.postprocessing.boxes import Boxes
from mapopt.postprocessing.torchvision import evaluating, limits_of

_KEYS = ("boxes", "scores", "labels")
_MARGIN = 0.1
"""Between RetinaNet's two thresholds, .5 and .4 in its paper, locations are ignored."""

REPLACED_TERMS = ("classification", "loss_classifier")
"""What torchvision's detectors call the class loss that a loss of ours stands in for."""

Examples = list[dict[str, Tensor]]
"""The objects of each image, as torchvision's models take them."""


class ModuleDetector(Detector):
    """A module with torchvision's calling convention, with one lane.

    The module is given a list of images ``[3, h, w]`` of 0 to 1 and, in training, a list of targets with ``boxes``
    ``[g, 4]`` xyxy in pixels, ``labels`` ``[g]`` from 1 (0 is the background); crowd regions are left out. Terms of its
    losses with "class", "cls" or "objectness" in their names are the class loss, those with "box" the box loss; any
    other is minimized as it is. Its post-processing is its own; of the knobs only ``score_threshold`` and
    ``detections`` are applied to what it reports. Batch norms and what else it keeps in buffers are part of a lane's
    state; parameters that require no gradient are never changed.

    RetinaNet, FCOS, SSD and Faster R-CNN of torchvision obey all knobs of post-processing and of the assignment, and a
    loss of ours can stand in for theirs, as in `mapopt.detectors.replace_class_loss`; of every other module the
    objective has to be its own losses, ``Objective(loss="torchvision")``.

    Args:
        build: makes the module with fresh weights, drawn from torch's global stream.
        objective: the losses; of ours those that it names, or the module's own.
        classes: number of categories.
        name: what messages call it.
        first_label: label of the first category.
        device: where to run.
        autocast: run the module in bfloat16 or float16.

    Raises:
        ConfigError: what is built is no module, or a loss of ours is given for a module that has no place for it.
    """

    lanes = 1

    def __init__(
        self,
        build: Callable[[], Any],
        objective: Objective,
        *,
        classes: int,
        name: str = "module",
        first_label: int = 1,
        device: torch.device | str = "cpu",
        autocast: HalfPrecision = "none",
    ) -> None:
        self.name, self.classes, self.device = name, classes, torch.device(device)
        self._build, self._autocast, self._first_label = build, autocast, first_label
        if objective.reward != NO_REWARD:
            raise ConfigError(
                f"reward '{objective.reward}' with detector '{name}': expected a detector whose rankings are drawn, "
                f"tiny, nano, resnet18 or resnet50, or reward '{NO_REWARD}'"
            )
        self.loss = None if objective.is_detectors_own else DenseLoss(objective)
        model = self._fresh(0)
        if self.loss and not isinstance(model, FAMILIES):
            raise ConfigError(
                f"loss '{objective.loss}' with detector '{name}', a {type(model).__name__} that brings its own losses: "
                f"set loss to '{OWN_LOSS}'"
            )
        self._row = Row(model)
        self._frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        decay = self._row.decay_mask()
        for frozen in self._frozen:
            self._row.split(decay)[frozen].zero_()
        self.decay = decay.to(self.device)
        self.weights = self._row.join(model)[None].to(self.device).requires_grad_()
        self.model: Any = model.to(self.device)
        self._bound = RowModule(self.model, self._row, self.weights)
        self._replaced = cover_losses(model, self.loss) if self.loss else None
        # Of scores without a background, the column of label 0 stays without an object.
        self._unused = first_label if isinstance(model, RetinaNet | FCOS) else 0
        if self.loss:
            self.loss.prepare(lanes=self.lanes, classes=self._unused + classes, device=self.device)
        self._limits: Any = limits_of(model)

    def __getstate__(self) -> dict[str, Any]:
        # Copies, by `copy.deepcopy` or `pickle`, have a module whose parameters are no views of these weights, and bind
        # it to their own. What refers to the module is copied with it.
        apart = {name: value for name, value in vars(self).items() if name not in ("weights", "_bound")}
        return {**copy.deepcopy(apart), "weights": self.weights}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._bound = RowModule(self.model, self._row, self.weights)

    def initialize(self, lane: int, seed: int) -> None:
        """Draws the weights and resets the running statistics."""
        fresh = self._fresh(seed)
        buffers = self.buffers()
        with torch.no_grad():
            self.weights[lane] = self._row.join(fresh).to(self.device)
            for name, value in fresh.named_buffers():
                buffers[name][lane] = value
            if self.loss:
                self.loss.forget(lane)

    def parts(self) -> dict[str, tuple[int, ...]]:
        """Returns the module's parameters; see `Detector.parts`."""
        return self._row.shapes

    def classes_of(self, part: str) -> list[int]:
        """Returns whose the rows are, as torchvision's heads have them; see `Detector.classes_of`."""
        rows, columns = self._row.shapes[part][0], self.classes + self._first_label
        # Anchor after anchor has every class; boxes of a class stand together.
        order = [row * columns // rows if "bbox_pred" in part else row % columns for row in range(rows)]
        return [max(-1, column - self._first_label) for column in order] if rows % columns == 0 else []

    def losses(self, images: Tensor, targets: Targets, knobs: KnobTable, *, seed: int) -> dict[str, Tensor]:
        """Returns the weighted losses; see `Detector.losses`.

        Raises:
            ConfigError: the batch is too small for a batch norm, or what the module returns are no losses.
        """
        self._set_knobs(knobs)
        examples = _examples(targets, self._first_label, crowds=self._replaced is not None)
        if self.loss:
            self.loss.components = None if self.components is None else {}
        if self._replaced:
            # The weights of the terms come later, for all terms alike.
            full = torch.ones(1, device=self.device)
            self._replaced.knobs = {**knobs, "class_weight": full, "box_weight": full}
            self._replaced.processes = self.processes
        try:
            with (
                seeded(self._own_seed(seed), self.device),
                dropping(self.model, seed, self.processes),
                losses_together(self.model, self.processes),
            ):
                terms = self._run(images, examples)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ConfigError(
                f"{self.name} normalizes over the batch, and {images.shape[1]} image of {images.shape[-2]}x"
                f"{images.shape[-1]} pixels leaves it a single value: use a batch size of 2 or more, "
                "a larger batch_fraction, or larger images"
            ) from error
        self._check_terms(terms)
        if self.components is not None:
            self.components |= self._components(terms)
        zero = torch.zeros(1, device=self.device)
        sums = {"class": zero, "box": zero}
        for name, value in terms.items():
            kind = _kind_of(name)
            sums[kind] = sums.get(kind, zero) + value.float()
        weights = {"class": knobs["class_weight"], "box": knobs["box_weight"]}
        return {kind: weights[kind] * value if kind in weights else value for kind, value in sums.items()}

    @torch.no_grad()
    def detect(self, images: Tensor, knobs: KnobTable) -> Boxes:
        """Returns the boxes after the module's own post-processing; see `Detector.detect`.

        With Soft-NMS, what a detector of torchvision would suppress among goes through ours.
        """
        limit = int(knobs["detections"][0].round())
        if self._limits is None:
            return _strongest(self._report(images, knobs), limit)
        if float(knobs["soft_nms_sigma"][0]) <= 0:
            return self._report(images, knobs, nms_iou=float(knobs["nms_iou"][0]), max_detections=limit)
        return super().detect(images, knobs)

    @torch.no_grad()
    def candidates(self, images: Tensor, knobs: KnobTable) -> Boxes:
        """Returns the boxes before suppression, or those that a module suppressed by itself; see `Detector`."""
        # No two boxes overlap by more than 1.
        boxes = self._report(images, knobs, nms_iou=1.0, max_detections=sys.maxsize)
        return boxes.at((boxes.images * self.classes + boxes.labels).argsort(stable=True))

    def buffers(self) -> dict[str, Tensor]:
        """Returns the running statistics of batch norms, or the constants of frozen ones, and what the loss remembers.

        Each is ``[1, ...]``.
        """
        remembered = self.loss.buffers() if self.loss else {}
        return {name: value[None] for name, value in self.model.named_buffers()} | remembered

    def gradient(self) -> Tensor:
        """Returns the gradient; see `Detector.gradient`."""
        return self._bound.gradient()

    def clear_gradient(self) -> None:
        """Forgets the gradient."""
        self._bound.clear()

    def weigh_classes(self, lane: int, weights: Tensor) -> None:
        """Sets the factors ``[classes]`` of a pointwise class loss's terms or of a ranking's lists, of one lane.

        Raises:
            ConfigError: the losses are the module's own.
        """
        if self.loss is None:
            raise ConfigError(f"class weights for the loss '{OWN_LOSS}', which takes none: name a loss, such as focal")
        columns = torch.cat([torch.ones(self._unused), weights.cpu()])
        self.loss.weigh_classes(lane, columns.to(self.device), lanes=self.lanes)

    def count_classes(self, lane: int, counts: Tensor) -> None:
        """Says how many objects of each class ``[classes]`` there are to train on, for a loss of ours that reads it."""
        if self.loss is not None:
            columns = torch.cat([torch.zeros(self._unused), counts.cpu()])
            self.loss.count_classes(lane, columns.to(self.device), lanes=self.lanes)

    def _fresh(self, seed: int) -> Any:
        with seeded(seed):
            model = self._build()
        if not isinstance(model, nn.Module):
            raise ConfigError(f"detector '{self.name}' builds a {type(model).__name__}: expected a torch.nn.Module")
        return model.train()

    def _arguments(self, images: Tensor) -> Any:
        """Returns images ``[batch, 3, h, w]`` of 0 to 255 as the module takes them."""
        return list(images / 255)

    def _run(self, images: Tensor, examples: Examples | None = None) -> Any:
        with half_precision(self.device, self._autocast):
            return self._bound(self.weights, self._arguments(images[0]), examples)

    def _report(self, images: Tensor, knobs: KnobTable, *, nms_iou: float = 1.0, max_detections: int = 0) -> Boxes:
        """Returns what the module reports, by image and falling score."""
        self._set_knobs(knobs)
        if self._limits is not None:
            self._limits.nms_thresh, self._limits.detections_per_img = nms_iou, max_detections
        with evaluating(self.model):
            results = self._run(images)
        self._check_results(results, len(images[0]))
        counts = torch.tensor([len(result["scores"]) for result in results], device=self.device)
        index = torch.arange(len(results), device=self.device).repeat_interleave(counts)
        boxes, scores, labels = (torch.cat([result[key] for result in results]) for key in _KEYS)
        reported = Boxes(boxes, scores, labels - self._first_label, torch.zeros_like(index), index)
        if self._limits is None:
            return self._chosen(reported, float(knobs["score_threshold"][0]))
        return reported.at(reported.labels >= 0) if self._unused else reported

    def _chosen(self, boxes: Boxes, threshold: float) -> Boxes:
        """Returns the boxes that reach the threshold and have a category of ours, by image and falling score."""
        real = (boxes.scores >= threshold) & (boxes.labels >= 0) & (boxes.labels < self.classes)
        order = boxes.scores.argsort(descending=True, stable=True)
        order = order[boxes.images[order].argsort(stable=True)]
        chosen = boxes.at(order[real[order]])
        return Boxes(chosen.boxes.float(), chosen.scores.float(), chosen.labels, chosen.lanes, chosen.images)

    def _components(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the terms by their own names; a class loss of ours that has several components as these."""
        named = {name: value.detach().float().reshape(1) for name, value in terms.items()}
        parts = {name: value for name, value in ((self.loss and self.loss.components) or {}).items() if name != "box"}
        if len(parts) < 2:
            return named
        return {name: value for name, value in named.items() if name not in REPLACED_TERMS} | parts

    def _own_seed(self, seed: int) -> int:
        """Returns the seed of this process's step: what all of them draw for the whole batch is the same."""
        together = not self.processes.several or joins_losses(self.model)
        return seed if together else (seed + self.processes.index) % 2**63

    def _set_knobs(self, knobs: KnobTable) -> None:
        for name in getattr(self.model, "knobs", {}):
            if name in knobs:
                setattr(self.model, name, float(knobs[name][0]))
        if self._limits is None:
            return
        self._limits.score_thresh = float(knobs["score_threshold"][0])
        matcher = getattr(self._limits, "proposal_matcher", None)
        if matcher is not None:
            # Only RetinaNet's two thresholds differ.
            margin = _MARGIN if isinstance(self.model, RetinaNet) else 0.0
            matcher.high_threshold = float(knobs["assign_iou"][0])
            matcher.low_threshold = max(0.0, matcher.high_threshold - margin)

    def _check_terms(self, terms: Any) -> None:
        values = terms.values() if isinstance(terms, Mapping) else [None]
        if not all(isinstance(value, Tensor) and not value.dim() for value in values):
            raise ConfigError(
                f"detector '{self.name}' returned {_described(terms)} in training: expected a dictionary of scalar "
                "losses, as torchvision's detectors return it"
            )

    def _check_results(self, results: Any, images: int) -> None:
        listed = isinstance(results, list) and len(results) == images
        if listed and all(isinstance(result, Mapping) and all(key in result for key in _KEYS) for result in results):
            return
        raise ConfigError(
            f"detector '{self.name}' returned {_described(results)} in evaluation: expected a list with a dictionary "
            f"of {', '.join(_KEYS)} for each of the {images} images, as torchvision's detectors return it"
        )


def _kind_of(term: str) -> str:
    """Says which of the losses a term of a module is."""
    if any(word in term for word in ("class", "cls", "objectness")):
        return "class"
    return "box" if "box" in term else term


def _strongest(boxes: Boxes, limit: int) -> Boxes:
    """Returns the first boxes of every image, which stand by falling score."""
    position = torch.arange(len(boxes.images), device=boxes.images.device)
    first = torch.searchsorted(boxes.images, boxes.images)
    return boxes.at(position - first < limit)


def _examples(targets: Targets, first_label: int, *, crowds: bool) -> Examples:
    """Returns the objects of each image as torchvision wants them, without area or padding; crowd regions if asked."""
    sides = targets.boxes[0, ..., 2:] - targets.boxes[0, ..., :2]
    crowd = targets.crowd[0]
    keep = (targets.labels[0] >= 0) & torch.where(crowd, torch.tensor(crowds, device=crowd.device), (sides > 0).all(-1))
    columns = {"boxes": targets.boxes[0], "labels": targets.labels[0] + first_label, "iscrowd": crowd}
    return [{name: value[image][kept] for name, value in columns.items()} for image, kept in enumerate(keep)]


def _described(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dictionary of {', '.join(map(str, value)) or 'nothing'}"
    return f"a list of {len(value)}" if isinstance(value, list) else f"a {type(value).__name__}"
