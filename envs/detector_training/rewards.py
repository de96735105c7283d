"""What an agent is paid for: what the detector is worth after a round, less what it was worth before.

Every reward is made of a worth that a round's tune scores have, from 0 on. Paid as gains, a return (discount 1) is the
worth at the end, whatever lay between, and the test split has no say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mapopt.errors import ConfigError, unknown_name
from mapopt.training.budget import Budget
from mapopt.training.history import Measure, Round, Scores


@dataclass(frozen=True)
class RewardForm:
    """One thing an agent may be paid for."""

    meaning: str
    value: Callable[[Scores], float]
    """What tune scores are worth; a fresh detector is worth 0, and so is a diverged one."""
    only_at_end: bool = False
    """Paid at the end of the budget, instead of as gains."""
    measure: Measure | None = None
    """What has to be measured for it beside AP."""
    feature: str | None = None
    """The feature that shows the worth, where the usual ones do not."""


REWARDS: dict[str, RewardForm] = {
    "gain": RewardForm(
        "gain in tune AP of the round; the return is the final AP, 0 to 1",
        lambda scores: scores.ap,
    ),
    "final": RewardForm(
        "tune AP at the end of the budget, nothing before; the return is the final AP, 0 to 1",
        lambda scores: scores.ap,
        only_at_end=True,
    ),
    "log_gap": RewardForm(
        "decrease of log10(1 - tune AP), so that late gains count; the return is 0 to 3",
        lambda scores: -math.log10(1 - min(scores.ap, 1 - 1e-3)),
    ),
    "oLRP": RewardForm(
        "gain in 1 - optimal LRP error, that at the best score thresholds; the return is 0 to 1",
        lambda scores: 1 - scores.optimal_lrp,
        measure="operating_point",
        feature="optimal_lrp",
    ),
    "f1": RewardForm(
        "gain in F1 at IoU .5 of all reported boxes; the return is the final F1, 0 to 1",
        lambda scores: scores.f1,
        measure="operating_point",
        feature="f1",
    ),
    "best_f1": RewardForm(
        "gain in F1 at IoU .5 at the best score thresholds; the return is the final one, 0 to 1",
        lambda scores: scores.best_f1,
        measure="operating_point",
        feature="best_f1",
    ),
    "lrp": RewardForm(
        "gain in 1 - LRP error of all reported boxes; the return is 0 to 1",
        lambda scores: 1 - scores.lrp,
        measure="operating_point",
        feature="lrp",
    ),
}
"""What an agent may be paid for."""


@dataclass(frozen=True, kw_only=True)
class RewardParts:
    """What a round paid, and what it cost."""

    value: float
    cost: float

    @property
    def total(self) -> float:
        """The reward."""
        return self.value - self.cost


@dataclass(frozen=True, kw_only=True)
class Reward:
    """What an agent is paid after every round.

    ``f1`` and ``lrp`` are those of all boxes that are reported: every false alarm costs, and ``score_threshold`` and
    ``detections`` decide between the objects that are found and the alarms that are false. All other rewards choose for
    themselves: AP looks at the order of boxes only, ``best_f1`` and ``oLRP`` at the best score thresholds. To them a
    false alarm below the objects is free, and those two knobs are dead: dropping boxes can do no good.

    Raises:
        ConfigError: the name is unknown, or the cost is negative or not finite.
    """

    name: str = "gain"
    """A name in `REWARDS`."""
    cost_per_image: float = 0.0
    """Subtracted for every image trained on."""

    def __post_init__(self) -> None:
        if self.name not in REWARDS:
            raise ConfigError(unknown_name("reward", self.name, REWARDS))
        if not 0 <= self.cost_per_image < math.inf:
            raise ConfigError(f"cost_per_image is {self.cost_per_image}: expected 0 or a positive number, such as 1e-6")

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What has to be measured in every round."""
        measure = REWARDS[self.name].measure
        return () if measure is None else (measure,)

    @property
    def features(self) -> tuple[str, ...]:
        """The feature that shows what is paid for, where the usual ones do not."""
        feature = REWARDS[self.name].feature
        return () if feature is None else (feature,)

    def value(self, scores: Scores) -> float:
        """Returns what tune scores are worth."""
        return REWARDS[self.name].value(scores)

    def parts(self, history: Sequence[Round], budget: Budget) -> RewardParts:
        """Returns what the last round is paid.

        A diverged run is worth nothing: its last reward takes back what was paid before, so that the worths of the
        episode add up to 0. And it is charged for its whole budget, so that nobody diverges to save images: its return,
        minus the budget's cost, is the worst there is.

        Args:
            history: the rounds played, at least one.
            budget: what may be spent.
        """
        now, before = history[-1], history[-2] if len(history) > 1 else None
        diverged, form = now.interval.diverged, REWARDS[self.name]
        spent = before.images if before is not None else 0
        cost = self.cost_per_image * ((budget.images if diverged else now.images) - spent)
        value = 0.0 if diverged else self.value(now.val)
        if form.only_at_end:
            return RewardParts(value=value if len(history) == budget.rounds else 0.0, cost=cost)
        return RewardParts(value=value - (self.value(before.val) if before is not None else 0.0), cost=cost)
