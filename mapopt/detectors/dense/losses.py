"""What a dense detector minimizes: a class loss over ranked lists and a box loss over positives, both per lane.

The class loss sees the logits as lists. One list per class is the surrogate of mAP, which is a mean over classes; one
list per batch is what the published code ranks; one per image is what focal loss's relatives often do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mapopt.detectors.assignments import ASSIGNMENTS, Assigner
from mapopt.detectors.dense.balance import by_gradients, by_values
from mapopt.detectors.dense.facts import EntryFacts, Facts
from mapopt.detectors.dense.geometry import Assignment, Priors, pairwise_iou
from mapopt.detectors.interface import KnobTable, Targets
from mapopt.detectors.objective import OWN_LOSS, Balance, Objective, Scope
from mapopt.errors import ConfigError
from mapopt.losses import FocalLoss, ListLoss, PointwiseLoss, ScoreMemory, make_box_loss, make_loss, split_by_iou
from mapopt.losses.silence import check_own_loss

KNOB_ATTRIBUTES = {"focal_gamma": "gamma"}
"""Which attribute of a loss a knob of ours sets, where the loss has it; a loss's own knobs set their namesakes."""


class DenseLoss:
    """The class and box losses of a dense detector.

    Args:
        objective: which losses, on which lists.
        loss: a finished class loss, in place of the one that the objective names.

    Attributes:
        assignment: name of what decides which location answers for which object.
        class_weights: ``[lanes, classes]`` factors of a pointwise loss's terms, or None.
        facts: what is known of every logit, for losses that read it.
        own_box: the box loss is a torchvision detector's, and what is computed here has no use.

    Raises:
        ConfigError: a name is unknown, the losses are a detector's own, a loss of a user's own sends no gradient, or
            the loss has no use for soft labels or a memory.

    Reference: K. Oksuz et al., "Rank & Sort Loss for Object Detection and Instance Segmentation", ICCV 2021, section 4.
    """

    def __init__(self, objective: Objective, *, loss: ListLoss | None = None) -> None:
        self.own_box = objective.box_loss == OWN_LOSS
        self.ranking: ListLoss = make_loss(objective.loss, objective.loss_settings) if loss is None else loss
        self.pointwise = self.ranking.pointwise
        if objective.soft_labels and self.pointwise and not self.ranking.soft_labels:
            raise ConfigError(
                f"soft_labels is on, but {type(self.ranking).__name__} only knows positives and negatives: use "
                "quality_focal or varifocal, or a ranking loss"
            )
        self.focal = FocalLoss()
        self.box_loss = make_box_loss("giou" if self.own_box else objective.box_loss)
        self.assignment = objective.assignment
        self.assigner: Assigner = ASSIGNMENTS.make(objective.assignment, objective.assignment_settings)
        self.scope: Scope = objective.scope or ("batch" if self.pointwise else "class")
        self.balance = _balance(objective, self.ranking)
        self._ratio = objective.balance_ratio
        self.soft = self.ranking.soft_labels if objective.soft_labels is None else objective.soft_labels
        self.class_weights: Tensor | None = None
        self.auxiliary = [(make_loss(name), weight) for name, weight in objective.auxiliary.items()]
        for _, part in self._losses:
            check_own_loss(part)
        self.facts = EntryFacts([part for _, part in self._losses])
        if self.ranking.reads and (objective.memory or (self.soft and not self.ranking.soft_labels)):
            raise ConfigError(
                f"{type(self.ranking).__name__} reads {', '.join(self.ranking.reads)}, which is not known of scores in "
                "a memory or in a list per IoU threshold: leave memory at 0 and soft_labels at False"
            )
        if objective.memory and (self.pointwise or self.scope == "image"):
            raise ConfigError(
                f"memory is {objective.memory} with {type(self.ranking).__name__} and scope '{self.scope}': only a "
                "ranking loss over the images of a batch has use for scores of other images; leave memory at 0"
            )
        self._memory_size = objective.memory
        self._memory: ScoreMemory | None = None

    def prepare(self, *, lanes: int, classes: int, device: torch.device) -> None:
        """Makes room for what is remembered from step to step, by a memory or by the losses."""
        for _, loss in self._losses:
            loss.prepare(lanes=lanes, classes=classes, device=device)
        if self._memory_size:
            lists = classes if self.scope == "class" else 1
            self._memory = ScoreMemory(self._memory_size, (lanes, lists), device=device)

    def buffers(self) -> dict[str, Tensor]:
        """Returns what is remembered from step to step, each ``[lanes, ...]``."""
        buffers = {
            f"{place}.{name}": value for place, loss in self._losses for name, value in loss.remembered().items()
        }
        if self._memory is not None:
            buffers |= {f"memory.{name}": value for name, value in self._memory.named_buffers()}
        return buffers

    def forget(self, lane: int) -> None:
        """Forgets what is remembered of one lane."""
        for value in self.buffers().values():
            value[lane] = 0

    def weigh_classes(self, lane: int, weights: Tensor, *, lanes: int) -> None:
        """Sets the factors ``[classes]`` of a pointwise loss's terms, of one lane.

        Raises:
            ConfigError: the loss has no weights of entries.
        """
        if not isinstance(self.ranking, PointwiseLoss):
            raise ConfigError(
                f"class weights for {type(self.ranking).__name__}, which takes none: use a PointwiseLoss of "
                "mapopt.losses, such as focal"
            )
        if self.class_weights is None:
            self.class_weights = torch.ones((lanes, len(weights)), device=weights.device)
        self.class_weights[lane] = weights

    def count_classes(self, lane: int, counts: Tensor, *, lanes: int) -> None:
        """Says how many objects of each class ``[classes]`` there are to train on, for losses that read it.

        A class without objects counts as having one.
        """
        self.facts.count_classes(lane, counts, lanes=lanes)

    @property
    def remembers(self) -> bool:
        """Whether there is a state that goes on from step to step."""
        return bool(self._memory_size) or any(loss.remembers for _, loss in self._losses)

    @property
    def _losses(self) -> list[tuple[str, ListLoss]]:
        """The class losses, and what their state is called by."""
        further = [(f"auxiliary.{place}", loss) for place, (loss, _) in enumerate(self.auxiliary)]
        return [("loss", self.ranking), *further]

    def __call__(
        self, logits: Tensor, boxes: Tensor, priors: Priors, targets: Targets, knobs: KnobTable
    ) -> dict[str, Tensor]:
        """Returns the weighted losses ``{"class": [lanes], "box": [lanes]}``.

        Args:
            logits: ``[lanes, batch, locations, classes]``.
            boxes: ``[lanes, batch, locations, 4]`` predicted, xyxy pixels.
            priors: the locations.
            targets: the objects.
            knobs: values per lane.
        """
        assignment = self.assigner(logits.detach(), boxes.detach(), priors, targets, knobs)
        return self.evaluate(logits, boxes, assignment, targets, knobs)

    def evaluate(
        self, logits: Tensor, boxes: Tensor, assignment: Assignment, targets: Targets, knobs: KnobTable
    ) -> dict[str, Tensor]:
        """Returns the weighted losses of locations that something else has assigned; arguments as in `__call__`."""
        if self.balance != "gradients":
            return self._terms(logits, boxes, assignment, targets, knobs)
        # Gradients decide the value, so they are there even where the caller asks for none.
        wanted = torch.is_grad_enabled()
        with torch.enable_grad():
            logits, boxes = (
                values if values.requires_grad else values.detach().requires_grad_() for values in (logits, boxes)
            )
            terms = self._terms(logits, boxes, assignment, targets, knobs)
        return terms if wanted else {name: value.detach() for name, value in terms.items()}

    def _terms(
        self, logits: Tensor, boxes: Tensor, assignment: Assignment, targets: Targets, knobs: KnobTable
    ) -> dict[str, Tensor]:
        positive = assignment.objects >= 0
        index = assignment.objects.clamp(min=0)
        matched = targets.boxes.gather(2, index[..., None].expand(*index.shape, 4))
        box = self._box(boxes, matched, positive)
        labels, where = self._labels(logits, boxes, matched, targets, assignment)
        self._make_room(logits)
        facts = self.facts(logits, assignment, objects=targets.labels.shape[-1])
        class_term = self._class(logits, labels, where, knobs, targets.counted, facts)
        if self.balance == "values":
            box = box * by_values(class_term, box)
        elif self.balance == "gradients":
            sides = torch.where(positive[..., None], matched[..., 2:] - matched[..., :2], 0.0)
            box = box * by_gradients(class_term, box, scores=logits, boxes=boxes, sides=sides, ratio=self._ratio)
        return {"class": knobs["class_weight"] * class_term, "box": knobs["box_weight"] * box}

    def _box(self, boxes: Tensor, matched: Tensor, positive: Tensor) -> Tensor:
        # Where there is no object the target is the prediction itself: no loss, and no division by an empty box.
        target = torch.where(positive[..., None], matched, boxes.detach())
        each = self.box_loss(boxes, target)
        return torch.where(positive, each, 0.0).sum((1, 2)) / positive.sum((1, 2)).clamp(min=1)

    def _labels(
        self, logits: Tensor, boxes: Tensor, matched: Tensor, targets: Targets, assignment: Assignment
    ) -> tuple[Tensor, Tensor]:
        positive = assignment.objects >= 0
        category = targets.labels.gather(2, assignment.objects.clamp(min=0).flatten(2))
        category = torch.where(positive, category, logits.shape[-1])
        value = torch.ones_like(boxes[..., 0])
        if self.soft or any(loss.soft_labels for loss, _ in self.auxiliary):
            overlap = pairwise_iou(boxes.flatten(0, -2)[:, None].float(), matched.flatten(0, -2)[:, None].float())
            # A positive stays one however badly its box fits. Losses with a localization part send a gradient
            # through the label to the box, the others treat it as a constant.
            value = overlap.view_as(value).clamp(min=1e-3)
        spread = torch.zeros((*logits.shape[:-1], logits.shape[-1] + 1), device=logits.device)
        labels = spread.scatter(-1, category[..., None], value[..., None])[..., :-1]
        where = ~assignment.ignored if targets.counted is None else ~assignment.ignored & targets.counted[..., None]
        return labels, where[..., None].expand_as(labels)

    def _make_room(self, logits: Tensor) -> None:
        """Prepares losses that nobody has prepared, as where torchvision's detectors are trained by others."""
        for _, loss in self._losses:
            if loss.remembers and not loss.remembered():
                loss.prepare(lanes=logits.shape[0], classes=logits.shape[-1], device=logits.device)

    def _class(
        self,
        logits: Tensor,
        labels: Tensor,
        where: Tensor,
        knobs: KnobTable,
        counted: Tensor | None,
        facts: Facts,
    ) -> Tensor:
        main_labels = labels if self.soft else (labels > 0).to(labels.dtype)
        value = self._main(logits, main_labels, where, knobs, counted, facts)
        for loss, weight in self.auxiliary:
            value = value + weight * self._per_lane(loss, "batch", logits, labels, where, knobs, None, facts)
        return value

    def _main(
        self,
        logits: Tensor,
        labels: Tensor,
        where: Tensor,
        knobs: KnobTable,
        counted: Tensor | None,
        facts: Facts,
    ) -> Tensor:
        if self.pointwise:
            if self.class_weights is not None and isinstance(self.ranking, PointwiseLoss):
                weights = self.class_weights[:, None, None, :].expand(logits.shape)
                self.ranking.weight = _as_lists(weights, self.scope)
            return self._per_lane(self.ranking, self.scope, logits, labels, where, knobs, None, facts)
        fraction = knobs["surrogate_weight"]
        value = fraction * self._per_lane(self.ranking, self.scope, logits, labels, where, knobs, counted, facts)
        if bool((fraction < 1).any()):
            focal = self._per_lane(self.focal, "batch", logits, (labels > 0).to(labels.dtype), where, knobs)
            value = value + (1 - fraction) * focal
        return value

    def _per_lane(
        self,
        loss: ListLoss,
        scope: Scope,
        logits: Tensor,
        labels: Tensor,
        where: Tensor,
        knobs: KnobTable,
        counted: Tensor | None = None,
        facts: Facts | None = None,
    ) -> Tensor:
        """Returns a loss's value per lane: the mean over the lane's lists that contain a positive."""
        known = {name: _as_lists((facts or {})[name], scope) for name in loss.reads}
        lists = tuple(_as_lists(values, scope) for values in (logits, labels, where))
        for knob, attribute in KNOB_ATTRIBUTES.items():
            if knob in knobs and hasattr(loss, attribute):
                setattr(loss, attribute, knobs[knob][:, None, None])
        loss.set_knobs(knobs, dimensions=3)
        if self._memory is not None and loss is self.ranking:
            entries = lists[0].shape[-1]
            lists = self._memory(*lists)
            if counted is not None:
                _forget_uncounted(self._memory, lists, entries, counted)
        if loss is self.ranking and not self.pointwise and "temperature" in knobs:
            # Dividing by 1 changes no bit, and the memory has kept the scores as they were.
            lists = (_tempered(loss, lists[0], knobs["temperature"][:, None, None]), *lists[1:])
        if self.soft and loss is self.ranking and not loss.soft_labels:
            lists = tuple(values.flatten(1, 2) for values in split_by_iou(*lists))
        value = sum(loss.lists(*lists, facts=known).values())
        assert isinstance(value, Tensor)
        present = ((lists[1] > 0) & lists[2]).any(-1)
        return (value * present).sum(-1) / present.sum(-1).clamp(min=1)


