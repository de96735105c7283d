"""Searches over the numbers of a small policy that need no gradient: CMA-ES and an evolution strategy.

Both draw candidates around a mean, are given how good each was, and move. All that they go on from are arrays and
counts, which a file without pickles holds; that is why they stand here and are not taken from a package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mapopt.errors import AgentError


class Strategy(Protocol):
    """What searches."""

    def ask(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Returns candidates ``[count, n]``."""

    def tell(self, candidates: np.ndarray, values: np.ndarray) -> None:
        """Moves, given how good each candidate was ``[count]``; more is better."""

    @property
    def mean(self) -> np.ndarray:
        """The middle of the next candidates ``[n]``, which is the policy of now."""


@dataclass(frozen=True, kw_only=True)
class CmaSettings:
    """Settings of CMA-ES, which are hyperparameters of `mapopt train-agent --algo cma_es`."""

    sigma: float = 0.3
    """The first candidates' standard deviation; the policy begins with all numbers at 0, which is the baseline."""


@dataclass(frozen=True, kw_only=True)
class EsSettings:
    """Settings of the evolution strategy, which are hyperparameters of `mapopt train-agent --algo es`."""

    sigma: float = 0.1
    """The candidates' standard deviation, always."""
    learning_rate: float = 0.03
    """Length of a step per estimated gradient."""
    momentum: float = 0.9
    """Of the steps."""


