"""What a detector minimizes, as plain values: a class loss, a box loss, and what is ranked as one list.

Everything that takes losses takes this one value, so that flags, files, checkpoints and detectors spell them alike. It
is read before torch is: names are checked against tables, and losses are only made when a detector is.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from mapopt.bounds import WEIGHT
from mapopt.detectors.assignments import ASSIGNMENTS, DEFAULT_ASSIGNMENT, check_assignment_settings
from mapopt.errors import ConfigError, unknown_name
from mapopt.fields import LEFT_OUT_AT_DEFAULT, LEFT_OUT_WHEN_EMPTY, formerly
from mapopt.former_names import BALANCES
from mapopt.losses.registry import BOX_LOSSES, LOSSES
from mapopt.losses.table import LOSS_TABLE, check_loss_settings

Scope = Literal["class", "image", "batch"]

Balance = Literal["none", "values", "gradients", "former"]

MEMORY = 10**8
"""Scores a list remembers at the most."""

BALANCE_RATIO = 8.0
"""How long the box loss's gradient at the outputs is by default, where it is balanced, over the class loss's: about
what it is where AP-loss and Rank & Sort train the tiny detector well with a class weight of .25."""

REWARDS = ("ap", "ap50", "f1", "lrp")
"""What rankings of boxes can be rewarded with; see `mapopt.detectors.reward`."""

NO_REWARD = "none"
"""Name of the reward where there is none."""

REWARD_SAMPLES = 1024
"""Most rankings that are drawn at a step."""

OWN_LOSS = "torchvision"
"""Name of the loss that leaves a detector's own losses in place."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The losses of a detector.

    Raises:
        ConfigError: a name or a setting is unknown, or settings of a loss of ours are given for a detector's own.

    Reference: K. Oksuz et al., "Rank & Sort Loss for Object Detection and Instance Segmentation", ICCV 2021, section 4
        (the balance of class and box loss).
    """

    loss: str = "mal"
    """The class loss: a name in `mapopt.losses.LOSSES`, module:attribute for one of your own, or "torchvision" for a
    detector's own losses. In Python a loss itself will do, if it can be made again of its settings."""
    loss_settings: dict[str, int | float | bool | str] = field(default_factory=dict)
    """Parameters of the class loss that differ from its defaults, such as {gradient: exact}."""
    box_loss: str = "giou"
    """giou, smooth_l1 or module:attribute; or "torchvision" for the box loss of one of its detectors."""
    scope: Scope | None = None
    """What a class loss ranks as one list; by default each class for ranking losses, the batch for pointwise ones."""
    balance: Balance = field(default="none", metadata=formerly(BALANCES))
    """How the box loss is scaled to the class loss at every step: none; gradients, so that their gradients at the
    detector's outputs keep a ratio; values, so that their values are equal, which costs most losses accuracy; former,
    which earlier versions did by default: values where the class loss is an error rate, else none."""
    balance_ratio: float = field(default=BALANCE_RATIO, metadata=LEFT_OUT_AT_DEFAULT)
    """Of `balance` gradients: the length of the box loss's gradient over that of the class loss's, before the knobs
    `box_weight` and `class_weight`."""
    blend_with: str = field(default="focal", metadata=LEFT_OUT_AT_DEFAULT)
    """What a ranking loss is blended with while the knob `surrogate_weight` is below 1: a pointwise loss by its name or
    module:attribute, or "torchvision" for the class loss of one of its detectors."""
    blend_settings: dict[str, int | float | bool | str] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """Parameters of that loss that differ from its defaults."""
    soft_labels: bool | None = None
    """Give the class loss how well predicted boxes fit: as IoUs where it reads them, else as a list per IoU threshold;
    by default only losses that read IoUs get them."""
    memory: int = 0
    """Scores of recent steps that a ranking loss ranks with the batch's, per list; 0 is none."""
    auxiliary: dict[str, float] = field(default_factory=dict)
    """Further class losses by name and weight, beside `loss`, such as {correlation: 0.2}."""
    reward: str = field(default=NO_REWARD, metadata=LEFT_OUT_AT_DEFAULT)
    """Reward tuning, where it is not none: rankings of the detector's own boxes are drawn and rewarded with ap, ap50,
    f1 or lrp (1 less the optimal LRP error) on the batch, in place of the class loss; see docs/reward_tuning.md. The
    knob `surrogate_weight` says how much of the class loss it stands for. For detectors tiny, nano,
    resnet18 and resnet50."""
    reward_samples: int = field(default=8, metadata=LEFT_OUT_AT_DEFAULT)
    """Rankings that are drawn at every step."""
    assignment: str = field(default=DEFAULT_ASSIGNMENT, metadata=LEFT_OUT_AT_DEFAULT)
    """Which location answers for which object: iou, by how well priors overlap it; task_aligned, by how well predicted
    boxes and scores fit it (TOOD, every YOLO since v8); or module:attribute for one of your own. torchvision's
    detectors have their own."""
    assignment_settings: dict[str, int | float | bool | str] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """Parameters of the assignment that differ from its defaults, such as {topk: 10, alpha: 0.5}."""

    def __post_init__(self) -> None:
        if not isinstance(self.loss, str):
            choice = LOSSES.choice(self.loss, self.loss_settings)
            object.__setattr__(self, "loss", choice.name)
            object.__setattr__(self, "loss_settings", choice.settings)
        if not isinstance(self.assignment, str):
            choice = ASSIGNMENTS.choice(self.assignment, self.assignment_settings)
            object.__setattr__(self, "assignment", choice.name)
            object.__setattr__(self, "assignment_settings", choice.settings)
        if not isinstance(self.blend_with, str):
            choice = LOSSES.choice(self.blend_with, self.blend_settings)
            object.__setattr__(self, "blend_with", choice.name)
            object.__setattr__(self, "blend_settings", choice.settings)
        object.__setattr__(self, "balance", _balance_of_today(self.balance, self.loss))
        if self.is_detectors_own:
            self._check_nothing_is_given()
        else:
            check_loss_settings(self.loss, self.loss_settings)
            self._check_blend()
        if not isinstance(self.box_loss, str):
            object.__setattr__(self, "box_loss", _name_of_box_loss(self.box_loss))
        if self.box_loss != OWN_LOSS:
            BOX_LOSSES.check_name(self.box_loss)
        for name, weight in self.auxiliary.items():
            check_loss_settings(name)
            if not 0 <= weight <= WEIGHT:
                raise ConfigError(f"auxiliary loss '{name}' has the weight {weight}: expected 0 to {WEIGHT:.0f}")
        self._check_reward()
        check_assignment_settings(self.assignment, self.assignment_settings)
        if self.scope is not None and self.scope not in get_args(Scope):
            raise ConfigError(unknown_name("scope", self.scope, get_args(Scope)))
        self._check_balance()
        if not 0 <= self.memory <= MEMORY:
            raise ConfigError(f"memory is {self.memory}: expected a number of scores up to {MEMORY}, or 0 for none")

    @property
    def is_detectors_own(self) -> bool:
        """Whether a detector's own losses stay."""
        return self.loss == OWN_LOSS

    def _check_reward(self) -> None:
        if self.reward != NO_REWARD and self.reward not in REWARDS:
            raise ConfigError(unknown_name("reward", self.reward, (NO_REWARD, *REWARDS)))
        if not 2 <= self.reward_samples <= REWARD_SAMPLES or int(self.reward_samples) != self.reward_samples:
            raise ConfigError(
                f"reward_samples is {self.reward_samples}: expected 2 to {REWARD_SAMPLES} rankings, because each is "
                "compared with the others"
            )
        if self.reward != NO_REWARD and self.blend_with != "focal":
            raise ConfigError(
                f"blend_with is '{self.blend_with}' with reward '{self.reward}', which is blended with the loss: "
                "name it as the loss, and leave blend_with out"
            )

    def _check_blend(self) -> None:
        if self.blend_with != OWN_LOSS:
            check_loss_settings(self.blend_with, self.blend_settings)
        elif self.blend_settings:
            raise ConfigError(
                f"blend_settings {', '.join(self.blend_settings)} with blend_with '{OWN_LOSS}', which has none: leave "
                "them out"
            )
        if self.blend_with in LOSS_TABLE and not LOSS_TABLE[self.blend_with].pointwise:
            raise ConfigError(
                f"blend_with is '{self.blend_with}', which is no pointwise loss: expected one, such as focal or "
                f"quality_focal, or '{OWN_LOSS}'"
            )
        given = self.blend_with != "focal" or self.blend_settings
        if given and self.loss in LOSS_TABLE and LOSS_TABLE[self.loss].pointwise:
            raise ConfigError(
                f"blend_with is '{self.blend_with}' with loss '{self.loss}', which is pointwise itself and blended "
                "with nothing: leave it out, or give a ranking loss"
            )

    def _check_balance(self) -> None:
        if self.box_loss == OWN_LOSS and self.balance not in ("none", "former"):
            raise ConfigError(
                f"balance is '{self.balance}' with box_loss '{OWN_LOSS}', which stays as it is: leave balance out, or "
                "name a box loss of mapopt.losses"
            )
        if self.balance != "gradients" and self.balance_ratio != BALANCE_RATIO:
            raise ConfigError(
                f"balance_ratio is {self.balance_ratio} with balance '{self.balance}', which has no use for it: set "
                "balance to 'gradients', or leave it out"
            )
        if not 0 < self.balance_ratio <= WEIGHT:
            raise ConfigError(f"balance_ratio is {self.balance_ratio}: expected a number above 0, up to {WEIGHT:.0f}")

    def _check_nothing_is_given(self) -> None:
        given = []
        for field_ in dataclasses.fields(Objective):
            default = {} if field_.default is dataclasses.MISSING else field_.default
            value = getattr(self, field_.name)
            if field_.name != "loss" and value != default:
                given.append(f"{field_.name}={value!r}")
        if given:
            raise ConfigError(
                f"{', '.join(given)} given with loss '{OWN_LOSS}', a detector's own losses: leave that out, or name a "
                "loss of mapopt.losses, such as focal"
            )


def _name_of_box_loss(given: Any) -> str:
    choice = BOX_LOSSES.choice(given)
    if choice.settings:
        raise ConfigError(
            f"box loss '{choice.name}' has settings {choice.settings}, for which a recipe has no place: give a "
            "function or a class that needs none"
        )
    return choice.name


def _balance_of_today(given: Any, loss: str) -> str:
    """Returns a balance by its name; "former" as what it was, as far as that is known without the loss."""
    balance = BALANCES.get(given) if isinstance(given, bool | None) else given
    if balance not in get_args(Balance):
        raise ConfigError(unknown_name("balance", str(given), get_args(Balance)))
    if balance == "former" and loss in LOSS_TABLE:
        return "values" if LOSS_TABLE[loss].is_error_rate else "none"
    return "none" if balance == "former" and loss == OWN_LOSS else str(balance)
