"""Puts together what is known of a run: from its folder, from settings alone, or from a trainer in the middle of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mapopt.data.auditing.audit import Audit, audit
from mapopt.data.files import read_json
from mapopt.data.layouts import Layout
from mapopt.data.settings import SHAPES
from mapopt.data.splits import Splits
from mapopt.errors import ConfigError, DataError, MapoptError, StoreError
from mapopt.files import read_json_lines
from mapopt.former_names import translate
from mapopt.settings import from_mapping, load_settings
from mapopt.training.diagnosis.case import SAMPLE, Case
from mapopt.training.history import JSON_LINES, Round
from mapopt.training.inference import LoadedDetector
from mapopt.training.run_files import BEST, CONFIG, LAST, RESULT
from mapopt.training.settings import TrainSettings
from mapopt.training.trained_run import TrainedRun


def read_case(
    folder: Path,
    *,
    splits: Splits | None = None,
    detector: Any = None,
    device: torch.device | str = "cpu",
    look: bool = True,
    sample: int = SAMPLE,
) -> Case:
    """Reads what is known of a run that ended, goes on, or was killed.

    Args:
        folder: what `mapopt train` was given as ``--out``.
        splits: the images, if they were in memory.
        detector: what the detector is, if it is none of ours.
        device: where to run it.
        look: whether image files are audited; labels and names are in any case.
        sample: images of a split to look at.

    Raises:
        StoreError: the folder holds no run.
        CheckpointError: its checkpoint is damaged.
    """
    if not folder.is_dir():
        raise StoreError(f"{folder}: no such folder. Give the --out of `mapopt train`.")
    if not (folder / CONFIG).is_file():
        raise StoreError(
            f"{folder}: holds no run (no {CONFIG}): give the --out of mapopt train, or leave it out and give the flags "
            "of a run that is not begun"
        )
    stored = translate(load_settings(folder / CONFIG), "flags")
    settings = _settings(stored, str(folder / CONFIG))
    rounds = []
    if (folder / JSON_LINES).is_file():
        records = read_json_lines(folder / JSON_LINES, what="the rounds that `mapopt train` wrote")
        rounds = [Round.from_dict(record, f"{folder / JSON_LINES}: round {n}") for n, record in enumerate(records)]
    result = read_json(folder / RESULT) if (folder / RESULT).is_file() else {}
    loaded = {
        name: LoadedDetector(folder / name, torch.device(device), detector=detector)
        for name in (BEST, LAST)
        if (folder / name).is_file()
    }
    return dataclasses.replace(
        make_case(settings, splits=splits, in_memory="data" not in stored, look=look, sample=sample),
        name=str(folder),
        history=tuple(rounds),
        status=str(result.get("status", "")),
        reason=str(result.get("reason", "")),
        detector=loaded.get(BEST),
        last=loaded.get(LAST),
    )


def case_of(run: TrainedRun, *, look: bool = True, sample: int = SAMPLE) -> Case:
    """Returns what is known of a run that has ended, in a folder or in memory.

    Args:
        run: what `mapopt.train` returned.
        look: as for `read_case`.
        sample: as for `read_case`.
    """
    if run.folder is not None:
        return read_case(
            run.folder, splits=run.splits, detector=run.own_detector, device=run.device, look=look, sample=sample
        )
    assert run.checkpoint is not None
    stored = run.checkpoint.settings
    case = make_case(
        _settings(stored, "the run"), splits=run.splits, in_memory="data" not in stored, look=look, sample=sample
    )
    return dataclasses.replace(
        case,
        history=run.history,
        status=run.status,
        reason=run.reason,
        detector=LoadedDetector(run.checkpoint, run.device, detector=run.own_detector),
    )


def make_case(
    settings: TrainSettings,
    *,
    splits: Splits | None = None,
    in_memory: bool = False,
    look: bool = True,
    sample: int = SAMPLE,
) -> Case:
    """Returns what settings and their images say of a run that is not begun.

    Args:
        settings: of the run.
        splits: the images, if they are in memory.
        in_memory: the settings name no images, and there are none but `splits`.
        look: whether image files are audited.
        sample: images of a split to look at.
    """
    unreadable, audited = "", None
    if splits is None and not in_memory:
        try:
            splits = settings.load(settings.size)
        except DataError as error:
            unreadable = str(error)
        if settings.data != SHAPES:
            audited = _audit(settings.data, look=look)
    if settings.epochs is not None and splits is not None:
        images = settings.whole_rounds(settings.epochs * len(splits.train))
        settings = dataclasses.replace(settings, images=images, epochs=None)
    return Case(
        name=settings.data if not in_memory else "data in memory",
        data="DATA" if in_memory else settings.data,
        recipe=settings.recipe,
        knobs=settings.recipe.settle(settings.knobs),
        budget=settings.budget,
        schedule=settings.schedule if settings.controller == "schedule" else None,
        splits=splits,
        unreadable=unreadable,
        audit=audited,
        sample=sample,
    )


def _settings(stored: Mapping[str, Any], where: str) -> TrainSettings:
    """Returns a run's settings of what was stored, which may hold more than those."""
    known = [field.name for field in dataclasses.fields(TrainSettings)]
    return from_mapping(TrainSettings, {name: value for name, value in stored.items() if name in known}, where)


def _audit(data: str, *, look: bool) -> Audit | None:
    """Returns what is wrong with a folder; None where it cannot be audited, as the readers then say themselves."""
    for layout in _LAYOUTS:
        try:
            return audit(data, images=look, layout=layout)
        except ConfigError:
            continue  # of several kinds, or of another: training takes the first that there is
        except MapoptError:
            return None
    return None


_LAYOUTS: tuple[Layout, ...] = ("auto", "coco", "yolo", "voc")
"""In the order in which training looks for them."""