class Cma:
    """Covariance matrix adaptation: a normal distribution that takes on the shape of what is good.

    With rank-one and rank-mu updates and cumulative step-size adaptation, all constants as in the tutorial; half of the
    candidates are parents, with logarithmic weights, and none has a negative one.

    Reference: Hansen, "The CMA evolution strategy: a tutorial", arXiv:1604.00772, 2016.

    Args:
        count: numbers of the policy.
        settings: the others.
    """

    def __init__(self, count: int, settings: CmaSettings) -> None:
        self._mean, self.sigma, self.generation = np.zeros(count), settings.sigma, 0
        self.covariance = np.eye(count)
        self.path_sigma, self.path_covariance = np.zeros(count), np.zeros(count)

    @property
    def mean(self) -> np.ndarray:
        """The middle of the next candidates ``[n]``."""
        return self._mean

    def ask(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Returns candidates ``[count, n]``."""
        values, axes = self._axes()
        drawn = generator.standard_normal((count, len(self._mean)))
        return self._mean + self.sigma * (drawn * np.sqrt(values)) @ axes.T

    def tell(self, candidates: np.ndarray, values: np.ndarray) -> None:
        """Moves, given how good each candidate was ``[count]``."""
        n, parents = len(self._mean), max(1, len(candidates) // 2)
        weights = math.log((len(candidates) + 1) / 2) - np.log(np.arange(1, parents + 1))
        weights = weights / weights.sum()
        effective = 1 / float((weights**2).sum())
        # Stable, so that equal values keep the order in which they were drawn.
        steps = (candidates[np.argsort(-values, kind="stable")[:parents]] - self._mean) / self.sigma
        step = weights @ steps
        rate_sigma = (effective + 2) / (n + effective + 5)
        damping = 1 + 2 * max(0.0, math.sqrt((effective - 1) / (n + 1)) - 1) + rate_sigma
        rate_path = (4 + effective / n) / (n + 4 + 2 * effective / n)
        rate_one = 2 / ((n + 1.3) ** 2 + effective)
        rate_mu = min(1 - rate_one, 2 * (effective - 2 + 1 / effective) / ((n + 2) ** 2 + effective))
        expected = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))
        eigenvalues, axes = self._axes()
        whitened = axes @ ((axes.T @ step) / np.sqrt(eigenvalues))
        self.generation += 1
        self.path_sigma = (1 - rate_sigma) * self.path_sigma + math.sqrt(
            rate_sigma * (2 - rate_sigma) * effective
        ) * whitened
        length = float(np.linalg.norm(self.path_sigma))
        settled = math.sqrt(1 - (1 - rate_sigma) ** (2 * self.generation))
        heavy = 1.0 if length / settled < (1.4 + 2 / (n + 1)) * expected else 0.0
        self.path_covariance = (1 - rate_path) * self.path_covariance + heavy * math.sqrt(
            rate_path * (2 - rate_path) * effective
        ) * step
        lost = (1 - heavy) * rate_path * (2 - rate_path)
        self.covariance = (
            (1 + rate_one * lost - rate_one - rate_mu) * self.covariance
            + rate_one * np.outer(self.path_covariance, self.path_covariance)
            + rate_mu * (steps.T * weights) @ steps
        )
        self._mean = self._mean + self.sigma * step
        self.sigma *= math.exp(min(1.0, rate_sigma / damping * (length / expected - 1)))

    def _axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the eigenvalues of the covariance, and its axes as columns."""
        values, axes = np.linalg.eigh((self.covariance + self.covariance.T) / 2)
        return np.maximum(values, 1e-20), axes


class EvolutionStrategy:
    """Steps along an estimated gradient of the mean value, from pairs of opposite candidates.

    Values count by their rank, from -1/2 to 1/2; the step is the mean of the noise weighted by these, over the noise's
    standard deviation, with momentum.

    Reference: Salimans et al., "Evolution strategies as a scalable alternative to reinforcement learning",
    arXiv:1703.03864, 2017; plain steps with momentum in place of Adam.

    Args:
        count: numbers of the policy.
        settings: the others.
    """

    def __init__(self, count: int, settings: EsSettings) -> None:
        self._mean, self._velocity = np.zeros(count), np.zeros(count)
        self._settings = settings

    @property
    def mean(self) -> np.ndarray:
        """The middle of the next candidates ``[n]``."""
        return self._mean

    def ask(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Returns candidates ``[count, n]``: the second half opposite to the first, and of an odd number the mean."""
        half = generator.standard_normal((count // 2, len(self._mean)))
        noise = np.concatenate([half, -half, np.zeros((count % 2, len(self._mean)))])
        return self._mean + self._settings.sigma * noise

    def tell(self, candidates: np.ndarray, values: np.ndarray) -> None:
        """Moves, given how good each candidate was ``[count]``."""
        # Equal values share the mean of their ranks, so that where nothing differs nothing moves.
        ranks = np.array([(values < value).sum() + ((values == value).sum() - 1) / 2 for value in values])
        utilities = ranks / max(1, len(values) - 1) - 0.5
        gradient = utilities @ (candidates - self._mean) / (len(values) * self._settings.sigma**2)
        self._velocity = self._settings.momentum * self._velocity + self._settings.learning_rate * gradient
        self._mean = self._mean + self._velocity


_ARRAYS = {
    Cma: ("_mean", "covariance", "path_sigma", "path_covariance"),
    EvolutionStrategy: ("_mean", "_velocity"),
}


def numbers_of(strategy: Any) -> dict[str, np.ndarray]:
    """Returns all that a strategy goes on from, by name."""
    numbers = {name.strip("_"): getattr(strategy, name) for name in _ARRAYS[type(strategy)]}
    if isinstance(strategy, Cma):
        numbers |= {"sigma": np.array(strategy.sigma), "generation": np.array(float(strategy.generation))}
    return numbers


def put_numbers(strategy: Any, numbers: dict[str, np.ndarray], where: str) -> None:
    """Lets a strategy go on from numbers of its kind and shapes.

    Raises:
        AgentError: they are not finite, or make no distribution.
    """
    finite = all(np.isfinite(part).all() for part in numbers.values())
    if not finite or float(numbers.get("sigma", np.array(1.0))) <= 0 or float(numbers.get("generation", 0)) < 0:
        raise AgentError(f"{where}: the numbers of the search are not finite, or make no distribution")
    for name in _ARRAYS[type(strategy)]:
        setattr(strategy, name, numbers[name.strip("_")].copy())
    if isinstance(strategy, Cma):
        strategy.sigma, strategy.generation = float(numbers["sigma"]), int(numbers["generation"])