def _balance(objective: Objective, loss: ListLoss) -> Balance:
    """Returns how the box loss is balanced; what earlier versions did, only the loss itself can say."""
    if objective.balance != "former":
        return objective.balance
    return "values" if loss.error_rate else "none"


def _as_lists(values: Tensor, scope: Scope) -> Tensor:
    """Reshapes ``[lanes, batch, locations, classes]`` to ``[lanes, lists, n]``."""
    if scope == "class":
        return values.permute(0, 3, 1, 2).flatten(2)
    if scope == "image":
        return values.flatten(2)
    return values.flatten(1)[:, None]


def _tempered(loss: ListLoss, scores: Tensor, temperature: Tensor) -> Tensor:
    """Divides the scores ``[lanes, lists, n]`` by temperatures ``[lanes, 1, 1]``.

    An error-driven update is made of errors, not of slopes: it has no scale that the chain rule could carry back.
    """
    if getattr(loss, "gradient", None) == "error-driven":
        return _Divided.apply(scores, temperature)
    return scores / temperature


class _Divided(torch.autograd.Function):
    """Divides; the gradient passes as it is."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, divisor: Tensor) -> Tensor:
        return scores / divisor

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return upstream, None


def _forget_uncounted(memory: ScoreMemory, lists: tuple[Tensor, ...], entries: int, counted: Tensor) -> None:
    """Closes the gap that images which do not count leave in a memory, so that it holds as many scores as it can.

    Args:
        memory: what is corrected; it has remembered the first of `lists`.
        lists: scores, labels and where ``[lanes, lists, entries + size]``: the batch's, image by image, then older.
        entries: of the batch, per list.
        counted: bool ``[lanes, batch]``, the images that count first.
    """
    size = memory.scores.shape[-1]
    used = counted.sum(1) * (entries // counted.shape[1])
    place = torch.arange(size, device=counted.device)
    place = place + (place >= used[:, None]) * (entries - used[:, None])
    for name, values in zip(("scores", "labels", "where"), lists, strict=True):
        chosen = values.detach().gather(-1, place[:, None].expand(*values.shape[:-1], size))
        setattr(memory, name, chosen.to(getattr(memory, name).dtype))
