"""Pretrained weights by torchvision's names or from a file, with errors that say what to do.

Names are torchvision's own (``DEFAULT``, ``IMAGENET1K_V1``, ``COCO_V1``), so its documentation says where each comes
from. Files are read without executing code, and norms that were trained on another batch are frozen.
"""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import WeightsEnum
from torchvision.ops import FrozenBatchNorm2d

from mapopt.detectors.request import check_weights
from mapopt.errors import ConfigError, unknown_name

_WRAPPERS = ("module.", "_orig_mod.", "model.")
"""What names begin with after `nn.DataParallel`, `torch.compile`, and in a module that holds the model."""


def choose_weights(detector: str, name: str, families: Sequence[type[WeightsEnum]]) -> WeightsEnum:
    """Returns the first family's member of that name.

    Raises:
        ConfigError: none has it.
    """
    for family in families:
        if name in family.__members__:
            return family[name]
    known = sorted({member for family in families for member in family.__members__})
    raise ConfigError(unknown_name(f"weights of {detector}", name, known) + "; or leave `weights` out")


def fetch_weights(detector: str, member: WeightsEnum) -> dict[str, Tensor]:
    """Returns a state dictionary from torchvision's cache, downloading it first if need be.

    Raises:
        ConfigError: it cannot be downloaded, or the file is damaged.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / member.url.rsplit("/", 1)[-1]
    try:
        return dict(member.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except OSError as error:
        raise ConfigError(
            f"the download of the weights {member.name} of {detector} failed ({error}): put the file at {file}, "
            "or leave `weights` out to train from scratch"
        ) from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:80]
        raise ConfigError(
            f"the file of the weights {member.name} of {detector} is damaged ({reason}): "
            f"delete {file} and try again, or leave `weights` out to train from scratch"
        ) from error


def read_state(path: str) -> dict[str, Tensor]:
    """Returns the state dictionary in a file of torch.save or safetensors, whatever holds it.

    Understood are a state dictionary itself, one under "model", "state_dict" or "model_state_dict", as training scripts
    save it, and names that all begin with what a model was wrapped in, see `_WRAPPERS`.

    Raises:
        ConfigError: there is no such file, it holds no tensors by name, more than can be read without executing code,
            or numbers that are not finite.
    """
    file = Path(path)
    check_weights(path)
    try:
        if file.suffix.lower() == ".safetensors":
            content: Any = load_file(file)
        else:
            with torch.serialization.safe_globals([argparse.Namespace]):  # in what torchvision's scripts save
                content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        part = re.search(r"(?:GLOBAL|class) ([\w.]+)", str(error))
        if part is None:
            raise _unread(path, error) from error
        raise ConfigError(
            f"weights '{path}' hold {part[1]} beside tensors, and code in a file is not "
            "executed: expected a state dictionary alone. Where you trust the file, load it and save it again with "
            "torch.save(model.state_dict(), FILE)"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, SafetensorError) as error:
        raise _unread(path, error) from error
    if isinstance(content, dict) and str(content.get("format", "")).startswith("mapopt"):
        raise ConfigError(f"weights '{path}' are a checkpoint of mapopt: give it as --start-from")
    for key in ("model", "state_dict", "model_state_dict"):
        content = content[key] if isinstance(content, dict) and isinstance(content.get(key), dict) else content
    state = {} if not isinstance(content, dict) else {k: v for k, v in content.items() if isinstance(v, Tensor)}
    if not state:
        raise ConfigError(
            f"weights '{path}' hold no tensors by name: expected a state dictionary, model.state_dict() in torch"
        )
    broken = next((name for name, value in state.items() if not bool(torch.isfinite(value).all())), None)
    if broken is not None:
        raise ConfigError(
            f"weights '{path}' have numbers in {broken} that are not finite, from which nothing could be trained: "
            "expected those of a training that did not diverge"
        )
    state = {str(name): value for name, value in state.items()}
    while wrapper := next((each for each in _WRAPPERS if all(name.startswith(each) for name in state)), ""):
        state = {name.removeprefix(wrapper): value for name, value in state.items()}
    return state


def _unread(path: str, error: Exception) -> ConfigError:
    reason = next(iter(str(error).splitlines()), type(error).__name__)[:120]
    return ConfigError(
        f"weights '{path}' cannot be read ({reason}): expected a state dictionary that torch.save or safetensors wrote"
    )


def load_detector(model: nn.Module, body: nn.Module | None, path: str, *, classes: str) -> None:
    """Loads a file into a detector, or into its body alone, whichever the file's names are of.

    Args:
        model: the detector.
        body: its backbone, as it is pretrained on images; None if that cannot be.
        path: the file.
        classes: a regular expression: parameters of the detector that belong to its categories, which a file of other
            categories leaves as they are.

    Raises:
        ConfigError: the file is of neither, or of another size.
    """
    state = read_state(path)
    whole = model.state_dict()
    if any(name in whole for name in state):
        of_classes = [name for name in state if name in whole and re.match(classes, name)]
        other = {name for name in of_classes if state[name].shape != whole[name].shape}
        _load_state(model, {k: v for k, v in state.items() if k not in other}, path, optional=classes, strict=True)
        return
    if body is None:
        raise ConfigError(_other_names(path, "the detector", state, whole))
    load_body(body, state, path)


def load_body(body: nn.Module, state: Mapping[str, Tensor], path: str) -> None:
    """Loads what a classifier has learnt into the body of a detector; its last layers are left out.

    Raises:
        ConfigError: the state is of another network.
    """
    _load_state(body, body_state(state), path, optional="$", strict=False)


def body_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns what a detector's body takes of a classifier's state: all but its last layers, by the body's names."""
    return {
        name.removeprefix("features."): value
        for name, value in state.items()
        if not name.startswith(("fc.", "classifier."))
    }


