"""What strategies that learn from scores have in common: the settings they asked for, and what these came to.

A setting that is asked for follows from the space, the seed, its number and the scores alone, and models are made anew
from them: nothing of a search has to be kept but its runs, and scores may change when more settings are known.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mapopt.agents.search.space import Setting, Space
from mapopt.agents.search.strategies import MISSES, Random, Scored
from mapopt.bounds import LANES, check_seed, check_whole
from mapopt.errors import ConfigError


class Adaptive:
    """Draws the first settings as `Random` does, and proposes the others by the scores of those that were tried.

    Args:
        space: to propose from.
        seed: of all draws; the first settings are those of `Random` with the same seed.
        startup: settings that are drawn before anything is proposed.
        batch: settings that are then tried together, each proposed in the knowledge of those before it, but not of
            their scores.
    """

    total: int | None = None

    def __init__(self, space: Space, *, seed: int, startup: int, batch: int) -> None:
        check_seed(seed)
        check_whole("batch", batch, 1, LANES)
        check_whole("startup", startup)
        self.space, self.seed, self.startup = space, seed, startup
        self.batch = startup or batch
        self._later = batch
        self._random = Random(space, seed=seed)
        self.asked: list[Setting] = []
        self.tried: tuple[Scored, ...] = ()
        self._known: set[str] = set()

    def ask(self, count: int) -> list[Setting]:
        """Returns the next settings, which are those of as many calls for a single one.

        Raises:
            ConfigError: the space has no more settings, as far as many draws tell.
        """
        first = len(self.asked)
        for number in range(first, first + count):
            setting = self.propose(number) if number >= self.startup else self.drawn()
            self._known.add(key_of(setting))
            self.asked.append(setting)
        left = self.startup - len(self.asked)
        self.batch = left if left > 0 else self._later
        return self.asked[first:]

    def tell(self, tried: Sequence[Scored]) -> None:
        """Takes the scores of everything that was tried, known settings included."""
        self.tried = tuple(tried)
        self._known |= {key_of(each.setting) for each in tried}

    def propose(self, number: int) -> Setting:
        """Returns the setting of a number, counted from 0, one that `is_new`."""
        raise NotImplementedError

    def pending(self) -> list[Setting]:
        """Returns what was asked for and has no score yet."""
        scored = {key_of(each.setting) for each in self.tried}
        return [setting for setting in self.asked if key_of(setting) not in scored]

    def scores(self) -> dict[int, float]:
        """Returns the score of every setting that was asked for and has one, by its number."""
        scored = {key_of(each.setting): each.score for each in self.tried}
        keys = {number: key_of(setting) for number, setting in enumerate(self.asked)}
        return {number: scored[key] for number, key in keys.items() if key in scored}

    def is_new(self, setting: Setting) -> bool:
        """Returns whether a setting was neither asked for nor tried."""
        return key_of(setting) not in self._known

    def drawn(self) -> Setting:
        """Returns a setting at random.

        Raises:
            ConfigError: the space has no more settings, as far as many draws tell.
        """
        for _ in range(MISSES):
            (setting,) = self._random.ask(1)
            if self.is_new(setting):
                return setting
        raise self.exhausted()

    def exhausted(self) -> ConfigError:
        """Returns what is raised where draws give nothing new."""
        return ConfigError(
            f"{MISSES} draws in a row gave none beside the {len(self._known)} settings that were tried before: give "
            "fewer settings, or a larger space"
        )

    def seed_of(self, number: int) -> int:
        """Returns the seed of everything that is drawn for the setting of a number."""
        return int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])


def key_of(setting: Mapping[str, Any]) -> str:
    """Returns what a setting is known by, whatever the order of its names."""
    return json.dumps(setting, sort_keys=True, default=repr)


def load_package(name: str, purpose: str) -> Any:
    """Returns a package of the extra ``search``.

    Args:
        name: of the package.
        purpose: what needs it.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f'{purpose} needs {name}, and {error.name} is not installed: pip install "mapopt[search]"'
        ) from None
