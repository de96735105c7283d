"""What an agent is paid for: the value of the detector after a round, less its value before.

Every reward is made of a value that a round's val scores have, from 0 on. Paid as gains, a return (discount 1) is the
value at the end, whatever lay between; the test split is never read.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from mapopt.envs.checks import is_number
from mapopt.errors import ConfigError
from mapopt.registry import Choice, Registry, check_settings

if TYPE_CHECKING:
    from mapopt.training.budget import Budget
    from mapopt.training.history import Measure, Round, Scores


class RewardForm(Protocol):
    """What an agent may be paid for.

    One of your own is a class with the method `value`, an object of such a class, or just a function of scores. The
    attributes are optional; without them nothing beside AP is measured, no feature is added, and gains are paid.
    """

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What has to be measured in every round beside AP, such as ``("operating_point",)`` for F1 and LRP."""

    @property
    def features(self) -> tuple[str, ...]:
        """Features that show an agent the value, where the default ones do not."""

    @property
    def only_at_end(self) -> bool:
        """Whether the value is paid at the end of the budget, instead of its gains after every round."""

    def value(self, scores: Scores) -> float:
        """Returns the value of a round's val scores; a fresh detector has the value 0, and so has a diverged one."""


@dataclass(frozen=True, kw_only=True)
class ScoreReward:
    """A reward that is a function of a round's scores."""

    meaning: str
    """In words, as the page of the environment has it."""
    value: Callable[[Scores], float]
    """Returns the value of scores."""
    only_at_end: bool = False
    """Whether the value is paid at the end of the budget, instead of its gains after every round."""
    measures: tuple[Measure, ...] = ()
    """What has to be measured in every round beside AP."""
    features: tuple[str, ...] = ()
    """Features that show an agent the value, where the default ones do not."""


def _problem(part: Any) -> str:
    if callable(getattr(part, "value", None)) or inspect.isroutine(part):
        return ""
    return "has no value(scores): expected a class with that method, an object of one, or a function of scores"


# Functions and no lambdas, which could not be pickled with the environment that holds them.
def _log_gap(scores: Scores) -> float:
    return -math.log10(1 - min(scores.ap, 1 - 1e-3))


def _without_optimal_lrp(scores: Scores) -> float:
    return 1 - scores.optimal_lrp


def _without_lrp(scores: Scores) -> float:
    return 1 - scores.lrp


REWARDS: Registry[Any] = Registry(
    "reward",
    {
        "gain": ScoreReward(
            meaning="gain in val AP of the round; the return is the final AP, 0 to 1",
            value=attrgetter("ap"),
        ),
        "final": ScoreReward(
            meaning="val AP at the end of the budget, nothing before; the return is the final AP, 0 to 1",
            value=attrgetter("ap"),
            only_at_end=True,
        ),
        "log_gap": ScoreReward(
            meaning="decrease of log10(1 - val AP), so that late gains count; the return is 0 to 3",
            value=_log_gap,
        ),
        "oLRP": ScoreReward(
            meaning="gain in 1 - optimal LRP error, that at the best score thresholds; the return is 0 to 1",
            value=_without_optimal_lrp,
            measures=("operating_point",),
            features=("optimal_lrp",),
        ),
        "f1": ScoreReward(
            meaning="gain in F1 at IoU .5 of all reported boxes; the return is the final F1, 0 to 1",
            value=attrgetter("f1"),
            measures=("operating_point",),
            features=("f1",),
        ),
        "best_f1": ScoreReward(
            meaning="gain in F1 at IoU .5 at the best score thresholds; the return is the final F1, 0 to 1",
            value=attrgetter("best_f1"),
            measures=("operating_point",),
            features=("best_f1",),
        ),
        "lrp": ScoreReward(
            meaning="gain in 1 - LRP error of all reported boxes; the return is 0 to 1",
            value=_without_lrp,
            measures=("operating_point",),
            features=("lrp",),
        ),
    },
    check=_problem,
)
"""What an agent may be paid for, by name; see `RewardForm` for a reward of your own."""


