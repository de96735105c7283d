"""Pretrained weights by torchvision's names, loaded by torchvision, with errors that say what to do.

Names are torchvision's own (``DEFAULT``, ``IMAGENET1K_V1``, ``COCO_V1``), so its documentation says where each comes
from. Files are read without executing code, and norms that were trained on another batch are frozen.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum
from torchvision.ops import FrozenBatchNorm2d

from mapopt.errors import ConfigError, unknown_name


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
