"""Which controller decides a method's knobs, as a file says it: one of ours by its name, or the user's own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from mapopt.errors import ConfigError, unknown_name
from mapopt.fields import LEFT_OUT_AT_DEFAULT
from mapopt.settings import from_mapping
from mapopt.training import CONTROLLERS, Controller, Patience, Plateau, Schedule, make_controller
from mapopt.training.controllers.ending import AugmentUntil, check_ending


@dataclass(frozen=True, kw_only=True)
class ControllerConfig:
    """Which controller decides a method's knobs, with its settings."""

    kind: str = "schedule"
    """constant, schedule, plateau, one_cycle, greedy_lr, hypergradient, autopilot, lookahead, best_of_n, mf_pbt, agent,
    replay (which repeats an agent's mean actions without looking at the run), or module:attribute for your own."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What differs from the controller's defaults; of a schedule and a plateau it can stand in their sections, too."""
    schedule: Schedule = field(default_factory=Schedule)
    plateau: Plateau = field(default_factory=Plateau)
    agent: str = "ppo-shapes"
    """The agent that "agent" runs and "replay" repeats: a name in the zoo, the path of an agent or of a model's zip, or
    module:attribute. Loading a zip executes code."""
    patience: int = 0
    """Rounds without a better val AP after which a run stops; 0 never stops."""
    augment_until: float = field(default=1.0, metadata=LEFT_OUT_AT_DEFAULT)
    """No augmentation of any kind after this fraction of the budget; 1 keeps it on."""
    lr_factor: float = field(default=1.0, metadata=LEFT_OUT_AT_DEFAULT)
    """What the learning rate that the run starts from is multiplied with: one number for several tasks, whose
    optimizers have rates of their own."""

    def __post_init__(self) -> None:
        CONTROLLERS.check_name(self.kind)
        if not 1e-6 <= self.lr_factor <= 1e6:
            raise ConfigError(f"lr_factor is {self.lr_factor}: expected a number from 1e-6 to 1e6")
        if self.patience < 0:
            raise ConfigError(f"patience is {self.patience}: expected a number of rounds, or 0 to never stop")
        check_ending(self.augment_until)
        # One controller has one spelling, so that a run's key does not depend on where its settings stand.
        if self.kind in ("schedule", "plateau"):
            section = getattr(self, self.kind)
            changed = from_mapping(type(section), {**vars(section), **self.settings}, "settings")
            self._set(**{self.kind: changed}, settings={})
        elif self.kind in ("agent", "replay", "constant") and self.settings:
            known = [] if self.kind == "constant" else ["agent"]
            for name in self.settings:
                if name not in known:
                    raise ConfigError(unknown_name(f"setting of controller '{self.kind}'", name, known))
            self._set(agent=str(self.settings["agent"]), settings={})

    @classmethod
    def of(cls, given: Any) -> ControllerConfig:
        """Returns what describes a controller to files and to worker processes.

        Args:
            given: a name, ``module:attribute``, a controller that can be made again (a dataclass of plain values), its
                class, or a description already.

        Raises:
            ConfigError: there is no such controller, or it cannot be made again from what is known of it.
        """
        if isinstance(given, ControllerConfig):
            return given
        if isinstance(given, Patience) and not given.margin:
            return replace(cls.of(given.controller), patience=given.rounds)
        if isinstance(given, AugmentUntil):
            return replace(cls.of(given.controller), augment_until=given.fraction)
        is_model = hasattr(given, "policy") and hasattr(given, "predict") and not hasattr(given, "decide")
        if is_model or type(given).__module__.startswith("mapopt.agents."):
            from mapopt.agents import agent_choice

            agent_choice(given)  # which says what to do with an agent that is in no file
        choice = CONTROLLERS.choice(given)
        return cls(kind=choice.name, settings=choice.settings)

    @property
    def runs_agent(self) -> bool:
        """Whether it is an agent, seeing or blind."""
        return self.kind in ("agent", "replay")

    def make(self, *, fingerprint: str = "") -> Controller:
        """Returns the controller.

        Args:
            fingerprint: what an agent has to be; empty takes any.

        Raises:
            ConfigError: the user's own cannot be imported, does not take its settings, or decides nothing.
            AgentError: there is no such agent, it is damaged, or it is another one by now.
        """
        if self.runs_agent:
            from mapopt.agents import make_agent_controller

            agent = make_agent_controller(self.agent, open_loop=self.kind == "replay", fingerprint=fingerprint)
            return make_controller(agent, patience=self.patience, augment_until=self.augment_until)
        given = getattr(self, self.kind) if self.kind in ("schedule", "plateau") else self.kind
        return make_controller(given, self.settings, patience=self.patience, augment_until=self.augment_until)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)
