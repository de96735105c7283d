"""Takes a trained detector elsewhere: its plain weights, or its network as a program for torch.export or ONNX.

A program has a fixed image size and ends before suppression. Whoever runs it reads beside it, in a JSON file, how
pixels are given, what the outputs mean and which post-processing the detector was trained with.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mapopt.errors import ConfigError, StoreError, unknown_name
from mapopt.files import write_bytes, write_json
from mapopt.postprocessing.settings import PostProcessingSettings

if TYPE_CHECKING:
    from mapopt.training.trained_detector import TrainedDetector

VERSION = 1
"""Of the JSON file."""

KEY = "mapopt"
"""What the description is filed under inside an ONNX file's metadata, and, with .json behind it, a .pt2 file's."""

_OPSET = 18
"""Of ONNX: the one that torch's exporter writes without converting."""

_PACKAGES = ("onnx", "onnxscript")


def check_export(format: str, out: Path, *, overwrite: bool) -> None:
    """Finds out whether a file of a format can be written; imports and writes nothing.

    Raises:
        ConfigError: there is no such format, or a package that it needs is not installed.
        StoreError: there is something already, and it is not to be overwritten.

    >>> check_export("onx", Path("detector.onnx"), overwrite=False)
    Traceback (most recent call last):
    mapopt.errors.ConfigError: unknown format 'onx': did you mean 'onnx'? Known: onnx, state_dict, torch_export
    """
    if format not in FORMATS:
        raise ConfigError(unknown_name("format", str(format), FORMATS))
    absent = [name for name in _PACKAGES if format == "onnx" and importlib.util.find_spec(name) is None]
    if absent:
        raise ConfigError(
            f"format onnx needs {' and '.join(absent)}, which {'is' if len(absent) == 1 else 'are'} not installed: "
            "pip install 'mapopt[export]'"
        )
    if format == "torch_export" and out.suffix != ".pt2":
        raise ConfigError(f"out is '{out}': expected a file that ends in .pt2, which torch.export.load wants")
    if out.is_dir():
        raise StoreError(f"{out}: is a folder. Give --out a file.")
    for path in (out, description_path(out)):
        if path.exists() and not overwrite:
            raise StoreError(f"{path}: is there already. Give --overwrite to replace it, or another --out.")


def export(detector: TrainedDetector, out: str | Path, *, format: str, overwrite: bool = False) -> dict[str, Any]:
    """Writes a trained detector as a file for other programs, and beside it ``OUT.json``, which describes it.

    Args:
        detector: as `mapopt.load` returns it.
        out: the file.
        format: ``state_dict``, the weights by the names of the detector's module, for ``torch.load`` and
            ``load_state_dict``; ``torch_export``, a program for ``torch.export.load``; or ``onnx``.
        overwrite: replace what is there.

    Returns:
        What ``OUT.json`` holds.

    Raises:
        ConfigError: there is no such format, a package is not installed, or the detector cannot be exported so.
        StoreError: there is something already, it is the checkpoint itself, or the file cannot be written.
    """
    out = Path(out)
    check_export(format, out, overwrite=overwrite)
    if isinstance(detector.source, Path) and out.exists() and out.samefile(detector.source):
        raise StoreError(f"{out}: is the checkpoint itself, which would be lost. Choose another --out.")
    description = _described(detector, out, format)
    content = FORMATS[format](detector, description)
    write_bytes(out, content)
    write_json(description_path(out), description)
    return description


def description_path(out: Path) -> Path:
    """Returns where the description of an exported file is."""
    return out.with_name(f"{out.name}.json")


def _state_dict(detector: TrainedDetector, description: dict[str, Any]) -> bytes:
    import torch

    from mapopt.detectors.plain import plain_state

    description |= _module_of(detector)
    content = io.BytesIO()
    torch.save(plain_state(detector.detector), content)
    return content.getvalue()


def _torch_export(detector: TrainedDetector, description: dict[str, Any]) -> bytes:
    import torch

    program, content = _program(detector, description), io.BytesIO()
    torch.export.save(program, content, extra_files={f"{KEY}.json": json.dumps(description)})
    return content.getvalue()


def _onnx(detector: TrainedDetector, description: dict[str, Any]) -> bytes:
    import torch

    program = _program(detector, description)
    with _quiet():
        written = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=_OPSET,
            input_names=["images"],
            output_names=["boxes", "scores"],
            verbose=False,
        )
    assert written is not None
    model = written.model_proto
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps(description)
    content: bytes = model.SerializeToString()
    return content


