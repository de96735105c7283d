"""A readable rule that sets the length of the steps, whatever the optimizer, the loss, its scale and the batch.

A learning rate means another thing for every optimizer, loss and scale of the losses; the relative length of a step,
its length over that of the weights, means the same for all. So the rule sets that, from a few numbers that were found
by search over many recipes. It can correct it by what every round reports; as shipped it does not, because that lost
AP on recipes that the search had not seen (docs/autopilot.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from mapopt.errors import ConfigError
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Decision
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.controllers.moves import KnobMoves
from mapopt.training.controllers.rate import RateShape
from mapopt.training.controllers.ways import decide_along
from mapopt.training.history import Measure, Round
from mapopt.training.knobs import Knobs, Range, ranges

ADAPTIVE = ("adamw", "nadamw", "prodigy", "schedule_free_adamw")
"""Optimizers whose steps have about the same length for every number, by their names here."""

ORTHOGONAL = ("muon",)
"""Optimizers whose steps have about the same length in every direction of a matrix."""

BATCH = 16
STEPS = 400
"""Batch and number of steps at which the rule's base holds as it is."""

EPOCHS = 25.0
"""Epochs at which the task's augmentation holds as it is."""

MAX_CORRECTION = math.log(8.0)
"""How far the corrections go, as the logarithm of a factor."""

STRONGEST = 0.6
"""Augmentation goes no further, but where the task's own is stronger."""


class Reported(NamedTuple):
    """What the rule reads of a round; None where nobody knows it."""

    loss: float | None = None
    agreement: float | None = None
    """Mean cosine of successive gradients."""


@dataclass(frozen=True, kw_only=True)
class AutopilotRule:
    """Eleven numbers that say how long a step is, relative to the weights.

    The length at the top of the schedule is ``ratio * exp(adaptive or orthogonal) * (batch / 16) ** batch *
    (10 * (1 - momentum)) ** momentum * (steps / 400) ** steps``. After every round its logarithm is corrected by
    ``agreement * (cosine - agreement_at)``, and by ``-loss`` where the loss did not fall.

    Raises:
        ConfigError: a number is not finite or out of its range.
    """

    ratio: float = 0.0074
    """Length of a step over the length of the weights, with plain gradients and momentum."""
    adaptive: float = 0.93
    """Logarithm of a further factor with Adam's relatives."""
    orthogonal: float = 1.43
    """Logarithm of a further factor with Muon."""
    batch: float = 0.4
    """Power of the batch over 16 images."""
    momentum: float = 0.53
    """Power of ten times what the momentum is short of 1."""
    steps: float = -0.3
    """Power of the steps of the whole run over 400."""
    agreement: float = 0.0
    """How much a higher cosine between successive gradients lengthens the steps to come; 0 leaves it out."""
    agreement_at: float = 0.1
    """The cosine at which they stay."""
    loss: float = 0.0
    """How much a round whose loss did not fall shortens the steps to come; 0 leaves it out."""
    final: float = 0.07
    """Fraction of the length that the cosine ends at."""
    augment: float = 0.16
    """Power of the epochs of the whole run over 25 by which the task's augmentation is multiplied."""

    def __post_init__(self) -> None:
        for item in fields(AutopilotRule):
            value = getattr(self, item.name)
            if not math.isfinite(value) or abs(value) > 100:
                raise ConfigError(f"{item.name} is {value}: expected a number from -100 to 100")
        if not self.ratio > 0:
            raise ConfigError(f"ratio is {self.ratio}: expected a number above 0")
        if not 0 <= self.final <= 1:
            raise ConfigError(f"final is {self.final}: expected 0 to 1")

    def top(self, *, optimizer: str = "", batch_size: int = BATCH, momentum: float = 0.9, steps: int = STEPS) -> float:
        """Returns the length of the steps at the top of the schedule, before any correction.

        Args:
            optimizer: by its name here; any other counts as plain.
            batch_size: images a step.
            momentum: the optimizer's, or its first beta.
            steps: of the whole run.
        """
        kind = self.adaptive if optimizer in ADAPTIVE else self.orthogonal if optimizer in ORTHOGONAL else 0.0
        scale = self.batch * math.log(batch_size / BATCH) + self.steps * math.log(max(steps, 1) / STEPS)
        scale += self.momentum * math.log(10 * (1 - momentum))
        return self.ratio * math.exp(kind + scale)

    def correction(self, reported: Sequence[Reported]) -> float:
        """Returns what the rounds so far multiply the length of the steps with."""
        logarithm, before = 0.0, None
        for played in reported:
            if self.agreement and played.agreement is not None:
                logarithm += self.agreement * (played.agreement - self.agreement_at)
            if played.loss is not None:
                if before is not None and not played.loss < before:
                    logarithm -= self.loss
                # A loss that is no number did not fall, and the next one is not held against it.
                before = played.loss if math.isfinite(played.loss) else before
            logarithm = min(max(logarithm, -MAX_CORRECTION), MAX_CORRECTION)
        return math.exp(logarithm)

    def augmentation(self, own: float, epochs: float) -> float:
        """Returns the strength of the augmentation in a run of so many epochs."""
        if not self.augment or epochs <= 0:
            return own
        return min(own * (epochs / EPOCHS) ** self.augment, max(STRONGEST, own))

    def shape(self) -> RateShape:
        """Returns the schedule of the length: a warm-up of a tenth, then cosine."""
        return RateShape(final=self.final)


