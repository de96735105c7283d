"""Parameterized AP loss: one formula whose curves can be bent until training agrees with the metric.

Every curve runs from (0, 0) to (1, 1) through one inner point, and the inner points are attributes: a search, a
controller or an agent may turn them. Bent curves are sums of two ramps, so the exact bins serve here too.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from mapopt.errors import ConfigError
from mapopt.losses.base import ListLoss
from mapopt.losses.sums.gradients import negative_mass, positive_mass
from mapopt.losses.sums.lists import Lists
from mapopt.losses.sums.ranking import Ranking


@dataclass(eq=False, repr=False)
class ParameterizedAPLoss(ListLoss):
    """Parameterized AP loss: mean over positives i of 1 - Q(y_i) + W(y_i) sum_j E(x_ij) (1 - O(y_j)) / sum_j R(x_ij).

    x_ij = clip((s_j - s_i) / (2 delta) + 1/2, 0, 1) over all scores j, y the labels. R (``rank``), E (``error``), Q
    (``quality``), O (``other``) and W (``weight``) are the curves; each is two straight pieces through the inner point
    (``..._x``, ``..._y``), and the straight line where both are 1/2. No gradient passes through R. Components:
    ``rank`` (the fraction) and ``localization`` (the mean of 1 - Q). Labels pass a gradient on.

    Args:
        delta: half the width of the ramp, in logits.
        rank_x: of the inner point of R, in (0, 1); so for the others. Every argument may be a tensor over the leading
            dimensions.
        rank_y: of the inner point of R, in (0, 1); so for the others.
        error_x: inner point of E.
        error_y: inner point of E.
        quality_x: inner point of Q.
        quality_y: inner point of Q.
        other_x: inner point of O.
        other_y: inner point of O.
        weight_x: inner point of W.
        weight_y: inner point of W.

    Reference:
        Tao, Li, Zhu, Huang, Liu, Dai, "Searching Parameterized AP Loss for Object Detection", NeurIPS 2021. Differs:
        one inner point per curve instead of several, so that the parameters are few enough to be knobs; no limit to
        the highest-scored samples.
    """

    delta: float | Tensor = 1.0
    _: KW_ONLY
    rank_x: float | Tensor = 0.5
    rank_y: float | Tensor = 0.5
    error_x: float | Tensor = 0.5
    error_y: float | Tensor = 0.5
    quality_x: float | Tensor = 0.5
    quality_y: float | Tensor = 0.5
    other_x: float | Tensor = 0.5
    other_y: float | Tensor = 0.5
    weight_x: float | Tensor = 0.5
    weight_y: float | Tensor = 0.5

    soft_labels = True

    def __post_init__(self) -> None:
        super().__init__()

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        """Computes ``rank`` and ``localization``, ``[lists]`` each."""
        table = lists.table
        delta = self.per_list("delta", lists, above=0.0)
        labels = table.take(lists.labels).to(table.present.dtype)
        errors = (1.0 - self._curve("other", labels, lists)) * table.present
        with torch.no_grad():
            rank = self._sum("rank", lists, delta, table.present)
        error = self._sum("error", lists, delta, errors)
        ranked = self._curve("weight", labels, lists) * error / rank.clamp_min(torch.finfo(rank.dtype).tiny)
        return {
            "rank": table.mean(ranked),
            "localization": table.mean(1.0 - self._curve("quality", labels, lists)),
        }

    def _sum(self, name: str, lists: Lists, delta: float | Tensor, weights: Tensor) -> Tensor:
        """Sums a curve of x_ij over the negatives and the weighted positives, ``[lists, P]``."""
        x, y = self._point(name, lists)
        # From (0, 0) to (x, y) a ramp of height y, then one of height 1 - y: how high, how wide, and around where.
        ramps = [(y, delta * x, delta * (x - 1.0)), (1.0 - y, delta * (1.0 - x), delta * x)]
        if _straight(x, y):
            ramps = [(1.0, delta, 0.0)]
        total = torch.zeros_like(weights)
        for height, half_width, middle in ramps:
            ranking = Ranking(lists, half_width, shift=middle)
            total = total + height * (negative_mass(ranking) + positive_mass(ranking, weights))
        return total

    def _curve(self, name: str, values: Tensor, lists: Lists) -> Tensor:
        x, y = self._point(name, lists)
        if _straight(x, y):
            return values
        rising = torch.minimum(values, torch.as_tensor(x, dtype=values.dtype, device=values.device)) / x * y
        return rising + (values - x).clamp_min(0.0) / (1.0 - x) * (1.0 - y)

    def _point(self, name: str, lists: Lists) -> tuple[float | Tensor, float | Tensor]:
        x, y = (self.per_list(f"{name}_{axis}", lists, above=0.0) for axis in ("x", "y"))
        if not all(bool((torch.as_tensor(coordinate) < 1.0).all()) for coordinate in (x, y)):
            raise ConfigError(
                f"{type(self).__name__} got {name}_x={getattr(self, name + '_x')} and {name}_y="
                f"{getattr(self, name + '_y')}; expected both between 0 and 1, for a curve from (0, 0) to (1, 1)"
            )
        return x, y


def _straight(x: float | Tensor, y: float | Tensor) -> bool:
    return not isinstance(x, Tensor) and not isinstance(y, Tensor) and x == y
