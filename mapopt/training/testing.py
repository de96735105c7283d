"""Tests that every part of ours passes, for anybody's: detectors, controllers, optimizers and transforms.

Each function says in its AssertionError which property fails, with numbers. The properties are in
`mapopt.training.properties`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import isclass
from typing import Any

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.data.augmentation.naming import TRANSFORMS
from mapopt.data.augmentation.settings import Augmentation
from mapopt.data.augmentation.transforms import make_transform
from mapopt.detectors.objective import Objective
from mapopt.errors import ConfigError
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.registry import make_controller
from mapopt.training.knobs import Knobs
from mapopt.training.optimizers.registry import OPTIMIZERS, default_lr
from mapopt.training.own_knobs import declared_knobs
from mapopt.training.properties.base import check_properties
from mapopt.training.properties.controller import CONTROLLER_PROPERTIES, ControllerCase
from mapopt.training.properties.detector import DETECTOR_PROPERTIES, DetectorCase
from mapopt.training.properties.optimizer import OPTIMIZER_PROPERTIES, OptimizerCase
from mapopt.training.properties.transform import TRANSFORM_PROPERTIES, TransformCase
from mapopt.training.recipe import Recipe
from mapopt.training.task import Task


def check_controller(
    controller: Any,
    settings: Mapping[str, Any] | None = None,
    *,
    properties: Sequence[str] = (),
    task: TaskInfo | None = None,
    budget: Budget | None = None,
    seed: int = 0,
) -> None:
    """Checks that a controller decides from the history alone, and what a trainer can do.

    Args:
        controller: whatever `make_controller` takes: a name, a controller, a class or a function.
        settings: keyword arguments of a class or a function.
        properties: names in `CONTROLLER_PROPERTIES` to check; none are all.
        task: what it decides for.
        budget: of the histories that are made up for it.
        seed: of these histories.

    Raises:
        AssertionError: a property fails; the message names it, with what was decided.
        ConfigError: what was given is no controller, or a property is unknown.

    >>> check_controller("plateau", {"rounds": 1})
    >>> check_controller(lambda history, task, budget: history[-1], properties=["stops"])
    Traceback (most recent call last):
    AssertionError: <lambda> fails 'stops': after 0 rounds it raised IndexError (list index out of range), ...
    """
    case = ControllerCase(
        name=_name(controller),
        seed=seed,
        controller=make_controller(controller, settings),
        task=task or TaskInfo(name="made up", classes=3, train_images=64, batch_size=4, knobs=Knobs()),
        budget=budget or Budget(images=480, rounds=12),
    )
    check_properties(case, CONTROLLER_PROPERTIES, properties, ConfigError)


def check_optimizer(
    optimizer: Any,
    settings: Mapping[str, Any] | None = None,
    *,
    properties: Sequence[str] = (),
    seed: int = 0,
) -> None:
    """Checks that an optimizer treats every lane by itself, and that its state can be copied.

    Args:
        optimizer: whatever `make_optimizer` takes: a name or a class, also of torch's.
        settings: keyword arguments that differ from its defaults.
        properties: names in `OPTIMIZER_PROPERTIES` to check; none are all.
        seed: of weights and gradients.

    Raises:
        AssertionError: a property fails; the message names it, with numbers.
        ConfigError: what was given is no optimizer, or a property is unknown.

    >>> check_optimizer("adamw")
    >>> check_optimizer("torch.optim:RMSprop", {"centered": True})
    """
    name = _name(optimizer)
    case = OptimizerCase(
        name=name,
        seed=seed,
        optimizer=optimizer,
        settings=settings or {},
        own=declared_knobs(OPTIMIZERS.find(optimizer), f"optimizer '{name}'", settings),
        lr=default_lr(optimizer, 0.01),
    )
    check_properties(case, OPTIMIZER_PROPERTIES, properties, ConfigError)


def check_detector(
    detector: Any,
    settings: Mapping[str, Any] | None = None,
    *,
    properties: Sequence[str] = (),
    objective: Objective | None = None,
    size: int = 64,
    seed: int = 0,
) -> None:
    """Checks that a detector can be trained by the rules: determined, copied from lane to lane, and turned by knobs.

    Args:
        detector: whatever a recipe takes: a name, ``module:attribute``, or a class or function that builds it.
        settings: keyword arguments of what builds it.
        properties: names in `DETECTOR_PROPERTIES` to check; none are all.
        objective: what it minimizes; ``Objective(loss="torchvision")`` leaves a detector its own losses.
        size: height and width of the images in pixels.
        seed: of the scenes.

    Raises:
        AssertionError: a property fails; the message names it, with numbers.
        ConfigError: what was given is no detector, cannot do what is asked, or a property is unknown.

    >>> check_detector("tiny", properties=["losses", "gradient", "boxes"])
    """
    chosen = {} if objective is None else vars(objective)
    built = {"detector": detector, "batch_size": 4, **({"detector_settings": dict(settings)} if settings else {})}
    recipe = Recipe.of(**chosen, **built)
    scenes = ShapesConfig(size=size, classes=3)
    splits = make_shapes_splits(scenes, seed=seed, train=16, val=4, test=4)
    task = Task(name="checked", splits=splits, recipe=recipe)
    case = DetectorCase(name=_name(detector), seed=seed, task=task, own=recipe.own_knobs)
    check_properties(case, DETECTOR_PROPERTIES, properties, ConfigError)


def check_transform(
    transform: Any,
    settings: Mapping[str, Any] | None = None,
    *,
    properties: Sequence[str] = (),
    size: tuple[int, int] = (64, 96),
) -> None:
    """Checks that a transform of samples is a function of the sample and the seed, and moves boxes with their pixels.

    Args:
        transform: ``module:attribute``, one of torchvision.transforms.v2, its class, or a function of (image, target).
        settings: keyword arguments of what ``module:attribute`` names.
        properties: names in `TRANSFORM_PROPERTIES` to check; none are all.
        size: (height, width) of the images.

    Raises:
        AssertionError: a property fails; the message names it, with numbers.
        ConfigError: what was given is no transform, or a property is unknown.

    >>> check_transform("torchvision.transforms.v2:RandomVerticalFlip", {"p": 0.5})
    >>> check_transform(lambda image, target: (image.flip(1), target))
    Traceback (most recent call last):
    AssertionError: <lambda> fails 'boxes': with seed 0, 621 of 1381 pixels of objects are in no box
    """
    if isinstance(transform, str):
        made = make_transform(Augmentation(transform=transform, transform_settings=dict(settings or {})))
    else:
        made = TRANSFORMS.make(transform, settings) if isclass(transform) else TRANSFORMS.find(transform)
    check_properties(
        TransformCase(name=_name(transform), transform=made, size=size), TRANSFORM_PROPERTIES, properties, ConfigError
    )


def _name(part: Any) -> str:
    if isinstance(part, str):
        return part
    return str(getattr(part, "name", None) or getattr(part, "__name__", None) or type(part).__name__)