@dataclass(frozen=True, kw_only=True)
class AutopilotController(AutopilotRule):
    """Sets the knob `step_ratio` by the rule, and augmentation by the epochs of the budget.

    Everything else stays the task's; what the task leaves open moves as in a schedule. The learning rate follows the
    schedule, for optimizers that have more of it than their steps.

    With `keep_rate` a task that has the default learning rate of one of Adam's relatives or of Muon is trained as
    without a controller, which is by the default schedule.
    """

    moves: KnobMoves = field(default_factory=KnobMoves)
    """Knobs that move over the run beside it."""
    keep_rate: bool = False
    """Whether default learning rates of Adam's relatives and of Muon are kept: they were searched, and the units of the
    losses do not move them. On the default recipe that gains .005 AP, on nine others it loses .006."""

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The agreement of the gradients, where the rule reads it."""
        return ("gradient_agreement",) if self.agreement else ()

    def check_knobs(self, known: Mapping[str, Range]) -> None:
        """Raises ConfigError unless the own knobs that move are a task's; as `KnobMoves.check_knobs`."""
        self.moves.check_knobs(known)

    def keeps_rate(self, task: TaskInfo) -> bool:
        """Returns whether a task is trained by its own learning rate, as `keep_rate` says."""
        known = task.optimizer in (*ADAPTIVE, *ORTHOGONAL)
        return self.keep_rate and known and task.knobs.lr == task.default_lr

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the coming round: its steps along the schedule, and as long as the rounds before it say."""
        if self.keeps_rate(task):
            return Schedule(**vars(self.moves)).decide(history, task, budget)
        self.moves.check_knobs(task.ranges)
        played = [Reported(_loss(each), each.interval.gradient_agreement) for each in history]
        steps = budget.images // task.batch_size
        top = self.correction(played) * self.top(
            optimizer=task.optimizer, batch_size=task.batch_size, momentum=task.knobs.momentum, steps=steps
        )
        augment = self.augmentation(task.knobs.augment, budget.images / max(task.train_images, 1))
        bounds, shape, base = ranges()["step_ratio"], self.shape(), task.knobs.get("lr")

        def at(progress: float, before: bool) -> Knobs:
            fraction = shape.fraction_before(progress) if before else shape.fraction(progress)
            knobs = task.knobs.replace(
                lr=ranges()["lr"].clip(base * fraction),
                step_ratio=bounds.clip(max(top * fraction, bounds.begin)),
                augment=augment,
            )
            return self.moves.moved(knobs, progress, before=before)

        moving = self.moves.moves_of(task.knobs)
        bends = [*shape.bends(), *(place for points in moving.values() for place, _ in points)]
        return decide_along(at, bends, len(history), budget)


def _loss(played: Round) -> float:
    return played.interval.class_loss + played.interval.box_loss
