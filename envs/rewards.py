"""What an agent is paid for: what the detector is worth after a round, less what it was worth before.

Every reward is made of a worth that a round's tune scores have, from 0 on. Paid as gains, a return (discount 1) is the
worth at the end, whatever lay between, and the test split has no say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mapopt.errors import ConfigError, unknown_name
from mapopt.training.history import Measure, Round, Scores
from mapopt.training.task import Budget

REPORTING_KNOBS = ("score_threshold", "detections")
"""Knobs that decide which boxes are reported and leave the others' scores alone."""


@dataclass(frozen=True)
class RewardForm:
    """One thing an agent may be paid for."""

    meaning: str
    worth: Callable[[Scores], float]
    """What tune scores are worth; a fresh detector is worth 0, and so is a diverged one."""
    worth_reported: Callable[[Scores], float] | None = None
    """The same of all boxes that are reported, where that is another thing."""
    only_at_end: bool = False
    """Paid at the end of the budget, instead of as gains."""
    measure: Measure | None = None
    """What has to be measured for it beside AP."""
    features: tuple[str, str] | None = None
    """The features that show the worth, and that of all reported boxes."""


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
        "gain in 1 - optimal localisation recall precision error; the return is 0 to 1",
        lambda scores: 1 - scores.optimal_lrp,
        worth_reported=lambda scores: 1 - scores.lrp,
        measure="operating_point",
        features=("optimal_lrp", "lrp"),
    ),
    "f1": RewardForm(
        "gain in F1 at IoU .5; the return is the final F1, 0 to 1",
        lambda scores: scores.best_f1,
        worth_reported=lambda scores: scores.f1,
        measure="operating_point",
        features=("best_f1", "f1"),
    ),
}
"""What an agent may be paid for."""


@dataclass(frozen=True, kw_only=True)
class RewardParts:
    """What a round paid, and what it cost."""

    worth: float
    cost: float

    @property
    def total(self) -> float:
        """The reward."""
        return self.worth - self.cost


@dataclass(frozen=True, kw_only=True)
class Reward:
    """What an agent is paid after every round.

    AP only looks at the order of boxes, and the best F1 and the optimal LRP choose the best score threshold for
    themselves; so to them a false alarm below the threshold is free, and a knob that drops boxes can do no good. With
    `reported` F1 and LRP are those of all boxes that are reported: then every false alarm costs, and
    ``score_threshold`` and ``detections`` decide between the objects that are found and the alarms that are false.

    Raises:
        ConfigError: the name is unknown, or the cost is negative or not finite.
    """

    name: str = "gain"
    """A name in `REWARDS`."""
    cost_per_image: float = 0.0
    """Subtracted for every image trained on."""
    reported: bool = False
    """Count all reported boxes, where the best score threshold would be chosen otherwise."""

    def __post_init__(self) -> None:
        if self.name not in REWARDS:
            raise ConfigError(unknown_name("reward", self.name, REWARDS))
        if not 0 <= self.cost_per_image < math.inf:
            raise ConfigError(f"cost_per_image is {self.cost_per_image}: expected 0 or a positive number, such as 1e-6")

    @classmethod
    def of(cls, name: str, knobs: Sequence[str], *, cost_per_image: float = 0.0) -> Reward:
        """Returns the reward for an agent that turns these knobs: all boxes count if it decides which are reported."""
        return cls(name=name, cost_per_image=cost_per_image, reported=any(knob in REPORTING_KNOBS for knob in knobs))

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What has to be measured in every round."""
        measure = REWARDS[self.name].measure
        return () if measure is None else (measure,)

    @property
    def features(self) -> tuple[str, ...]:
        """The feature that shows what is paid for, where the usual ones do not."""
        features = REWARDS[self.name].features
        return () if features is None else (features[self.reported],)

    def worth(self, scores: Scores) -> float:
        """Returns what tune scores are worth."""
        form = REWARDS[self.name]
        worth = form.worth_reported if self.reported and form.worth_reported is not None else form.worth
        return worth(scores)

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
        value = 0.0 if diverged else self.worth(now.tune)
        if form.only_at_end:
            return RewardParts(worth=value if len(history) == budget.rounds else 0.0, cost=cost)
        return RewardParts(worth=value - (self.worth(before.tune) if before is not None else 0.0), cost=cost)
