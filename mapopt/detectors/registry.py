"""Detectors by name, open to one's own: what each of them can do is known before torch is imported.

An own detector is whatever a `DetectorBuilder` builds, or an ``nn.Module`` with torchvision's calling convention. It is
given as an object or as ``module:attribute``, and is imported from a user's own flags, files and calls alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mapopt.detectors.objective import Objective
from mapopt.detectors.request import DetectorKind, DetectorRequest, HalfPrecision
from mapopt.errors import ConfigError
from mapopt.registry import Choice, Registry, load

if TYPE_CHECKING:
    import torch

    from mapopt.detectors.interface import Detector


def _problem(part: Any) -> str:
    """Says what keeps a part of a user's own from being a detector."""
    if isinstance(part, DetectorKind):
        return ""
    if not callable(part):
        return "cannot be called: expected a class or a function that builds a detector from a DetectorRequest"
    if inspect.isclass(part) and hasattr(part, "losses"):
        missing = [name for name in _METHODS if not callable(getattr(part, name, None))]
        if missing:
            return f"has no {' and no '.join(missing)}: inherit from mapopt.detectors.Detector, which says what they do"
    return ""


_METHODS = ("initialize", "losses", "candidates", "detect", "gradient", "clear_gradient", "weigh_classes", "buffers")


_DROPOUT = {"dropout": (0.0, 0.9)}
"""Probability with which a channel of a map that the heads read is left out; see `mapopt.detectors.dropout`."""


def _torchvision(name: str, *, anchors: bool = True, min_side: int = 32, lr: float = 1e-3) -> DetectorKind:
    return DetectorKind(
        builder="mapopt.detectors.torchvision:build_torchvision_detector",
        settings={"name": name},
        accepts=_DROPOUT | ({"anchor_scale": (0.05, 20.0)} if anchors else {}),
        size_multiple=32,
        min_side=min_side,
        # docs/training.md has what was measured.
        optimizer="adamw",
        lr=lr,
    )


def _resnet(depth: int) -> DetectorKind:
    return DetectorKind(
        builder="mapopt.detectors.dense.build:build_resnet",
        settings={"depth": depth},
        accepts=_DROPOUT,
        size_multiple=32,
        # docs/training.md has what was measured.
        optimizer="adamw",
        lr=1e-3,
        weight_decay=0.05,
    )


def _like(name: str) -> str:
    """Says which detector of ours is like a model of others."""
    if not name.lower().startswith(("yolo", "rtmdet", "nanodet", "picodet")):
        return ""
    return ". Of ours, 'nano' is the small single-stage detector of that kind"


DETECTORS: Registry[Any] = Registry(
    "detector",
    {
        "tiny": DetectorKind(
            builder="mapopt.detectors.dense.build:build_tiny",
            size_multiple=8,
            supports_lanes=True,
            optimizer="muon",
            soft_nms_sigma=0.5,
        ),
        "nano": DetectorKind(
            builder="mapopt.detectors.dense.build:build_nano",
            accepts=_DROPOUT,
            size_multiple=32,
            # docs/training.md has what was measured.
            optimizer="muon",
            lr=0.03,
            soft_nms_sigma=0.5,
        ),
        "resnet18": _resnet(18),
        "resnet50": _resnet(50),
        "retinanet": _torchvision("retinanet"),
        "fcos": _torchvision("fcos", anchors=False),
        "faster_rcnn": _torchvision("faster_rcnn"),
        # Its last maps would have no pixel below.
        "ssd": _torchvision("ssd", min_side=288, lr=1e-4),
        "ssdlite": _torchvision("ssdlite"),
        "retinanet_resnet18": _torchvision("retinanet_resnet18"),
        "fcos_resnet18": _torchvision("fcos_resnet18", anchors=False),
        "retinanet_small": _torchvision("retinanet_small"),
        "fcos_small": _torchvision("fcos_small", anchors=False),
        "faster_rcnn_resnet18": _torchvision("faster_rcnn_resnet18"),
        "faster_rcnn_mobilenet": _torchvision("faster_rcnn_mobilenet"),
    },
    check=_problem,
    hint=_like,
)
"""Every detector's `DetectorKind`, in the order in which they are presented."""


def build_detector(
    detector: str | Choice | Any,
    objective: Objective,
    *,
    classes: int,
    size: tuple[int, int],
    lanes: int = 1,
    weights: str | None = None,
    device: torch.device | str = "cpu",
    autocast: HalfPrecision = "none",
) -> Detector:
    """Builds a detector.

    Args:
        detector: key of `DETECTORS`; ``module:attribute``, a `DetectorBuilder`, or a class or function of modules, see
            `mapopt.detectors.ModuleDetector`; or a `Choice` of one of these with settings.
        objective: what it minimizes; torchvision's detectors may keep their own losses.
        classes: number of categories.
        size: (height, width) of the images in pixels.
        lanes: independent sets of weights.
        weights: name of pretrained weights; None starts from scratch and downloads nothing.
        device: where the weights live.
        autocast: run the network in bfloat16 or float16.

    Raises:
        ConfigError: a name is unknown, the detector cannot do what is asked, or weights cannot be had.

    >>> build_detector("tiny", Objective(), classes=3, size=(48, 48), lanes=4).weights.shape[0]
    4
    """
    request = DetectorRequest(
        objective=objective,
        classes=classes,
        size=size,
        lanes=lanes,
        weights=weights,
        device=device,
        autocast=autocast,
    )
    return build_requested(detector, request)


