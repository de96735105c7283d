"""What `mapopt.train`, `load` and `diagnose` do: the commands' work, with the words of their flags, from Python.

Functions return results and raise `MapoptError`; they print only when they are asked to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch

from mapopt.data.augmentation.settings import Augmentation
from mapopt.data.dicts import CategoryNames
from mapopt.data.invalid import Invalid
from mapopt.data.loading import DataSource, load_splits
from mapopt.data.settings import FOLDER_SIZE, SHAPES
from mapopt.data.shapes_config import ShapesConfig
from mapopt.data.splits import Splits
from mapopt.devices import choose_device
from mapopt.errors import ConfigError, unknown_name
from mapopt.settings import check_values, from_mapping
from mapopt.training.controllers.base import Controller
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.controllers.reactive import Plateau
from mapopt.training.controllers.registry import CONTROLLERS, make_controller
from mapopt.training.diagnosis.case import SAMPLE
from mapopt.training.diagnosis.diagnose import Diagnosis, diagnose_run
from mapopt.training.knobs import Knobs, ranges
from mapopt.training.recipe import Recipe
from mapopt.training.run_files import checkpoint_path
from mapopt.training.session import train_detector
from mapopt.training.settings import SECTIONS, TrainSettings
from mapopt.training.shown import Shown
from mapopt.training.trained_detector import TrainedDetector
from mapopt.training.trained_run import TrainedRun
from mapopt.wording import speaks_python


class TrainOptions(TypedDict, total=False):
    """The settings of `train` and their types; each has the default and the meaning of the flag of its name."""

    loss: Any
    """A name in `mapopt.losses.LOSSES`, ``module:attribute``, or a loss: an object, a class or a function."""
    loss_settings: Mapping[str, int | float | bool | str]
    box_loss: Any
    """A name in `mapopt.losses.BOX_LOSSES`, ``module:attribute``, or a function of (boxes, targets)."""
    detector: Any
    """A name in `mapopt.detectors.DETECTORS`, ``module:attribute``, or a class or function that builds a detector."""
    detector_settings: Mapping[str, int | float | bool | str]
    optimizer: Any
    """A name in `mapopt.training.OPTIMIZERS`, ``module:attribute``, or a class of optimizers."""
    optimizer_settings: Mapping[str, int | float | bool | str]
    recipe: Recipe | Mapping[str, Any]
    """What stays the same while the detector trains, beside the parts above."""
    controller: str | Controller | type | Callable[..., Any]
    """A name in `mapopt.training.CONTROLLERS`, ``module:attribute``, or a controller: an object, a class or a function
    of (history, task, budget)."""
    controller_settings: Mapping[str, Any]
    schedule: Schedule | Mapping[str, Any]
    plateau: Plateau | Mapping[str, Any]
    patience: int
    """Stop after so many rounds without a better val AP; 0 never stops early."""
    augment_until: float
    """No augmentation after this fraction of the budget; 1 keeps it on."""
    augmentation: Augmentation | Mapping[str, Any]
    """Kinds of augmentation with numbers of their own, such as {"mosaic": 0.5, "rotate": 15}."""
    knobs: Knobs | Mapping[str, float]
    """The knobs to start from; those that are left out have their defaults."""
    images: int
    """How many images to train on in all, counted again in every epoch."""
    epochs: float
    """The budget in place of images: how often to train on every image."""
    hours: float
    """The budget in place of images: as many as are expected to take so long."""
    time_limit: float
    """Hours after which a run in a folder raises `mapopt.errors.TimeUp`; it can be resumed."""
    rounds: int
    """Into how many rounds they are cut; after each the val split is evaluated."""
    size: tuple[int, int]
    """Folders: (height, width) that images are fitted into."""
    data_seed: int
    data_limit: int
    invalid: Invalid
    split: tuple[float, float, float]
    bits: int
    workers: int
    """Folders: decode images whenever they are needed, by so many threads, instead of once into memory."""
    scenes: ShapesConfig | Mapping[str, Any]
    scene_counts: tuple[int, int, int]
    start_from: str | Path
    """A checkpoint, or the folder of a run, whose weights to begin with."""
    seed: int
    device: str
    """cpu, cuda, cuda:N, or auto, which takes a GPU if there is one."""
    threads: int


@speaks_python
def train(
    data: DataSource = SHAPES,
    *,
    categories: CategoryNames | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = False,
    val_loss: bool = False,
    **settings: Unpack[TrainOptions],
) -> TrainedRun:
    """Trains a detector, selects its weights by val AP and tests them once: `mapopt train` from Python.

    Args:
        data: a folder of images with annotations (COCO, Pascal VOC or YOLO), "shapes" for scenes that are drawn from a
            seed, splits in memory, or data sets of ``(image, target)`` as in torchvision's tutorial: ``(train, val)``
            or ``(train, val, test)``.
        categories: names for the labels of data sets; by default categories are called by their labels.
        out: folder for settings, rounds, checkpoints and the result; None keeps the run in memory.
        resume: go on with the run in the folder; begins it if there is none yet.
        overwrite: replace the run in the folder.
        progress: print what is trained, and a line per round.
        val_loss: measure the losses on the val split, too, after every round.
        settings: what decides the run, see `TrainOptions`; whatever is a name may be a part of your own.

    Returns:
        The run: its `history`, its `test` report, its `val` scores, its `status`, its `folder`, and the `detector` with
        the selected weights.

    Raises:
        ConfigError: settings are unknown or contradict each other.
        DataError: the images cannot be used, or are not those that the run was begun with.
        StoreError: the folder is in use, or holds another run.
        TimeUp: the time limit came first.

    >>> run = train(images=64, rounds=2, scene_counts=(16, 8, 8), loss="ap", device="cpu")
    >>> run.status, len(run.history), run.detector.categories
    ('finished', 2, ('disc', 'box', 'triangle'))
    """
    if not isinstance(out, str | Path | None):
        raise ConfigError(f"out is of type {type(out).__name__}: expected the path of a folder, or None")
    splits = _in_memory(data, categories, settings)
    built = _settings(settings, SHAPES if splits is not None else str(data))
    controller: Controller | None = None
    given = settings.get("controller", "schedule")
    if not isinstance(given, str):
        controller = make_controller(
            given,
            settings.get("controller_settings"),
            patience=built.patience,
            augment_until=built.augment_until,
        )
    threads = torch.get_num_threads()
    try:
        return train_detector(
            built,
            splits=splits,
            controller=controller,
            out=None if out is None else Path(out),
            resume=resume,
            overwrite=overwrite,
            shown=Shown(progress=progress, val_loss=val_loss),
        )
    finally:
        torch.set_num_threads(threads)


@speaks_python
def load(
    path: str | Path, *, detector: str | Callable[..., Any] | None = None, device: str = "auto"
) -> TrainedDetector:
    """Loads a trained detector, to predict and to evaluate with.

    Args:
        path: the folder of a run of `mapopt train`, or a checkpoint in it.
        detector: what the detector is, if it is one of your own: its class, its function or ``module:attribute``. It is
            never imported because a file says so.
        device: cpu, cuda, cuda:N, or auto, which takes a GPU if there is one.

    Raises:
        CheckpointError: there is no checkpoint, it is damaged, another version wrote it, or its detector is not given.
        ConfigError: there is no such device.
    """
    return TrainedDetector(checkpoint_path(path), choose_device(device), detector=detector)


@speaks_python
def diagnose(
    run: str | Path | TrainedRun | None = None,
    *,
    data: DataSource | None = None,
    categories: CategoryNames | None = None,
    checks: Sequence[str] = (),
    sample: int = SAMPLE,
    look: bool = True,
    range_test: bool = False,
    run_detector: str | Callable[..., Any] | None = None,
    **settings: Unpack[TrainOptions],
) -> Diagnosis:
    """Says why the AP of a run is low, or what would make it low: `mapopt diagnose` from Python.

    Args:
        run: what `train` returned, or the folder of a run; None for a run that is not begun.
        data: the images, as for `train`: of a run that is not begun, or those that a stored run had in memory.
        categories: names for the labels of data sets, as for `train`.
        checks: make these alone, see `mapopt.training.diagnosis.checks.CHECKS`; by default all that can be made.
        sample: images of a split to look at.
        look: whether image files are audited; labels and names are in any case.
        range_test: whether the beginning of the run is trained at several learning rates.
        run_detector: what the detector of a stored run is, if it is one of your own.
        settings: of a run that is not begun, as for `train`; `device` and `threads` for any.

    Returns:
        The diagnosis: its `findings` in the order of evidence, and all `figures`.

    Raises:
        ConfigError: settings are unknown or contradict each other, or are given beside a run that has its own.
        StoreError: the folder holds no run.
        CheckpointError: its checkpoint is damaged, or its detector is not given.

    >>> diagnosis = diagnose(schedule={"warmup": 0.9}, scene_counts=(40, 20, 8), images=3200)
    >>> [finding.kind for finding in diagnosis.alarms], diagnosis.alarms[0].change
    (['warmup'], '--schedule.warmup 0.1')
    """
    if run is not None:
        for name in settings:
            if name not in ("device", "threads"):
                raise ConfigError(f"--{name} is given beside a run, whose own settings count: leave it out")
    splits = None if data is None else _in_memory(data, categories, settings)
    given: TrainSettings | TrainedRun | Path
    if run is None:
        source = SHAPES if data is None or splits is not None else str(data)
        given = _settings(settings, source)
        given.check_run(
            in_memory=splits is not None, own_controller=not isinstance(settings.get("controller", ""), str)
        )
    else:
        given = run if isinstance(run, TrainedRun) else Path(run)
    threads = torch.get_num_threads()
    try:
        return diagnose_run(
            given,
            splits=splits,
            detector=run_detector,
            checks=checks,
            sample=sample,
            look=look,
            range_test=range_test,
            device=choose_device(settings.get("device", "auto"), threads=settings.get("threads", 1)),
        )
    finally:
        torch.set_num_threads(threads)


_RECIPE = (
    *("loss", "loss_settings", "box_loss", "detector", "detector_settings", "optimizer", "optimizer_settings"),
    "augmentation",
)


def _in_memory(data: DataSource, categories: CategoryNames | None, options: TrainOptions) -> Splits | None:
    """Returns the splits that are in memory, or of data sets that are; None where the settings say what to read."""
    if isinstance(data, str | Path):
        if categories is not None:
            raise ConfigError(f"categories are given, but {data} has its own: leave them out")
        return None
    if isinstance(data, Splits):
        return load_splits(data, size=options.get("size", data.train.size))
    return load_splits(
        data,
        size=options.get("size", FOLDER_SIZE),
        invalid=options.get("invalid", "error"),
        limit=options.get("data_limit"),
        seed=options.get("data_seed", 0),
        categories=categories,
    )


def _settings(options: TrainOptions, data: str) -> TrainSettings:
    """Returns the settings that options stand for."""
    for name in options:
        if name not in TrainOptions.__annotations__:
            raise ConfigError(unknown_name("setting of train", name, TrainOptions.__annotations__))
    given: dict[str, Any] = {**options, "data": data}
    parts = {name: given.pop(name) for name in _RECIPE if name in given}
    recipe = given.get("recipe", {})
    given["recipe"] = recipe = Recipe.of(**{**_fields_of(recipe), **parts})
    if given.get("start_from") is not None:
        given["start_from"] = Path(given["start_from"])
    if "knobs" in given:
        given["knobs"] = _knobs(given["knobs"], recipe)
    for name, cls in (("schedule", Schedule), ("plateau", Plateau), ("scenes", ShapesConfig)):
        if isinstance(given.get(name), Mapping):
            given[name] = from_mapping(cls, given[name], name)
    if not isinstance(given.get("controller", ""), str):
        given |= _choice(given["controller"], given.get("controller_settings", {}))
    return TrainSettings(**check_values(TrainSettings, given, "train"))


def _fields_of(recipe: Recipe | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(recipe, Mapping):
        return recipe
    return {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}


def _knobs(given: Knobs | Mapping[str, float], recipe: Recipe) -> Knobs:
    """Returns the knobs; a name that is none of ours is one of the recipe's own parts."""
    if isinstance(given, Knobs):
        return given
    own = {name: value for name, value in given.items() if name not in ranges()}
    for name in own:
        if name not in recipe.own_knobs:
            raise ConfigError(unknown_name("knob", name, recipe.ranges()))
    return Knobs(**{name: value for name, value in given.items() if name not in own}, own=own)


def _choice(controller: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns how a controller is written down: by what it can be made of again, else by its class alone."""
    try:
        choice = CONTROLLERS.choice(controller, settings)
    except ConfigError:
        return {"controller": f"{type(controller).__module__}:{type(controller).__qualname__}"}
    if choice.name in SECTIONS:
        section = from_mapping(type(SECTIONS[choice.name]), choice.settings, "controller_settings")
        return {"controller": choice.name, "controller_settings": {}, choice.name: section}
    return {"controller": choice.name, "controller_settings": choice.settings}
