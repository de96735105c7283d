"""Names that files of earlier versions hold, and what they are called now.

Every reader of a file that an earlier version may have written passes what it read through `translate`, so what was
renamed stands in one table and nothing that was trained is lost. Names that users choose (tasks, methods, categories)
are never touched, because a table names places and not words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_MISTAKES = {"rate-too-high": "learning-rate-too-high", "rate-too-low": "learning-rate-too-low"}
_PARTS = {"tune": "val"}
_SPLITS = {"judge": "eval"}

BALANCES: dict[Any, str] = {True: "values", False: "none", None: "former"}
"""What the balance of an objective was before it had names, and its name now."""

AUTOCASTS: dict[Any, str] = {True: "auto", False: "none"}
"""What the autocast of a recipe was before it had names, and its name now."""


def _family(place: str) -> dict[str, str | Mapping[str, str]]:
    """Returns what was renamed in the settings of a family of instances, which stand at a place."""
    return {
        f"{place}.side": "split",
        f"{place}.split": _SPLITS,
        f"{place}.judging": "eval_fraction",
        f"{place}.share": "fraction",
        f"{place}.part": _PARTS,
        f"{place}.mistakes.*": _MISTAKES,
        f"{place}.scenes.colour": "color",
    }


FORMER_NAMES: dict[str, dict[str, str | Mapping[str, str]]] = {
    "round": {"tune": "val"},
    "checkpoint": {
        "history.*.tune": "val",
        "settings.scenes.colour": "color",
        "settings.fingerprints.tune": "val",
    },
    "flags": {
        "scenes.colour": "color",
        "reach": "scale",
        "split": _PARTS,
        **_family("family"),
    },
    "stored run": {"tune": "val"},
    "search outcome": {"tried.*.tune_ap": "val_ap"},
    "experiment": {"tuned": "searched", "tasks.*.scenes.colour": "color"},
    "agent": {"reach": "scale"},
    "agent training": {"reach": "scale", **_family("family")},
    "schedule": {
        "side": "split",
        "split": _SPLITS,
        "tune_ap": "val_ap",
        **_family("settings"),
    },
    "episodes": {
        "arguments.reach": "scale",
        "arguments.notch": "step_size",
        **_family("arguments.family"),
    },
    "info": {
        "tune_ap": "val_ap",
        "tune_ap50": "val_ap50",
        "tune_ap75": "val_ap75",
        "tune_ar100": "val_ar100",
        "tune_ap_per_category": "val_ap_per_category",
        "tune_calibration_error": "val_calibration_error",
        "tune_f1": "val_f1",
        "tune_best_f1": "val_best_f1",
        "tune_lrp": "val_lrp",
        "tune_optimal_lrp": "val_optimal_lrp",
        "reward_parts.worth": "value",
    },
}
"""Kind of file -> place of a key (``*`` is any key or position on the way) -> its name now, or its values now."""


DESCRIPTIONS = {
    "-judge-": "-eval-",
    ", colour ": ", color ",
    "tune and test clean": "val and test clean",
    " tune images": " val images",
    " at the full rate,": " at the full learning rate,",
    **{f"mistake {then}:": f"mistake {now}:" for then, now in _MISTAKES.items()},
}
"""Parts of an instance's description, and what they are now."""


def translate(content: Any, kind: str) -> Any:
    """Returns plain values as a file of today would hold them.

    Args:
        content: mappings, lists and plain values; it is not changed.
        kind: which file they are from, a key of `FORMER_NAMES`.

    >>> translate({"tuned": {"shapes": {}}, "tasks": {"tuned": {"scenes": {"colour": 0.5}}}}, "experiment")
    {'searched': {'shapes': {}}, 'tasks': {'tuned': {'scenes': {'color': 0.5}}}}
    """
    for place, now in FORMER_NAMES[kind].items():
        content = _replace(content, place.split("."), now)
    return content


def translate_description(text: str) -> str:
    """Returns the description of an instance as a family of today would write it."""
    for then, now in DESCRIPTIONS.items():
        text = text.replace(then, now)
    return text


def _replace(content: Any, place: Sequence[str], now: str | Mapping[str, str]) -> Any:
    """Returns the values with one place renamed, as far as it is there."""
    key, rest = place[0], place[1:]
    if isinstance(content, Mapping):
        if not rest and isinstance(now, str):
            # What is there under today's name already is never overwritten.
            return {now if name == key and now not in content else name: value for name, value in content.items()}
        return {name: _step(value, rest, now) if key in ("*", name) else value for name, value in content.items()}
    if isinstance(content, list | tuple) and key == "*":
        return type(content)(_step(value, rest, now) for value in content)
    return content


def _step(value: Any, rest: Sequence[str], now: str | Mapping[str, str]) -> Any:
    if rest:
        return _replace(value, rest, now)
    return now.get(value, value) if isinstance(now, Mapping) and isinstance(value, str) else value
