"""What a method's settings are searched in and how, as a comparison's file says it, and what a search chose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mapopt.agents.search.halving import Halving
from mapopt.agents.search.reading import read_space
from mapopt.agents.search.scoring import SCORERS
from mapopt.agents.search.space import Space
from mapopt.agents.search.strategies import STRATEGIES
from mapopt.bounds import check_whole
from mapopt.errors import ConfigError
from mapopt.fields import LEFT_OUT_WHEN_EMPTY
from mapopt.training.knobs import Range


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """What a method's settings are chosen from, by val AP on seeds that no comparison uses."""

    space: dict[str, Any] = field(default_factory=dict)
    """Name -> a list of choices, or a range {low, high, log, levels, whole}, either with `when`; or {cases: [...]}. The
    names are knobs.NAME, whose range is the knob's own where none is given, recipe.NAME and controller.NAME; what is
    nested has points, as in recipe.loss_settings.delta, and the numbers of a pair are .0 and .1. A name without a point
    sets nothing: it is there for others to be asked for under `when: {NAME: CHOICE}`."""
    grid: dict[str, list[float]] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """Short for a space of knobs by their bare names, of which every combination is tried."""
    strategy: str = "random"
    """grid, random, sobol, tpe, cma_es, or module:attribute for one of your own."""
    strategy_settings: dict[str, int | float | bool | str] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """Parameters of the strategy that differ from its defaults, such as {together: 4}."""
    settings: int = 0
    """How many settings are tried, the known ones among them; a grid has as many as there are."""
    known: list[dict[str, Any]] = field(default_factory=list, metadata=LEFT_OUT_WHEN_EMPTY)
    """Settings that are tried first, such as what was found before; what one leaves out stays the method's own."""
    seeds: int = 4
    """Runs of every setting on every task."""
    halving: Halving = field(default_factory=Halving)
    """Rungs of a successive halving: settings with a small budget or few seeds first, the best of them with more."""
    tasks: Literal["each", "all"] = "each"
    """each: every task has a search and a setting of its own. all: one search over all tasks, and one setting that is
    calibrated across them; the best of each task is said beside it."""
    scorer: str = "relative"
    """What a setting is scored by on several tasks: relative, the mean of AP relative to the task's best, or rank, the
    mean fraction of the others that it beats; or module:attribute."""
    of: str | None = None
    """The method whose knobs and recipe, as far as they were searched, this method takes over with its own controller;
    the cost of their search counts here, too."""

    def __post_init__(self) -> None:
        if self.grid:
            if self.space:
                raise ConfigError("a search has both a grid and a space: give one of them")
            # One search has one spelling, so that what it is known by does not depend on it.
            object.__setattr__(self, "space", {f"knobs.{name}": list(values) for name, values in self.grid.items()})
            object.__setattr__(self, "grid", {})
            object.__setattr__(self, "strategy", "grid")
        STRATEGIES.check_name(self.strategy)
        SCORERS.check_name(self.scorer)
        check_whole("seeds", self.seeds, 1)
        check_whole("settings", self.settings)
        if self.of is not None and self.space:
            raise ConfigError(f"a search has a space, and takes over the settings of '{self.of}': give one of them")

    def read_space(self, ranges: Mapping[str, Range]) -> Space:
        """Returns the space.

        Args:
            ranges: name -> range of every knob of the method.

        Raises:
            ConfigError: something of it makes no sense.
        """
        return read_space(self.space, {f"knobs.{name}": bounds for name, bounds in ranges.items()})


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What a search chose for a method on a task, and what it cost."""

    knobs: dict[str, float] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """Fields of the recipe that were chosen, in place of the method's own."""
    controller: dict[str, Any] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """Likewise of the controller, in sections as it has them."""
    runs: int
    images: int
    """Trained on."""
    seconds: float
    """By the clock."""
    processor_seconds: float | None = field(default=None, metadata=LEFT_OUT_WHEN_EMPTY)
    """Of the processor; unknown where only the clock was read."""
    val_ap: float | None = field(default=None, metadata=LEFT_OUT_WHEN_EMPTY)
    """Of the chosen setting on this task, mean over the seeds of the last rung."""
    interval: tuple[float, float] | None = field(default=None, metadata=LEFT_OUT_WHEN_EMPTY)
    """The ends of its 95 % interval; unknown of a single seed."""
    tasks: tuple[str, ...] = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    """For which the setting was chosen, where that is not this task alone."""
    asked: str = field(default="", metadata=LEFT_OUT_WHEN_EMPTY)
    """Hash of what was searched: method, space, tasks and budget."""
