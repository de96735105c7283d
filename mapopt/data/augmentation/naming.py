"""How a transform of one's own is named, so that files and worker processes find it again."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from mapopt.errors import ConfigError
from mapopt.registry import Registry, is_text, text_of


def _problem(part: Any) -> str:
    """Says what keeps an own part from being a transform."""
    return "" if callable(part) else "cannot be called: expected one of torchvision.transforms.v2, or a function"


TRANSFORMS: Registry[Any] = Registry("transform", {}, check=_problem)
"""None of ours: each is ``module:attribute``."""


def check_text(text: str) -> None:
    """Raises ConfigError unless a text has the form ``module:attribute``."""
    if not is_text(text):
        raise ConfigError(
            f"augmentation: transform is '{text}': expected module:attribute, such as "
            "torchvision.transforms.v2:RandomGrayscale"
        )


def name_of(given: Any) -> str:
    """Returns the text by which a transform that was given as an object is imported.

    Args:
        given: a class, a function, or an object that stands at the top of a module under a name.

    Raises:
        ConfigError: it has no such name.
    """
    if inspect.isclass(given) or inspect.isroutine(given):
        return text_of(given, "transform")
    for module in list(sys.modules.values()):
        names = vars(module) if hasattr(module, "__dict__") else {}
        for name, value in list(names.items()):
            if value is given:
                place = getattr(module, "__name__", "")
                text = f"{place}:{name}"
                if place not in ("__main__", "__mp_main__") and is_text(text):
                    return text
                # A script's parts are named as its classes are.
                return text_of(_Stand(place, name), "transform")
    raise ConfigError(
        f"transform of type {type(given).__name__} has no name that another process could import it by: keep it at the "
        "top of a module, such as train = v2.Compose([...]) in mine.py, and give that, or 'mine:train'"
    )


class _Stand:
    """Has a module and a name, as a class has."""

    def __init__(self, module: str, name: str) -> None:
        self.__module__, self.__qualname__ = module, name
