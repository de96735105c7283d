"""What a dense detector minimizes: a class loss over ranked lists and a box loss over positives, both per lane.

The class loss sees the logits as lists. One list per class is the surrogate of mAP, which is a mean over classes; one
list per batch is what the published code ranks; one per image is what focal loss's relatives often do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mapopt.detectors.assignments import ASSIGNMENTS, Assigner
from mapopt.detectors.dense.balance import by_gradients, by_values
from mapopt.detectors.dense.entries import Entries, OwnClassLoss
from mapopt.detectors.dense.facts import EntryFacts
from mapopt.detectors.dense.geometry import Assignment, Priors, pairwise_iou, rows_of
from mapopt.detectors.dense.lists import (
    as_lists,
    forget_uncounted,
    list_weights,
    mean_over_lists,
    named_components,
    tempered,
)
from mapopt.detectors.interface import KnobTable, Targets
from mapopt.detectors.objective import OWN_LOSS, Balance, Objective, Scope
from mapopt.errors import ConfigError
from mapopt.losses import ListLoss, PointwiseLoss, ScoreMemory, make_box_loss, make_loss, split_by_iou
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
        class_weights: ``[lanes, classes]`` factors of a pointwise loss's terms or of a ranking loss's lists, or None.
        facts: what is known of every logit, for losses that read it.
        own_box: the box loss is a torchvision detector's, and what is computed here has no use.
        partner: what a ranking loss is blended with; None for a torchvision detector's own class loss.
        components: see `mapopt.detectors.interface.Detector.components`.

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
        self.partner = _partner(objective)
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
        self.components: dict[str, Tensor] | None = None
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
        """Sets the factors ``[classes]`` of a pointwise loss's terms or of a ranking loss's lists, of one lane.

        Raises:
            ConfigError: neither has a class.
        """
        if not isinstance(self.ranking, PointwiseLoss) and self.scope != "class":
            raise ConfigError(
                f"class weights for {type(self.ranking).__name__} with scope '{self.scope}', which takes none: use "
                "scope 'class', or a PointwiseLoss of mapopt.losses, such as focal"
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
        partner = [] if self.partner is None else [("blend_with", self.partner)]
        further = [(f"auxiliary.{place}", loss) for place, (loss, _) in enumerate(self.auxiliary)]
        return [("loss", self.ranking), *partner, *further]

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
        self,
        logits: Tensor,
        boxes: Tensor,
        assignment: Assignment,
        targets: Targets,
        knobs: KnobTable,
        *,
        own: OwnClassLoss | None = None,
    ) -> dict[str, Tensor]:
        """Returns the weighted losses of locations that something else has assigned.

        Args:
            logits: as in `__call__`.
            boxes: as in `__call__`.
            assignment: which object each location answers for.
            targets: the objects.
            knobs: values per lane.
            own: of a detector that has a class loss of its own.
        """
        if self.balance != "gradients":
            return self._terms(logits, boxes, assignment, targets, knobs, own)
        # Gradients decide the value, so they are there even where the caller asks for none.
        wanted = torch.is_grad_enabled()
        with torch.enable_grad():
            logits, boxes = (
                values if values.requires_grad else values.detach().requires_grad_() for values in (logits, boxes)
            )
            terms = self._terms(logits, boxes, assignment, targets, knobs, own)
        return terms if wanted else {name: value.detach() for name, value in terms.items()}

    def blends(self, knobs: KnobTable) -> bool:
        """Says whether something is blended into the class loss now; it waits for the device."""
        return not self.pointwise and bool((knobs["surrogate_weight"] < 1).any())

    def _terms(
        self,
        logits: Tensor,
        boxes: Tensor,
        assignment: Assignment,
        targets: Targets,
        knobs: KnobTable,
        own: OwnClassLoss | None,
    ) -> dict[str, Tensor]:
        positive = assignment.objects >= 0
        index = assignment.objects.clamp(min=0)
        matched = targets.boxes.gather(2, index[..., None].expand(*index.shape, 4))
        box = self._box(boxes, matched, positive)
        blended = self.blends(knobs)
        soft = self.soft or any(loss.soft_labels for loss, _ in self.auxiliary)
        soft = soft or (blended and self.partner is not None and self.partner.soft_labels)
        labels, where = self._labels(logits, boxes, matched, targets, assignment, soft=soft)
        self._make_room(logits)
        facts = self.facts(logits, assignment, objects=targets.labels.shape[-1])
        entries = Entries(logits, labels, where, facts, knobs, targets.counted)
        class_term = self._class(entries, own, blended=blended)
        if self.balance == "values":
            box = box * by_values(class_term, box)
        elif self.balance == "gradients":
            sides = torch.where(positive[..., None], matched[..., 2:] - matched[..., :2], 0.0)
            # Under no_grad nothing leads back to a detector's outputs.
            scores = own.outputs if own is not None and own.outputs.requires_grad else logits
            box = box * by_gradients(class_term, box, scores=scores, boxes=boxes, sides=sides, ratio=self._ratio)
        if self.components is not None:
            self.components["box"] = box.detach()
        return {"class": knobs["class_weight"] * class_term, "box": knobs["box_weight"] * box}

    def _box(self, boxes: Tensor, matched: Tensor, positive: Tensor) -> Tensor:
        if (rows := rows_of(positive)) is not None:
            each = self.box_loss(boxes.flatten(0, 2)[rows], matched.flatten(0, 2)[rows])
            sums = each.new_zeros(len(positive)).index_add(0, rows // positive[0].numel(), each)
            return sums / positive.sum((1, 2)).clamp(min=1)
        # Where there is no object the target is the prediction itself: no loss, and no division by an empty box.
        target = torch.where(positive[..., None], matched, boxes.detach())
        each = self.box_loss(boxes, target)
        return torch.where(positive, each, 0.0).sum((1, 2)) / positive.sum((1, 2)).clamp(min=1)

    def _labels(
        self,
        logits: Tensor,
        boxes: Tensor,
        matched: Tensor,
        targets: Targets,
        assignment: Assignment,
        *,
        soft: bool,
    ) -> tuple[Tensor, Tensor]:
        positive = assignment.objects >= 0
        category = targets.labels.gather(2, assignment.objects.clamp(min=0).flatten(2))
        category = torch.where(positive, category, logits.shape[-1])
        value = torch.ones_like(boxes[..., 0])
        if soft:
            pairs = [values.flatten(0, -2).float() for values in (boxes, matched)]
            first, second = pairs if (rows := rows_of(positive)) is None else (values[rows] for values in pairs)
            # A positive stays one however badly its box fits. Losses with a localization part send a gradient
            # through the label to the box, the others treat it as a constant.
            overlap = pairwise_iou(first[:, None], second[:, None]).flatten().clamp(min=1e-3)
            value = (overlap if rows is None else value.flatten().float().index_put((rows,), overlap)).view_as(value)
        spread = torch.zeros((*logits.shape[:-1], logits.shape[-1] + 1), device=logits.device)
        labels = spread.scatter(-1, category[..., None], value[..., None])[..., :-1]
        where = ~assignment.ignored if targets.counted is None else ~assignment.ignored & targets.counted[..., None]
        return labels, where[..., None].expand_as(labels)

    def _make_room(self, logits: Tensor) -> None:
        """Prepares losses that nobody has prepared, as where torchvision's detectors are trained by others."""
        for _, loss in self._losses:
            if loss.remembers and not loss.remembered():
                loss.prepare(lanes=logits.shape[0], classes=logits.shape[-1], device=logits.device)

    def _class(self, entries: Entries, own: OwnClassLoss | None, *, blended: bool) -> Tensor:
        """Returns the class loss per lane."""
        if self.pointwise:
            self._weigh_entries(self.ranking, self.scope, entries.logits)
        value = self._per_lane(self.ranking, self.scope, entries, entries.labels_for(soft=self.soft))
        if blended:
            fraction = entries.knobs["surrogate_weight"]
            value = fraction * value + (1 - fraction) * self._blended(entries, own)
        for loss, weight in self.auxiliary:
            value = value + weight * self._per_lane(loss, "batch", entries, entries.labels)
        return value

    def _blended(self, entries: Entries, own: OwnClassLoss | None) -> Tensor:
        """Returns the loss per lane that a ranking loss is blended with."""
        if self.partner is None:
            if own is None or own.value is None:
                raise ConfigError(
                    f"blend_with is '{OWN_LOSS}', but this detector has no class loss of its own: expected a pointwise "
                    "loss of mapopt.losses, such as focal"
                )
            return own.value.reshape(1)
        self._weigh_entries(self.partner, "batch", entries.logits)
        return self._per_lane(self.partner, "batch", entries, entries.labels_for(soft=self.partner.soft_labels))

    def _weigh_entries(self, loss: ListLoss, scope: Scope, logits: Tensor) -> None:
        """Gives a pointwise loss the weight of its class for every entry."""
        if self.class_weights is not None and isinstance(loss, PointwiseLoss):
            loss.weight = as_lists(self.class_weights[:, None, None, :].expand(logits.shape), scope)

    def _per_lane(self, loss: ListLoss, scope: Scope, entries: Entries, labels: Tensor) -> Tensor:
        """Returns a loss's value per lane: the mean over the lane's lists that contain a positive."""
        knobs = entries.knobs
        known = {name: as_lists(entries.facts[name], scope) for name in loss.reads}
        lists = tuple(as_lists(values, scope) for values in (entries.logits, labels, entries.where))
        for knob, attribute in KNOB_ATTRIBUTES.items():
            if knob in knobs and hasattr(loss, attribute):
                setattr(loss, attribute, knobs[knob][:, None, None])
        loss.set_knobs(knobs, dimensions=3)
        if self._memory is not None and loss is self.ranking:
            count = lists[0].shape[-1]
            lists = self._memory(*lists)
            if entries.counted is not None:
                forget_uncounted(self._memory, lists, count, entries.counted)
        if loss is self.ranking and not self.pointwise and "temperature" in knobs:
            # Dividing by 1 changes no bit, and the memory has kept the scores as they were.
            lists = (tempered(loss, lists[0], knobs["temperature"][:, None, None]), *lists[1:])
        if self.soft and loss is self.ranking and not loss.soft_labels:
            lists = tuple(values.flatten(1, 2) for values in split_by_iou(*lists))
        present = ((lists[1] > 0) & lists[2]).any(-1)
        weighs = loss is self.ranking and not isinstance(loss, PointwiseLoss)
        weights = list_weights(present, self.class_weights if weighs else None)
        values = loss.lists(*lists, facts=known)
        if self.components is not None:
            place = next(name for name, own in self._losses if own is loss)
            parts = {name: mean_over_lists(part.detach(), weights) for name, part in values.items()}
            self.components |= named_components(place, parts, pointwise=loss.pointwise)
        value = sum(values.values())
        assert isinstance(value, Tensor)
        return mean_over_lists(value, weights)


def _partner(objective: Objective) -> ListLoss | None:
    """Returns what a ranking loss is blended with; None for a detector's own class loss."""
    if objective.blend_with == OWN_LOSS:
        return None
    partner = make_loss(objective.blend_with, objective.blend_settings)
    if not partner.pointwise:
        raise ConfigError(
            f"blend_with is '{objective.blend_with}', which is no pointwise loss: expected one, such as focal"
        )
    return partner


def _balance(objective: Objective, loss: ListLoss) -> Balance:
    """Returns how the box loss is balanced; what earlier versions did, only the loss itself can say."""
    if objective.balance != "former":
        return objective.balance
    return "values" if loss.error_rate else "none"
