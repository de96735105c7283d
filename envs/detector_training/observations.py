"""What an agent is shown of a run: the features that were chosen, the same in training and in use.

`observe` is a pure function, and environment and deployed policy both call it; so a policy cannot be trained on one
thing and shown another.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Box

from mapopt.envs.detector_training.features import FEATURES, KNOB, Feature, make_feature
from mapopt.errors import ConfigError, unknown_name
from mapopt.registry import Choice, is_text
from mapopt.training.knobs import Range, ranges

if TYPE_CHECKING:
    from mapopt.training.budget import Budget, TaskInfo
    from mapopt.training.history import Measure, Round

KNOBS = "knobs"
"""Stands for ``knob_NAME`` of every knob that an action sets."""

DEFAULT_FEATURES: tuple[str, ...] = (
    *(name for name in FEATURES if FEATURES[name].measure is None and not FEATURES[name].group),
    KNOBS,
)
"""All that costs nothing and is in no group: features without a measure, and the knobs that actions set."""

GROUPS: dict[str, tuple[str, ...]] = {
    "default": DEFAULT_FEATURES,
    **{
        group: tuple(name for name in FEATURES if FEATURES[name].group == group)
        for group in dict.fromkeys(feature.group for feature in FEATURES.values() if feature.group)
    },
}
"""Name of a group -> the features that it stands for: the default ones, the context of a run, its losses, its steps."""


def find_features(
    given: Sequence[Any] | None, knobs: Sequence[str], known: Mapping[str, Range] | None = None
) -> tuple[Feature, ...]:
    """Returns the feature behind every entry of an observation.

    Args:
        given: names in `FEATURES` and `GROUPS`, ``knob_NAME`` for any knob, ``"knobs"`` for those that actions set, and
            features of your own as `make_feature` takes them; None is `DEFAULT_FEATURES`.
        knobs: those that actions set.
        known: name -> range of all knobs there are, as `mapopt.training.Task.ranges`; by default of ours.

    Raises:
        ConfigError: a feature is unknown or named twice, or there is none.
    """
    known = ranges() if known is None else known
    features: list[Feature] = []
    for entry in expanded(DEFAULT_FEATURES if given is None else given):
        if entry == KNOBS:
            features += [_knob(knob) for knob in knobs]
        elif isinstance(entry, str) and not is_text(entry):
            _check_name(entry, known)
            features.append(_ours(entry))
        else:
            features.append(make_feature(entry))
    names = [feature.name for feature in features]
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"features are {', '.join(names) or 'none'}: expected at least one, each named once")
    return tuple(features)


def expanded(given: Iterable[Any]) -> list[Any]:
    """Returns features with those of a group in the place of its name.

    >>> expanded(["ap", "losses"])
    ['ap', 'class_loss_gap', 'box_loss_gap']
    """
    return [name for entry in given for name in (GROUPS.get(entry, (entry,)) if isinstance(entry, str) else (entry,))]


def observation_names(
    given: Sequence[Any] | None, knobs: Sequence[str], known: Mapping[str, Range] | None = None
) -> tuple[str, ...]:
    """Returns the name of every entry of an observation; see `find_features`.

    >>> observation_names(("ap", "knobs", "knob_momentum"), ("lr", "augment"))
    ('ap', 'knob_lr', 'knob_augment', 'knob_momentum')
    """
    return tuple(feature.name for feature in find_features(given, knobs, known))


def knobs_of(given: Iterable[Any]) -> tuple[str, ...]:
    """Returns the knobs that features show by their names."""
    return tuple(entry.removeprefix(KNOB) for entry in given if isinstance(entry, str) and entry.startswith(KNOB))


def features_of(names: Sequence[str], own: Sequence[Any] = ()) -> tuple[Feature, ...]:
    """Returns the features that an agent was trained with, by the names it holds.

    Args:
        names: of the entries of its observations.
        own: features of your own that are among them, as `make_feature` takes them: an agent names them, and whoever
            runs it brings them.

    Raises:
        ConfigError: a name is neither one of ours nor one of those.
    """
    brought = {feature.name: feature for feature in map(make_feature, own)}
    return tuple(brought[name] if name in brought else _ours(name) for name in names)


def check_features(given: Sequence[Any] | None) -> None:
    """Raises ConfigError unless features are ours or may be somebody's own; no text is imported for it."""
    for entry in given or ():
        if not isinstance(entry, str | Choice):
            make_feature(entry)
        elif isinstance(entry, Choice):
            FEATURES.check_name(entry.name)
        elif not is_text(entry) and not entry.startswith(KNOB):
            _check_name(entry, ranges())


