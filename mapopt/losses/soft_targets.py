"""Cross-entropy towards a target that says how well score and box fit: what detectors of today train with.

Labels are the positives' IoUs. The targets made of them are constants, as are the weights that the published code
holds constant: the gradient is that of cross-entropy with given targets, and not the derivative of the value.
"""

from __future__ import annotations

from torch import Tensor

from mapopt.losses.pointwise import PointwiseLoss, cross_entropy, surprise
from mapopt.losses.sums.lists import Lists


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

    def __init__(self, power: float | Tensor = 1.5, *, weight: float | Tensor = 1.0) -> None:
        super().__init__(weight=weight)
        self.power = power

    def entries(self, lists: Lists) -> Tensor:
        """Computes what each entry costs, ``[lists, n]``."""
        power = self.per_list("power", lists, above=0.0)
        targets = lists.labels.detach().clamp(0.0, 1.0) ** power
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
        quality = lists.labels.detach().clamp(0.0, 1.0) ** (1.0 - alpha)
        targets = (confidence * quality).clamp(min=_LOWEST_TARGET) * lists.positive
        fading = (-gamma * surprise(lists.scores)).exp()
        return cross_entropy(lists.scores, targets) * (lists.positive + fading * lists.negative)


_LOWEST_TARGET = 0.01  # of a positive, in both repositories