def build_requested(detector: str | Choice | Any, request: DetectorRequest) -> Detector:
    """Builds a detector for a request.

    Args:
        detector: as for `build_detector`.
        request: what it is built for.

    Raises:
        ConfigError: as `build_detector` does.
    """
    part, settings = (detector.name, detector.settings) if isinstance(detector, Choice) else (detector, {})
    kind, name = detector_kind(part), _shown(part)
    if request.classes < 1:
        raise ConfigError(f"a detector of {request.classes} classes was asked for: expected at least one")
    if request.lanes < 1 or (request.lanes > 1 and not kind.supports_lanes):
        able = ", ".join(f"'{other}'" for other in DETECTORS if DETECTORS[other].supports_lanes)
        raise ConfigError(
            f"detector '{name}' with {request.lanes} lanes: expected "
            + ("at least one" if kind.supports_lanes else f"one; train the lanes in turn, as Fleet does, or use {able}")
        )
    _check_size(name, kind, request.size)
    if isinstance(part, str) and part in DETECTORS:
        check_detector_settings(part, settings)
        ours: Detector = load(kind.builder, "detector")(request, **kind.settings, **settings)
        return ours
    from mapopt.detectors.own import build_own  # here, because names are checked without torch

    return build_own(DETECTORS.find(part), name, request, settings)


def detector_kind(detector: str | Any) -> DetectorKind:
    """Returns what is known of a detector; of ours without importing it.

    Args:
        detector: As for `build_detector`, without settings.

    Raises:
        ConfigError: there is none of this name, or what was given is none.
    """
    part = DETECTORS.find(detector)
    if isinstance(part, DetectorKind):
        return part
    return DetectorKind(
        builder=_shown(detector),
        size_multiple=int(getattr(part, "size_multiple", 1)),
        supports_lanes=bool(getattr(part, "supports_lanes", False)),
    )


def default_optimizer(detector: str) -> str:
    """Returns what trains a detector where a recipe names no optimizer; imports nothing, whosever the detector is."""
    kind = DETECTORS.get(detector)
    return kind.optimizer if isinstance(kind, DetectorKind) else DetectorKind.optimizer


def default_rates(detector: str, optimizer: str) -> tuple[float | None, float | None]:
    """Returns a detector's own learning rate and weight decay with an optimizer, None where it has none."""
    kind = DETECTORS.get(detector)
    if not isinstance(kind, DetectorKind) or kind.optimizer != optimizer:
        return None, None
    return kind.lr, kind.weight_decay


def default_soft_nms_sigma(detector: str) -> float:
    """Returns the width of Soft-NMS where knobs leave it open; imports nothing, whosever the detector is."""
    kind = DETECTORS.get(detector)
    return kind.soft_nms_sigma if isinstance(kind, DetectorKind) else DetectorKind.soft_nms_sigma


def trains_lanes(detector: str) -> bool:
    """Returns whether a detector of ours trains several sets of weights at once, without importing one's own.

    Of those it is not known, and False.
    """
    kind = DETECTORS.get(detector)
    return isinstance(kind, DetectorKind) and kind.supports_lanes


def supports_lanes(detector: str | Any) -> bool:
    """Returns whether a detector trains several sets of weights at once; see `detector_kind`."""
    return detector_kind(detector).supports_lanes


def check_detector_settings(detector: str, settings: Mapping[str, Any]) -> None:
    """Raises ConfigError unless a name is known and may have these settings; imports nothing."""
    DETECTORS.check_name(detector)
    kind = DETECTORS.get(detector)
    if not isinstance(kind, DetectorKind):
        return
    for name, value in settings.items():
        if name not in kind.accepts:
            known = ", ".join(kind.accepts) if kind.accepts else "none"
            raise ConfigError(
                f"detector_settings {name} with detector '{detector}', which has {known}: leave it out; a detector of "
                "your own, given as module:attribute, has those of its builder"
            )
        low, high = kind.accepts[name]
        if isinstance(value, bool | str) or not low <= value <= high:
            raise ConfigError(
                f"detector_settings {name} is {value} with detector '{detector}': expected a number from {low:g} to "
                f"{high:g}"
            )


def check_size(detector: str | Any, size: tuple[int, int]) -> None:
    """Raises ConfigError unless a detector takes images of this (height, width); see `detector_kind`."""
    _check_size(_shown(detector), detector_kind(detector), size)


def _shown(detector: Any) -> str:
    return detector if isinstance(detector, str) else getattr(detector, "__qualname__", type(detector).__name__)


def _check_size(name: str, kind: DetectorKind, size: tuple[int, int]) -> None:
    multiple, shortest = kind.size_multiple, max(kind.size_multiple, kind.min_side)
    if all(side >= shortest and side % multiple == 0 for side in size):
        return
    lower = [max(shortest, side // multiple * multiple) for side in size]
    upper = [max(shortest, -(-side // multiple) * multiple) for side in size]
    near = dict.fromkeys(f"{height}x{width}" for height, width in (lower, upper))
    bound = f" of at least {shortest}" if shortest > multiple else ""
    raise ConfigError(
        f"images of {size[0]}x{size[1]} pixels for detector '{name}': expected a height and a width{bound} that are "
        f"multiples of {multiple}, such as {' or '.join(near)}"
    )
