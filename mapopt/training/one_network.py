"""What a recipe may ask of detectors that train one set of weights at a time alone."""

from __future__ import annotations

from typing import Protocol

from mapopt.errors import ConfigError


class _Asked(Protocol):
    @property
    def detector(self) -> str: ...
    @property
    def accumulate(self) -> int: ...
    @property
    def multi_scale(self) -> float: ...


def check_one_network(recipe: _Asked, *, lanes: bool) -> None:
    """Raises ConfigError for steps in pieces, or at other sizes, where lanes are computed together.

    Args:
        recipe: what trains.
        lanes: whether its detector trains several sets of weights at once.
    """
    if lanes and recipe.accumulate > 1:
        raise ConfigError(
            f"accumulate is {recipe.accumulate} with detector '{recipe.detector}', whose lanes are one network: leave "
            "it at 1, and make batch_size smaller"
        )
    if lanes and recipe.multi_scale:
        raise ConfigError(
            f"multi_scale is {recipe.multi_scale} with detector '{recipe.detector}', whose lanes are one network: "
            "leave it out, and let images grow and shrink in their frame by augmentation.scale"
        )
