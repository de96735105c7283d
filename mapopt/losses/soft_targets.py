"""Cross-entropy towards a target that says how well score and box fit: what detectors of today train with.

Labels are the positives' IoUs. The targets made of them are constants, as are the weights that the published code
holds constant: the gradient is that of cross-entropy with given targets, and not the derivative of the value.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mapopt.losses.pointwise import PointwiseLoss, cross_entropy, surprise
from mapopt.losses.sums.evenly import evenly, raised
from mapopt.losses.sums.lists import Lists, accumulation_type


class MatchabilityAwareLoss(PointwiseLoss):
    """Matchability-aware loss (MAL): cross-entropy towards y^power for positives, p^power (-log(1 - p)) for negatives.

    p = sigmoid(s); per positive. Every positive has weight 1, so that one whose box fits badly still learns to be
    uncertain, where varifocal loss hardly looks at it. Component: ``rank``.

    Args:
        power: of the labels in the targets, and of the negatives' probabilities in their weights; a number or a tensor.
        weight: factor of every entry; a number, or a tensor that broadcasts to the scores.

    Reference:
        Huang, Lu, Cun, Yu, Zhou, Shen, "DEIM: DETR with Improved Matching for Fast Convergence", CVPR 2025, section
        3.3; power is its gamma, of 1.5. As in the authors' code, of which three things are not in the paper: the second
        term of a positive has the sign of a cross-entropy, the negatives' weight is a constant, and without a factor
        for it (``mal_alpha``) it has none. Differs: per positive of the list, not per object.
    """

    soft_labels = True
    default_class_weight = 0.5

    def __init__(self, power: float | Tensor = 1.5, *, weight: float | Tensor = 1.0) -> None:
        super().__init__(weight=weight)
        self.power = power

    def entries(self, lists: Lists) -> Tensor:
        """Computes what each entry costs, ``[lists, n]``."""
        power = self.per_list("power", lists, above=0.0)
        targets = raised(lists.labels.detach().clamp(0.0, 1.0), power)
        fading = (-power * surprise(lists.scores.detach())).exp()  # p^power, from its logarithm
        return cross_entropy(lists.scores, targets) * (lists.positive + fading * lists.negative)


class IoUAwareBCELoss(PointwiseLoss):
    """IoU-aware BCE (IA-BCE): cross-entropy towards p^alpha y^(1 - alpha), p^gamma (-log(1 - p)) for negatives.

    p = sigmoid(s); per positive. A positive's target is high where its box fits and the network says so, and at least
    0.01; it is a constant. Component: ``rank``.

    Args:
        alpha: how much of the target is the score; the rest is the IoU. A number or a tensor.
        gamma: how fast easy negatives fade out; a number or a tensor.
        weight: factor of every entry; a number, or a tensor that broadcasts to the scores.

    Reference:
        Cai, Liu, Wang, Ge, Li, Zhang, Huang, "Align-DETR: Improving DETR with Simple IoU-aware BCE Loss", arXiv
        2304.07527, 2023; as in the code of RF-DETR (Robinson, Robicheaux, Popov, Ramanan, Peri, "RF-DETR: Neural
        Architecture Search for Real-Time Detection Transformers", arXiv 2511.09554, 2025), which leaves out the
        weights of an object's second and further predictions. Differs: per positive of the list, not per object.
    """

    soft_labels = True

    def __init__(
        self, alpha: float | Tensor = 0.25, gamma: float | Tensor = 2.0, *, weight: float | Tensor = 1.0
    ) -> None:
        super().__init__(weight=weight)
        self.alpha = alpha
        self.gamma = gamma

    def entries(self, lists: Lists) -> Tensor:
        """Computes what each entry costs, ``[lists, n]``."""
        alpha, gamma = self.per_list("alpha", lists), self.per_list("gamma", lists)
        confidence = (-alpha * surprise(lists.scores.detach())).exp()  # p^alpha, from its logarithm
        quality = raised(lists.labels.detach().clamp(0.0, 1.0), 1.0 - alpha)
        targets = (confidence * quality).clamp(min=_LOWEST_TARGET) * lists.positive
        fading = (-gamma * surprise(lists.scores)).exp()
        return cross_entropy(lists.scores, targets) * (lists.positive + fading * lists.negative)


class TaskAlignedBCELoss(PointwiseLoss):
    """Cross-entropy towards the task-aligned target: of an object's predictions, the one that is best in both ways.

    t = p^alpha y^beta of every positive, p = sigmoid(s); its target is t over the largest t of its object, times the
    largest IoU of its object. The sum over a list is divided by the sum of its targets, at least 1. Component:
    ``rank``.

    Which object a positive answers for is the fact ``"objects"``: a number of its own for every object of a list. Where
    it is not given, every positive has an object to itself, and its target is its IoU.

    Args:
        alpha: how much the score counts in an object's best prediction; a number or a tensor.
        beta: how much the IoU counts; a number or a tensor.
        focus: power of the distance between score and target, by which entries fade out that are right already. 0 is
            plain cross-entropy, as every YOLO since v8 has it; TOOD has 2. A number or a tensor.
        weight: factor of every entry; a number, or a tensor that broadcasts to the scores.

    Reference:
        Feng, Zhong, Gao, Scott, Huang, "TOOD: Task-aligned One-stage Object Detection", ICCV 2021, sections 3.2 and
        3.3. Differs: t is compared in logarithms and nothing is added to it, where published code adds 1e-7 or 1e-9 to
        an object's largest t, so that targets vanish with it; TOOD focuses by 2, and divides by less than 1 too.

    Example:
        >>> scores, ious = torch.tensor([0.0, 0.0, 0.0]), torch.tensor([0.8, 0.4, 0.4])
        >>> TaskAlignedBCELoss().targets(Lists(scores, ious, facts={"objects": torch.tensor([0, 0, 1])}))
        tensor([[0.8000, 0.0125, 0.4000]])
    """

    soft_labels = True
    reads = ("objects",)

    def __init__(
        self,
        alpha: float | Tensor = 1.0,
        beta: float | Tensor = 6.0,
        *,
        focus: float | Tensor = 0.0,
        weight: float | Tensor = 1.0,
    ) -> None:
        super().__init__(weight=weight)
        self.alpha = alpha
        self.beta = beta
        self.focus = focus

    def entries(self, lists: Lists) -> Tensor:
        """Computes what each entry costs, ``[lists, n]``."""
        targets, focus = self.targets(lists), self.per_list("focus", lists)
        cost = cross_entropy(lists.scores, targets)
        if not isinstance(focus, Tensor) and focus == 0.0:
            return cost
        distance = (targets - evenly(torch.sigmoid, lists.scores)).abs().clamp(min=_SMALLEST_DISTANCE)
        return (focus * distance.log()).exp() * cost

    def normalizer(self, lists: Lists) -> Tensor:
        """Returns the sum of the targets of each list, at least 1, ``[lists]``."""
        return self.targets(lists).sum(-1, dtype=accumulation_type(lists.scores.device)).clamp(min=1.0)

    @torch.no_grad()
    def targets(self, lists: Lists) -> Tensor:
        """Computes the targets, ``[lists, n]``: constants, 0 but at positives."""
        rows, columns = lists.positive.nonzero(as_tuple=True)
        scores, labels = (
            values[rows, columns].to(accumulation_type(rows.device)) for values in (lists.scores, lists.labels)
        )
        quality = labels.clamp(0.0, 1.0)
        if "objects" in lists.facts and len(rows):
            alpha, beta = (
                value[rows, 0] if isinstance(value, Tensor) else value
                for value in (self.per_list(name, lists) for name in ("alpha", "beta"))
            )
            aligned = beta * quality.log() - alpha * surprise(scores)
            pairs = torch.stack([rows, lists.facts["objects"][rows, columns].to(rows.dtype)])
            _, group = pairs.unique(dim=1, return_inverse=True)
            quality = (aligned - _largest(aligned, group)).exp() * _largest(quality, group)
        targets = torch.zeros_like(lists.scores)
        targets[rows, columns] = quality.to(targets.dtype)
        return targets


def _largest(values: Tensor, group: Tensor) -> Tensor:
    """Returns for each of the values ``[m]`` the largest one of its group."""
    largest = values.new_full((int(group.max()) + 1,), -torch.inf)
    return largest.scatter_reduce_(0, group, values, "amax")[group]


_SMALLEST_DISTANCE = 1e-12  # between a score and its target: below it there is nothing to focus on
_LOWEST_TARGET = 0.01  # of a positive of IA-BCE, in both repositories