FORMATS: dict[str, Callable[[TrainedDetector, dict[str, Any]], bytes]] = {
    "state_dict": _state_dict,
    "torch_export": _torch_export,
    "onnx": _onnx,
}
"""Every format, and what makes its bytes; a program completes the description with its outputs."""


def _program(detector: TrainedDetector, description: dict[str, Any]) -> Any:
    """Returns the detector's network as torch.export has it, for any number of images of its size; describes it."""
    import torch

    from mapopt.detectors.plain import raw_detector

    size = detector.size
    raw = raw_detector(detector.detector, name=detector.checkpoint.recipe.detector, size=size)
    # Two images: torch takes a dimension that is 1 for a constant.
    images = torch.zeros(2, 3, *size)
    with _quiet(), torch.no_grad():
        locations = raw(images)[0].shape[1]
        program = torch.export.export(raw, (images,), dynamic_shapes={"images": {0: torch.export.Dim("batch")}})
    description |= {
        "images": _images_of(size, "0 to 255; the program normalizes them itself"),
        "outputs": {
            "boxes": {
                "shape": ["batch", locations, 4],
                "meaning": "left, top, right, bottom in pixels of the input, of every location",
            },
            "scores": {
                "shape": ["batch", locations, len(detector.categories)],
                "meaning": "0 to 1, of every location and category, in the order of categories",
            },
        },
        "suppression_inside": False,
    }
    return program


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps torch's exporters from telling of their own progress and deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _described(detector: TrainedDetector, out: Path, format: str) -> dict[str, Any]:
    """Returns what is so of every format."""
    settings = PostProcessingSettings.of(detector.checkpoint.snapshot.knobs, len(detector.categories))
    return {
        "format": "mapopt export",
        "version": VERSION,
        "file": out.name,
        "kind": format,
        "detector": detector.checkpoint.recipe.detector,
        "categories": list(detector.categories),
        "post_processing": settings.as_dict(),
    }


def _images_of(size: tuple[int, int], values: str) -> dict[str, Any]:
    return {
        "shape": ["batch", 3, *size],
        "type": "float32",
        "channels": "RGB",
        "values": values,
        "placement": "scaled by one factor that fits both sides, bilinear, at the top left; the rest is 127 of 255",
    }


def _module_of(detector: TrainedDetector) -> dict[str, Any]:
    """Returns which module takes the weights, and how it is given images."""
    from mapopt.detectors.torchvision_models import MODELS

    recipe, size, classes = detector.checkpoint.recipe, detector.size, len(detector.categories)
    name, weights = recipe.detector, recipe.weights  # norms are frozen with pretrained weights alone
    frozen = "" if weights is None else f", {weights!r}, fetch=False"
    inside = {
        "tiny": "tiny_module:TinyModule(TinyNetwork({}))",
        "nano": "nano:NanoNetwork({}).module",
        "resnet18": f"resnet:ResNetNetwork({{}}{frozen}).module",
        "resnet50": f"resnet:ResNetNetwork({{}}{frozen}, depth=50).module",
    }
    if name in inside:
        return {
            "module": f"mapopt.detectors.dense.{inside[name].format(classes)}",
            "images": _images_of(size, "0 to 255; the module normalizes them itself"),
            "outputs": "class logits, box deltas and the sizes of the maps",
            "suppression_inside": False,
        }
    if name not in MODELS:
        return {"module": "one of your own"}
    model = MODELS[name]
    columns, scale = classes + model.background, recipe.detector_settings.get("anchor_scale", 1)
    public = model.public if scale == 1 else ""  # whose anchors are torchvision's
    built = (
        f"torchvision.models.detection.{public}(weights=None, weights_backbone=None, num_classes={columns})"
        if public
        else f"mapopt.detectors.torchvision_models:build_model('{name}', {classes}, weights={weights!r}, fetch=False"
        + ("" if scale == 1 else f", anchor_scale={scale}")
        + ")"
    )
    values = "0 to 1; the model normalizes them itself" if public else "0 to 255; the model normalizes them itself"
    said: dict[str, Any] = {"module": built, "images": _images_of(size, values)}
    if public:
        # Images of the detector's size then stay as they are.
        said["after"] = f"model.transform.fixed_size = ({size[1]}, {size[0]})"
    if public and name == "ssd":
        said["after"] += "; model.anchor_generator.steps = None"
    return said | {
        "outputs": "a list of dictionaries of boxes (xyxy pixels), scores and labels",
        "first_label": int(model.background),
        "suppression_inside": True,
    }
