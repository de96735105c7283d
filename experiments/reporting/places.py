"""Where a report is written, so that the report of a part never takes the place of that of the whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

SUMMARY = "summary.json"
SELECTIONS = "selections"
_LONGEST = 60


def report_folder(folder: Path, chosen: Mapping[tuple[str, str], Sequence[int]]) -> Path:
    """Returns where a report goes: into the experiment's folder, or into one for this selection.

    The experiment's folder keeps the report that is there as long as that covers stored runs which the new one would
    leave out.

    Args:
        folder: of the experiment.
        chosen: the seeds that are reported, by task and method.
    """
    left_out = [
        (task, method, seed)
        for (task, method), seeds in _covered(folder / SUMMARY).items()
        for seed in seeds
        if seed not in chosen.get((task, method), ()) and (folder / task / method / str(seed)).is_dir()
    ]
    return folder / SELECTIONS / _name(chosen) if left_out else folder


def _covered(path: Path) -> dict[tuple[str, str], list[int]]:
    """Returns what a report covers; nothing if it is not there or not readable, for then there is nothing to keep."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            (str(task["task"]), str(method["method"])): [int(seed) for seed in method["seeds"]]
            for task in content["tasks"]
            for method in task["methods"]
        }
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _name(chosen: Mapping[tuple[str, str], Sequence[int]]) -> str:
    """Returns a name that two selections share only if they are the same."""
    tasks, methods = sorted({task for task, _ in chosen}), sorted({method for _, method in chosen})
    seeds = max((len(numbers) for numbers in chosen.values()), default=0)
    whole = "_".join(["+".join(methods), "+".join(tasks), f"{seeds}-seeds"])
    content = sorted([task, method, sorted(numbers)] for (task, method), numbers in chosen.items())
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]
    return f"{whole[:_LONGEST]}-{digest}"
