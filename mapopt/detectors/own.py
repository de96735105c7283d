"""Builds a detector of a user's own, and looks whether it is one before anything is trained."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from mapopt.detectors.interface import Detector
from mapopt.detectors.module import ModuleDetector
from mapopt.detectors.request import DetectorBuilder, DetectorRequest
from mapopt.errors import ConfigError, MapoptError
from mapopt.registry import check_settings


def build_own(part: Any, name: str, request: DetectorRequest, settings: Mapping[str, Any]) -> Detector:
    """Builds a detector.

    Args:
        part: a `mapopt.detectors.DetectorBuilder`, or a class or function of modules, see `from_module`.
        name: what messages call it.
        request: what it is built for.
        settings: further keyword arguments of it.

    Raises:
        ConfigError: it cannot be built of these settings, or is no detector.
    """
    if builds_modules(part):
        part = from_module(part)
    else:
        check_settings(functools.partial(part, request), settings, f"detector '{name}'")
    try:
        built = part(request, **settings)
    except MapoptError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"detector '{name}' cannot be built of these settings ({error})") from error
    problem = _problem(built, request)
    if problem:
        raise ConfigError(f"detector '{name}' {problem}")
    detector: Detector = built
    return detector


def from_module(builder: Callable[..., Any]) -> DetectorBuilder:
    """Makes a builder of detectors of a class or function of modules with torchvision's calling convention.

    Names, files and flags need no call of this: whatever takes ``num_classes``, and every class of ``nn.Module`` that
    is no detector, is taken so by itself, torchvision's own functions included.

    Args:
        builder: is called with ``num_classes``, the categories and the background, and the user's settings; with
            ``size`` (height, width) and with ``weights`` if it takes them. Unless weights are asked for, ``weights``
            and ``weights_backbone`` are None, so that nothing is downloaded.

    >>> from torchvision.models.detection import ssdlite320_mobilenet_v3_large
    >>> build = from_module(ssdlite320_mobilenet_v3_large)
    """
    name = getattr(builder, "__qualname__", type(builder).__name__)

    @functools.wraps(builder, updated=())
    def build(request: DetectorRequest, **settings: Any) -> ModuleDetector:
        arguments = _arguments_of(builder, name, request, settings)
        check_settings(builder, arguments, f"detector '{name}'")
        return ModuleDetector(
            functools.partial(builder, **arguments),
            request.objective,
            classes=request.classes,
            name=name,
            device=request.device,
            autocast=request.autocast,
        )

    del build.__wrapped__  # type: ignore[attr-defined]  # its signature is the one above
    for knob in ("knobs", *getattr(builder, "knobs", {})):
        if hasattr(builder, knob):
            setattr(build, knob, getattr(builder, knob))
    return build


def builds_modules(part: Any) -> bool:
    """Returns whether a part is for `from_module`: a class of modules that are no detectors, or with num_classes."""
    if inspect.isclass(part):
        return issubclass(part, nn.Module) and not hasattr(part, "losses")
    try:
        return "num_classes" in inspect.signature(part).parameters
    except (TypeError, ValueError):
        return False


def _arguments_of(
    builder: Callable[..., Any], name: str, request: DetectorRequest, settings: Mapping[str, Any]
) -> dict[str, Any]:
    known = inspect.signature(builder).parameters
    if "num_classes" not in known:
        raise ConfigError(
            f"detector '{name}' takes no num_classes: expected an argument of that name, the number of categories and "
            "the background"
        )
    if request.weights is not None and "weights" not in known:
        raise ConfigError(f"weights '{request.weights}' for detector '{name}', which takes none: leave `weights` out")
    arguments: dict[str, Any] = {"num_classes": request.classes + 1}
    if "size" in known:
        arguments["size"] = request.size
    for weights in ("weights", "weights_backbone"):
        if weights in known:
            arguments[weights] = request.weights if weights == "weights" else None
    return arguments | dict(settings)


_METHODS = ("initialize", "losses", "candidates", "detect", "gradient", "clear_gradient", "weigh_classes", "buffers")


def _problem(built: Any, request: DetectorRequest) -> str:
    """Says what keeps something from being a detector; nothing if it is one."""
    missing = [method for method in _METHODS if not callable(getattr(built, method, None))]
    if missing and isinstance(built, nn.Module):
        return (
            "builds a module of torch without the methods of a detector: if it has torchvision's calling convention, "
            "let what builds it take num_classes instead of a request"
        )
    if missing:
        return f"builds a {type(built).__name__} without {', '.join(missing)}: inherit from mapopt.detectors.Detector"
    weights, decay = getattr(built, "weights", None), getattr(built, "decay", None)
    if not isinstance(weights, Tensor) or weights.dim() != 2 or len(weights) != request.lanes:
        return f"has weights of {_described(weights)}: expected a row for each lane, [{request.lanes}, n]"
    if not (weights.requires_grad and weights.is_leaf):
        return "has weights that get no gradient: call .requires_grad_() on them"
    if not isinstance(decay, Tensor) or decay.shape != weights.shape[1:]:
        return f"has decay of {_described(decay)}: expected 1 or 0 for each number of a lane, {[*weights.shape[1:]]}"
    for name, value in (("lanes", request.lanes), ("classes", request.classes)):
        if getattr(built, name, None) != value:
            return f"has {name} {getattr(built, name, None)}: expected the request's {value}"
    return ""


def _described(value: object) -> str:
    return f"shape {list(value.shape)}" if isinstance(value, Tensor) else f"type {type(value).__name__}"
