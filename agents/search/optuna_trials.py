"""Settings as Optuna has them: a distribution for every dimension, and a parameter for every value.

Names with cases are a parameter per case, because a parameter of Optuna's has one distribution in a whole study.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mapopt.agents.search.adaptive import load_package
from mapopt.agents.search.dimensions import Choices, Dimension, Numbers, same
from mapopt.agents.search.space import Space


def load_optuna(purpose: str) -> Any:
    """Returns the package, which is imported here alone.

    Args:
        purpose: what needs it.

    Raises:
        ConfigError: it is not installed.
    """
    return load_package("optuna", purpose)


def parameter_of(space: Space, name: str, dimension: Dimension) -> str:
    """Returns what the parameter is called that a name is chosen by.

    >>> from mapopt.agents.search.reading import read_space
    >>> space = read_space({"knobs.lr": {"low": 0.1, "high": 1}})
    >>> parameter_of(space, "knobs.lr", space.dimension("knobs.lr", {}))
    'knobs.lr'
    """
    cases = space.cases[name]
    if len(cases) == 1:
        return name
    number = next(number for number, case in enumerate(cases, start=1) if case.dimension is dimension)
    return f"{name} (case {number})"


def distribution_of(dimension: Dimension) -> Any:
    """Returns an ``optuna.distributions.BaseDistribution``: of a range, or of the texts of choices."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(dimension, Numbers):
        return CategoricalDistribution(_texts(dimension))
    low, high, log = dimension.range.begin, dimension.range.high, dimension.range.log
    if dimension.whole and low == int(low) and high == int(high):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(float(low), float(high), log=log)


def suggested(trial: Any, parameter: str, dimension: Dimension) -> Any:
    """Returns what an ``optuna.trial.Trial`` suggests for a parameter."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    distribution = distribution_of(dimension)
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(parameter, distribution.choices)
    suggest = trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
    return suggest(parameter, distribution.low, distribution.high, log=distribution.log)


def encoded(dimension: Dimension, value: Any) -> Any:
    """Returns a value as the parameter has it; a number below the scale of its range is the scale's lowest."""
    if isinstance(dimension, Numbers):
        bounds = dimension.range
        inside = min(max(value, bounds.begin), bounds.high)
        return int(inside) if dimension.whole and inside == int(inside) else float(inside)
    position = next(number for number, choice in enumerate(dimension.values()) if same(choice, value))
    return _texts(dimension)[position]


def decoded(dimension: Dimension, value: Any) -> Any:
    """Returns the value that a parameter stands for: of so many digits, levels and whole numbers as there are."""
    if isinstance(dimension, Numbers):
        return dimension.at((dimension.range.to_unit(value) + 1) / 2)
    return dimension.values()[_texts(dimension).index(value)]


def parameters_of(space: Space, setting: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the parameters of a setting and their distributions, as ``optuna.trial.create_trial`` takes them."""
    values, distributions = {}, {}
    for name in space.names:
        dimension = space.dimension(name, setting)
        if dimension is not None and name in setting:
            parameter = parameter_of(space, name, dimension)
            values[parameter], distributions[parameter] = (
                encoded(dimension, setting[name]),
                distribution_of(dimension),
            )
    return values, distributions


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keeps Optuna from printing that a study was made, and from warning of what it calls experimental."""
    optuna = load_optuna("this")
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _texts(dimension: Dimension) -> tuple[str, ...]:
    """Returns choices as texts, because Optuna takes no lists and holds true and 1 for the same."""
    values = dimension.choices if isinstance(dimension, Choices) else dimension.values()
    texts = tuple(value if isinstance(value, str) else json.dumps(value, default=repr) for value in values)
    if len(set(texts)) < len(texts):
        return tuple(json.dumps(value, default=repr) for value in values)
    return texts
