"""Successive halving: many settings are tried at a small budget, and the best of them again at larger ones.

Reference: K. Jamieson, A. Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS
2016, section 2. We differ in that a rung's runs start anew: each is a whole run of the rung's length, whose schedule
reaches its end there. A long run cut off in its middle, at a high learning rate, would say less about what it becomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mapopt.bounds import check_whole
from mapopt.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Rung:
    """What the settings of one rung are given."""

    settings: int | None = None
    """How many go on to it, the best of the rung before; by default its settings divided by `eta`."""
    budget: float = 1.0
    """Fraction of the whole budget's images."""
    seeds: int | None = None
    """Runs of every setting on every task; by default as many as the search says. They begin at the same seed in every
    rung, so a rung of the same budget goes on with the runs of the rung before it."""
    rounds: int | None = None
    """Into how many rounds the budget is cut; by default into as many as the whole one."""

    def __post_init__(self) -> None:
        if not 0 < self.budget <= 1:
            raise ConfigError(f"budget of a rung is {self.budget}: expected a fraction of the images, above 0 up to 1")
        for name in ("settings", "seeds", "rounds"):
            if getattr(self, name) is not None:
                check_whole(f"{name} of a rung", getattr(self, name), 1)


@dataclass(frozen=True, kw_only=True)
class Halving:
    """The rungs of a search, the first of which every setting is tried in."""

    rungs: tuple[Rung, ...] = ()
    """None is one rung with the whole budget."""
    eta: float = 3.0
    """What the number of settings is divided by from rung to rung."""

    def __post_init__(self) -> None:
        if not self.eta > 1:
            raise ConfigError(f"eta is {self.eta}: expected a number above 1, by which settings get fewer")

    def counts(self, settings: int) -> list[int]:
        """Returns how many settings each rung has.

        Args:
            settings: of the first rung.

        Raises:
            ConfigError: a rung is to have more than the one before it, or the first another number.

        >>> Halving(rungs=(Rung(), Rung(), Rung(settings=4))).counts(96)
        [96, 32, 4]
        """
        counts = [settings]
        for number, rung in enumerate(self.rungs or (Rung(),)):
            if not number:
                if rung.settings not in (None, settings):
                    raise ConfigError(
                        f"the first rung has {rung.settings} settings where the search has {settings}: leave it out"
                    )
                continue
            count = max(1, round(counts[-1] / self.eta)) if rung.settings is None else rung.settings
            if count > counts[-1]:
                raise ConfigError(
                    f"rung {number + 1} has {count} settings after {counts[-1]}: expected no more than before"
                )
            counts.append(count)
        return counts


def best_of(scores: Sequence[float], count: int) -> list[int]:
    """Returns the positions of the highest scores, the best first; of equal ones the earlier.

    >>> best_of([0.1, 0.3, 0.3, 0.2], 3)
    [1, 2, 3]
    """
    return sorted(range(len(scores)), key=lambda position: (-scores[position], position))[:count]