def make_reward(given: Any = "gain") -> RewardForm:
    """Makes a reward.

    Args:
        given: a name in `REWARDS`; ``module:attribute``, a class or a function of scores; one of these with settings,
            as a `Choice`; or a finished `RewardForm`.

    Raises:
        ConfigError: the reward is unknown, is no reward, or does not take a setting.

    >>> make_reward(lambda scores: scores.ap75).measures
    ()
    """
    name, settings = (given.name, given.settings) if isinstance(given, Choice) else (given, {})
    part = REWARDS.find(name)
    if inspect.isroutine(part):
        function = partial(part, **settings) if settings else part
        if settings:
            check_settings(partial(part, None), settings, f"reward '{name}'")
        return ScoreReward(meaning=(inspect.getdoc(part) or part.__name__).splitlines()[0], value=function)
    made = REWARDS.make(given)
    problem = _problem(made)
    if problem:
        raise ConfigError(f"reward of type {type(made).__name__} {problem}")
    return made if isinstance(made, ScoreReward) else _Complete(made)


class _Complete:
    """A reward with the attributes that its maker left out."""

    def __init__(self, made: Any) -> None:
        self.value: Callable[[Scores], float] = made.value
        self.only_at_end = bool(getattr(made, "only_at_end", False))
        self.measures: tuple[Measure, ...] = tuple(getattr(made, "measures", ()))
        self.features: tuple[str, ...] = tuple(getattr(made, "features", ()))


@dataclass(frozen=True, kw_only=True)
class RewardParts:
    """What a round paid, and what it cost."""

    value: float
    cost: float
    reference: float | None = None
    """What a reference run was paid in the same round; None where rewards are relative to none."""

    @property
    def total(self) -> float:
        """The reward."""
        return self.value - self.cost - (self.reference or 0.0)


class Reward:
    """What an agent is paid after every round.

    ``f1`` and ``lrp`` are those of all boxes that are reported: every false alarm costs, and ``score_threshold`` and
    ``detections`` decide between the objects that are detected and the alarms that are false. All other rewards choose
    for themselves: AP looks at the order of boxes only, ``best_f1`` and ``oLRP`` at the best score thresholds. To them
    a false alarm below the objects is free, and those two knobs are dead: dropping boxes can do no good.

    Args:
        form: what is paid for; see `make_reward`.
        cost_per_image: subtracted for every image trained on.

    Raises:
        ConfigError: the reward is unknown, or the cost is negative or not finite.
    """

    def __init__(self, form: Any = "gain", *, cost_per_image: float = 0.0) -> None:
        check_cost(cost_per_image)
        self.form = make_reward(form)
        self.cost_per_image = cost_per_image

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What has to be measured in every round."""
        return self.form.measures

    @property
    def features(self) -> tuple[str, ...]:
        """The features that show what is paid for, where the default ones do not."""
        return self.form.features

    def value(self, scores: Scores) -> float:
        """Returns the value of val scores.

        Raises:
            ConfigError: a reward of one's own gives no number.
        """
        value = self.form.value(scores)
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if math.isnan(number):
            raise ConfigError(f"the reward's value is {value!r}: expected a number, such as 0 where none is known")
        return number

    def parts(self, history: Sequence[Round], budget: Budget) -> RewardParts:
        """Returns what the last round is paid.

        A diverged run has the value 0: its last reward takes back what was paid before, so that the values of the
        episode add up to 0. And it is charged for its whole budget, so that nobody diverges to save images: its return,
        minus the budget's cost, is the lowest there is.

        Args:
            history: the rounds played, at least one.
            budget: what may be spent.
        """
        now, before = history[-1], history[-2] if len(history) > 1 else None
        diverged = now.interval.diverged
        spent = before.images if before is not None else 0
        cost = self.cost_per_image * ((budget.images if diverged else now.images) - spent)
        value = 0.0 if diverged else self.value(now.val)
        if self.form.only_at_end:
            return RewardParts(value=value if len(history) == budget.rounds else 0.0, cost=cost)
        return RewardParts(value=value - (self.value(before.val) if before is not None else 0.0), cost=cost)


def check_cost(cost_per_image: float) -> None:
    """Raises ConfigError unless the cost of an image is a finite number from 0 on."""
    if not is_number(cost_per_image) or cost_per_image < 0:
        raise ConfigError(f"cost_per_image is {cost_per_image!r}: expected 0 or a positive number, such as 1e-6")