def observation_space(features: Sequence[Feature | str]) -> Box:
    """Returns the box that observations of these features lie in."""
    chosen = [_ours(feature) for feature in features]
    low, high = [feature.low for feature in chosen], [feature.high for feature in chosen]
    return Box(np.array(low, np.float32), np.array(high, np.float32), dtype=np.float32)


def needed_measures(features: Iterable[Feature | str]) -> tuple[Measure, ...]:
    """Returns what has to be measured in every round so that these features can be seen."""
    known = (feature if isinstance(feature, Feature) else FEATURES.get(feature) for feature in features)
    return tuple(sorted({feature.measure for feature in known if feature is not None and feature.measure}))


def observe(history: Sequence[Round], task: TaskInfo, budget: Budget, features: Sequence[Feature | str]) -> np.ndarray:
    """Describes a run so far.

    Args:
        history: the rounds played. Before the first, everything but the knobs is 0.
        task: what is trained.
        budget: what may be spent.
        features: what to look at; see `find_features`. Ours may be given by their names.

    Returns:
        float32 ``[features]``, each clipped to its feature's range.

    Raises:
        ConfigError: a feature is not a number, or needs a measure that the rounds were played without.
    """
    values = np.zeros(len(features))
    for place, entry in enumerate(features):
        feature = _ours(entry)
        if history or feature.at_start:
            try:
                value = float(feature.value(history, task, budget))
            except (TypeError, ValueError):
                value = math.nan
            if math.isnan(value):
                raise ConfigError(
                    f"feature '{feature.name}' is not a number: expected one, such as 0 where none is known"
                )
            values[place] = min(max(value, feature.low), feature.high)
    return values.astype(np.float32)


def _ours(entry: Feature | str) -> Feature:
    """Returns a feature of ours by its name; nothing is imported for a name, which may be one that an agent holds."""
    if isinstance(entry, Feature):
        return entry
    if entry in FEATURES:
        ours: Feature = FEATURES[entry]
        return ours
    if entry.startswith(KNOB):
        return _knob(entry.removeprefix(KNOB))
    _check_name(entry, ranges())
    raise ConfigError(f"feature '{entry}' stands for several: expected the name of one, as `find_features` returns")


def _check_name(name: str, known: Mapping[str, Range]) -> None:
    """Raises ConfigError unless a name is that of a feature of ours, or of one of some knobs."""
    names = [*FEATURES, *(KNOB + knob for knob in known), KNOBS, *GROUPS]
    if name not in names:
        raise ConfigError(f"{unknown_name('feature', name, names)}; or module:attribute for your own")


def _knob(name: str) -> Feature:
    """Returns the feature that shows a knob, before the first round as well."""
    value = partial(_knob_value, name)
    return Feature(KNOB + name, "present value of a knob, on its own scale", -1.0, 1.0, value, at_start=True)


def _knob_value(name: str, history: Sequence[Round], task: TaskInfo, budget: Budget) -> float:
    if name not in task.ranges:
        raise ConfigError(unknown_name("knob", name, task.ranges))
    return task.ranges[name].to_unit((history[-1].knobs if history else task.knobs).get(name))
