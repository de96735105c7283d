"""The settings of the environment of detector training: one value that every form of it, and agents, are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypedDict

from mapopt.bounds import check_whole
from mapopt.devices import check_device
from mapopt.envs.checks import is_number
from mapopt.envs.choices import check_settings_type, read_choice
from mapopt.envs.detector_training.actions import ACTIONS, Action, make_action
from mapopt.envs.detector_training.features import FEATURES
from mapopt.envs.detector_training.following import BASELINE, NONE, Following
from mapopt.envs.detector_training.observations import check_features
from mapopt.envs.detector_training.rewards import REWARDS, Reward, check_cost
from mapopt.envs.families.registry import FAMILIES, make_family
from mapopt.errors import ConfigError, unknown_name
from mapopt.fields import LEFT_OUT_AT_DEFAULT
from mapopt.settings import from_mapping
from mapopt.training.budget import Budget
from mapopt.training.controllers.registry import CONTROLLERS, make_controller

if TYPE_CHECKING:
    from mapopt.envs.families.base import InstanceFamily

DEFAULT_BUDGET = Budget(images=16 * 800, rounds=20)
"""Images and rounds of an episode unless others are given."""


SCHEDULE = "schedule"
"""The baseline unless another is given: a warm-up and cosine."""

NUM_SEEDS = 2**31
"""Seeds that a training may have: those below."""


class EnvKeywords(TypedDict, total=False):
    """The keywords of an environment, which are the fields of `EnvSettings`; a family is its first argument."""

    budget: Budget | Mapping[str, int]
    knobs: Sequence[str] | None
    action: Any
    scale: float | None
    step_size: float | None
    baseline: Any
    reward: Any
    cost_per_image: float
    reference: Any
    num_seeds: int | None
    held_out: int
    features: Sequence[Any] | None
    seconds_limit: float | None
    device: str


@dataclass(frozen=True, kw_only=True)
class EnvSettings:
    """What an environment of detector training is made from; the page of `DetectorTrainingEnv` says what it does.

    A family, an action, a reward or a feature is a name, ``module:attribute``, a class or an object of your own, or a
    `Choice`, which is a name with settings.

    Raises:
        ConfigError: a name is unknown, an object is not what its field is for, or a number is out of its range.

    >>> EnvSettings.of(family={"name": "rescue", "count": 9}, budget={"images": 640, "rounds": 4}).budget.interval
    160
    """

    family: Any = "shapes"
    """Where instances come from: a name in `FAMILIES`, or a family."""
    budget: Budget = DEFAULT_BUDGET
    """Images and rounds of an episode, unless its instance brings its own."""
    knobs: tuple[str, ...] | None = None
    """The knobs that an action sets; None leaves it to the action, and those of ours set `DEFAULT_KNOBS`."""
    action: Any = "relative"
    """The form of action: a name in `ACTIONS`, or an action, which then brings knobs, scale and step size."""
    scale: float | None = None
    """What an offset of 1 means: this factor on a logarithmic knob; None leaves it to the action, and ours take 4."""
    step_size: float | None = None
    """How far a discrete action moves an offset; None leaves it to the action, and ours take a quarter."""
    baseline: Any = field(default=SCHEDULE, metadata=LEFT_OUT_AT_DEFAULT)
    """What actions are relative to, and what decides all other knobs, where an instance brings none of its own: a name
    in `CONTROLLERS`, or a controller. An action object brings its own."""
    reward: Any = "gain"
    """What is paid for: a name in `REWARDS`, or a reward."""
    cost_per_image: float = 0.0
    """What is paid for every image trained on."""
    reference: Any = NONE
    """What rewards are relative to: "none"; "baseline", which is what is done without an agent; or a controller, whose
    run of the same instance and training seed is taken off, round by round."""
    num_seeds: int | None = None
    """Training seeds are drawn below it; None draws any. With a reference, one more run is played for every pair of
    instance and seed that is met."""
    held_out: int = 0
    """So many of the family's instances, the last ones, are never drawn; a reset may name them."""
    features: tuple[Any, ...] | None = None
    """What is observed: names in `FEATURES`, ``knob_NAME`` or ``knobs``, or features. None is all that costs nothing,
    and what shows what the reward pays for."""
    seconds_limit: float | None = None
    """Seconds of training and evaluation after which an episode is truncated."""
    device: str = "cpu"
    """Where to train."""

    def __post_init__(self) -> None:
        for name, registry in (("family", FAMILIES), ("action", ACTIONS), ("reward", REWARDS)):
            self._set(name, read_choice(getattr(self, name), registry))
        self._set("baseline", read_choice(self.baseline, CONTROLLERS))
        if self.reference not in (NONE, BASELINE):
            self._set("reference", read_choice(self.reference, CONTROLLERS))
        if self.num_seeds is not None:
            check_whole("num_seeds", self.num_seeds, 1, NUM_SEEDS)
        check_whole("held_out", self.held_out, 0)
        if isinstance(self.budget, Mapping):
            self._set("budget", from_mapping(Budget, self.budget, "budget"))
        if not isinstance(self.budget, Budget):
            raise ConfigError(f"budget is {self.budget!r}: expected a Budget, such as Budget(images=12800, rounds=20)")
        for name in ("knobs", "features"):
            given = getattr(self, name)
            if isinstance(given, str) or not (given is None or isinstance(given, Sequence)):
                raise ConfigError(f"{name} is {given!r}: expected a list of names, such as ({given!r},)")
            self._set(name, None if given is None else tuple(given))
        if self.features is not None:
            read = [read_choice(entry, FEATURES) if isinstance(entry, Mapping) else entry for entry in self.features]
            self._set("features", tuple(read))
        check_features(self.features)
        for name in self.knobs or ():
            if not isinstance(name, str):
                raise ConfigError(f"knobs hold {name!r}: expected names, such as 'lr'")
        if not isinstance(self.device, str):
            raise ConfigError(f"device is {self.device!r}: expected 'cpu', 'cuda' or 'auto'")
        check_device(self.device)
        check_cost(self.cost_per_image)
        if self.seconds_limit is not None and not (is_number(self.seconds_limit) and self.seconds_limit > 0):
            raise ConfigError(
                f"seconds_limit is {self.seconds_limit!r}: expected a positive number of seconds, or None"
            )

    @classmethod
    def of(cls, settings: EnvSettings | None = None, *, family: Any = None, **changes: Any) -> EnvSettings:
        """Returns settings with changes, which may be plain values as a YAML file holds them.

        Args:
            settings: what to change; by default the defaults.
            family: where instances come from; None leaves it as it is.
            changes: other fields by name. A budget may be a mapping of its images and rounds; a family, an action, a
                reward or a feature a mapping of its ``name`` and its settings.

        Raises:
            ConfigError: a name is unknown, or a value is not what its field takes.
        """
        check_settings_type(settings, cls)
        known = [field.name for field in fields(cls)]
        for name in changes:
            if name not in known:
                raise ConfigError(unknown_name("setting of the environment", name, known))
        if family is not None:
            changes["family"] = family
        return replace(settings or cls(), **changes)

    def make_family(self) -> InstanceFamily:
        """Makes the family.

        Raises:
            ConfigError: it cannot be imported, or a setting of it is wrong.
            DataError: its data cannot be used.
        """
        family: InstanceFamily = make_family(self.family)
        return family

    def make_action(self) -> Action:
        """Makes the form of action.

        Raises:
            ConfigError: it cannot be imported, does not take one of the settings, or a knob is unknown.
        """
        baseline = None if self.baseline == SCHEDULE else make_controller(self.baseline)
        given = {"knobs": self.knobs, "scale": self.scale, "step_size": self.step_size}
        return make_action(self.action, baseline=baseline, **given)  # type: ignore[arg-type]

    def make_reward(self) -> Reward:
        """Makes what is paid.

        Raises:
            ConfigError: it cannot be imported, or a setting of it is wrong.
        """
        return Reward(self.reward, cost_per_image=self.cost_per_image)

    def make_reference(self) -> Following | None:
        """Makes what rewards are relative to, as a form of action; None where they are relative to nothing.

        Raises:
            ConfigError: the controller cannot be imported, or a setting of it is wrong.
        """
        if self.reference == NONE:
            return None
        controller = None if self.reference == BASELINE else make_controller(self.reference)
        return Following(baseline=self.make_action().baseline, controller=controller)

    def of_references(self, following: Following) -> EnvSettings:
        """Returns what the environment of reference runs is made from."""
        own: dict[str, Any] = {"knobs": None, "scale": None, "step_size": None, "baseline": SCHEDULE}
        given: dict[str, Any] = {**own, "features": ("progress",)}
        return replace(self, action=following, reference=NONE, held_out=0, seconds_limit=None, **given)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
