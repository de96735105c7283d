"""Controllers that turn the learning rate by what every round reports: its loss, or how well its gradients agree.

Both are published for every step; here a round is the step, which is what every controller of a comparison sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mapopt.bounds import check_whole
from mapopt.errors import ConfigError
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Decision, check_range, with_rate
from mapopt.training.controllers.ways import hold
from mapopt.training.history import Measure, Round


@dataclass(frozen=True, kw_only=True)
class GreedyLR:
    """Divides the learning rate by a factor below 1 where the loss improves, and multiplies it with it where not.

    The loss is that of the round's training, class and box loss as weighted. As published there is room for patience,
    a mean over some rounds, and waiting after a change; the reset at the smallest rate is left out. What the task
    leaves open moves as in a schedule.

    Raises:
        ConfigError: a setting is out of its range.

    Reference: S. Subramanian, B. Krishnamoorthy, P. Murthy, "Dynamic Learning Rate Scheduling based on Loss Changes
    Leads to Faster Convergence", arXiv:2512.14527; the details are those of the authors' `GreedyLR` in transformers 5.
    """

    factor: float = 0.8
    """What the learning rate is divided by or multiplied with."""
    rounds: int = 0
    """The learning rate changes after more than so many rounds on end that were better, or were not: their patience."""
    threshold: float = 1e-4
    """By what fraction of the best loss a loss has to be below it to be better."""
    window: int = 1
    """Rounds whose mean loss is compared; 1 compares every round's own."""
    cooldown: int = 0
    """Rounds that are not looked at after the learning rate fell."""
    warmup: int = 0
    """Rounds that are not looked at after it rose."""
    smallest: float = 0.01
    """Smallest fraction of the task's learning rate."""
    largest: float = 10.0
    """Largest fraction of it."""

    def __post_init__(self) -> None:
        if not 0 < self.factor < 1:
            raise ConfigError(f"factor is {self.factor}: expected a number above 0 and below 1")
        check_range("threshold", self.threshold, 0, 1)
        check_range("smallest", self.smallest, 0, 1)
        if not self.largest >= 1:
            raise ConfigError(f"largest is {self.largest}: expected 1 or more times the task's learning rate")
        for name in ("rounds", "cooldown", "warmup"):
            check_whole(name, getattr(self, name), 0)
        check_whole("window", self.window, 1)

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the learning rate that follows from the losses so far."""
        return hold(with_rate(task.knobs, self.fraction(history)), task, len(history), budget)

    def fraction(self, history: Sequence[Round]) -> float:
        """Returns the fraction of the task's learning rate after some rounds."""
        losses = [played.interval.class_loss + played.interval.box_loss for played in history]
        fraction, best, good, bad, waiting = 1.0, float("inf"), 0, 0, 0
        for index in range(len(losses)):
            recent = losses[max(0, index + 1 - self.window) : index + 1]
            loss = sum(recent) / len(recent)
            if waiting:
                waiting, good, bad = waiting - 1, 0, 0
                continue
            if loss < best * (1 - self.threshold):
                best, good, bad = loss, good + 1, 0
            else:
                good, bad = 0, bad + 1
            if good > self.rounds:
                fraction, waiting, good = min(fraction / self.factor, self.largest), self.warmup, 0
            elif bad > self.rounds:
                fraction, waiting, bad = max(fraction * self.factor, self.smallest), self.cooldown, 0
        return fraction


@dataclass(frozen=True, kw_only=True)
class Hypergradient:
    """Raises the learning rate while successive gradients agree, and lowers it where they point apart.

    The derivative of the loss with respect to the learning rate of the step before is, for SGD, minus the product of
    the two gradients; with gradients of length 1 and a rate that is multiplied, every step has ``lr * (1 + beta *
    cosine)``. Here the mean cosine of a round's steps stands for each of them, so a round of n steps multiplies the
    rate with ``(1 + beta * agreement) ** n``. It is of gradients alone: what momentum or another optimizer makes of
    them is not in it. What the task leaves open moves as in a schedule.

    Raises:
        ConfigError: a setting is out of its range.

    Reference: A. G. Baydin et al., "Online Learning Rate Adaptation with Hypergradient Descent", ICLR 2018, whose later
    text, arXiv:1703.04782, has the multiplicative rule beside the additive one.
    """

    beta: float = 0.02
    """What a step adds to the logarithm of the learning rate, about, where its gradient is that of the step before."""
    smallest: float = 0.01
    """Smallest fraction of the task's learning rate."""
    largest: float = 10.0
    """Largest fraction of it."""

    def __post_init__(self) -> None:
        if not 0 <= self.beta < 1:
            raise ConfigError(f"beta is {self.beta}: expected a number from 0 to below 1")
        check_range("smallest", self.smallest, 0, 1)
        if not self.largest >= 1:
            raise ConfigError(f"largest is {self.largest}: expected 1 or more times the task's learning rate")

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Every round's agreement of its gradients."""
        return ("gradient_agreement",)

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the learning rate that follows from the gradients so far."""
        return hold(with_rate(task.knobs, self.fraction(history)), task, len(history), budget)

    def fraction(self, history: Sequence[Round]) -> float:
        """Returns the fraction of the task's learning rate after some rounds."""
        fraction = 1.0
        for interval in (played.interval for played in history):
            # A round of one step has no two gradients.
            factor = (1 + self.beta * (interval.gradient_agreement or 0.0)) ** interval.steps
            fraction = min(max(fraction * factor, self.smallest), self.largest)
        return fraction