def _load_state(module: nn.Module, state: Mapping[str, Tensor], path: str, *, optional: str, strict: bool) -> None:
    """Loads a state into a module, or raises ConfigError; where it is not strict, it may have more.

    Args:
        module: what is loaded.
        state: of the file.
        path: of the file.
        optional: matches names that it need not have.
        strict: refuse what the module has not.
    """
    own = module.state_dict()
    # Old files do not count batches, and nothing reads how many there were.
    needed = [name for name in own if not re.match(optional, name) and not name.endswith("num_batches_tracked")]
    missing = [name for name in needed if name not in state]
    unknown = [name for name in state if name not in own] if strict else []
    if missing or unknown:
        what = "the detector" if strict else "the detector's body"
        raise ConfigError(_other_names(path, what, state, own))
    for name, value in own.items():
        if name in state and state[name].shape != value.shape:
            raise ConfigError(
                f"weights '{path}' have {name} of shape {list(state[name].shape)}, where the detector's is "
                f"{list(value.shape)}: expected weights of the same network"
            )
    module.load_state_dict({name: value for name, value in state.items() if name in own}, strict=False)


def _other_names(path: str, what: str, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    missing = next((name for name in own if name not in state and not name.endswith("num_batches_tracked")), "")
    unknown = next((name for name in state if name not in own), "")
    said = [f"lack {missing}" if missing else "", f"have {unknown}, which it has not" if unknown else ""]
    return (
        f"weights '{path}' are of another network than {what}: they {' and '.join(filter(None, said))}. Expected the "
        "state dictionary of this detector, or of a classifier with its body"
    )


def freeze_batch_norms(module: nn.Module) -> None:
    """Replaces every batch norm by one whose scale, shift and statistics are constants.

    Small batches would spoil what large ones have learnt, and constants are no state that a snapshot could miss.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features, eps=child.eps)
            state: dict[str, Any] = dict(child.state_dict())
            frozen.load_state_dict(state)
            setattr(module, name, frozen)
        else:
            freeze_batch_norms(child)
