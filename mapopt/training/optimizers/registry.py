"""The optimizers by name, open to one's own.

An own optimizer is a class with the interface of `RowOptimizer`, which updates a matrix with one row per lane, or is a
class of torch's optimizers; give the class, or ``module:attribute``, such as ``torch.optim:RAdam``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mapopt.errors import ConfigError, MapoptError
from mapopt.registry import Registry, check_settings
from mapopt.training.optimizers.table import OPTIMIZER_TABLE

if TYPE_CHECKING:
    from torch import Tensor

    from mapopt.training.optimizers.base import RowOptimizer


def _problem(part: Any) -> str:
    """Says what an own optimizer lacks."""
    if not inspect.isclass(part):
        return "is no class: expected one that is made as MyOptimizer(weights, decay, **settings), or one of torch's"
    if _is_torchs(part):
        return ""
    if not callable(getattr(part, "update", None)):
        return "has no method update(weights, gradient, knobs, active): see mapopt.training.RowOptimizer"
    return ""


def _is_torchs(part: Any) -> bool:
    """Returns whether a class is one of torch's optimizers, without importing torch."""
    return any((kind.__module__, kind.__name__) == ("torch.optim.optimizer", "Optimizer") for kind in part.__mro__)


OPTIMIZERS: Registry[Callable[..., RowOptimizer]] = Registry(
    "optimizer",
    {name: entry.where for name, entry in OPTIMIZER_TABLE.items()},
    check=_problem,
)
"""Each is made of the lanes' weights ``[lanes, n]``, the mask ``[n]`` of what decays, and settings by name."""


def default_lr(given: str | Callable[..., RowOptimizer], otherwise: float) -> float:
    """Returns the learning rate with an optimizer where none is given; imports what is not ours.

    Args:
        given: as for `make_optimizer`.
        otherwise: for one that says nothing of it, such as torch's.

    >>> default_lr("prodigy", 0.2), default_lr("torch.optim:RAdam", 0.2)
    (1.0, 0.2)
    """
    return _declared(given, "default_lr", otherwise)


def default_weight_decay(given: str | Callable[..., RowOptimizer], otherwise: float) -> float:
    """Returns the weight decay with an optimizer where none is given; as `default_lr`."""
    return _declared(given, "default_weight_decay", otherwise)


def _declared(given: str | Callable[..., RowOptimizer], name: str, otherwise: float) -> float:
    if isinstance(given, str) and given in OPTIMIZER_TABLE:
        return float(getattr(OPTIMIZER_TABLE[given], name))
    declared = getattr(OPTIMIZERS.find(given), name, otherwise)
    if isinstance(declared, bool) or not isinstance(declared, int | float) or not declared > 0:
        raise ConfigError(f"optimizer '{_name(given)}' has {name} {declared!r}: expected a number above 0")
    return float(declared)


def averages_already(name: str, ema: float) -> str:
    """Says that a recipe has two averages."""
    return f"ema is {ema} with optimizer '{name}', which evaluates an average of its own: leave ema at 0"


def make_optimizer(
    given: str | Callable[..., RowOptimizer],
    weights: Tensor,
    decay: Tensor,
    settings: Mapping[str, Any] | None = None,
    *,
    parts: Mapping[str, tuple[int, ...]] | None = None,
) -> RowOptimizer:
    """Makes an optimizer.

    Args:
        given: key of `OPTIMIZERS`, ``module:attribute``, or a class of one's own or of torch's.
        weights: ``[lanes, n]``.
        decay: ``[n]``, 1 where weight decay applies and 0 on norms and biases.
        settings: parameters that differ from its defaults.
        parts: name -> shape of what a row is cut into, in order, as `Detector.parts` says, for those whose constructor
            has an argument of that name; by default one part.

    Raises:
        ConfigError: there is no such optimizer, a setting is unknown or not what it should be, or its state is none.
    """
    part = OPTIMIZERS.find(given)
    what = f"optimizer '{_name(given)}'"
    torchs = _is_torchs(part)
    data: dict[str, Any] = {"params": []} if torchs else {"weights": weights, "decay": decay}
    if not torchs and "parts" in inspect.signature(part).parameters:
        data["parts"] = {"weights": tuple(weights.shape[1:])} if parts is None else parts
    check_settings(part, {**data, **(settings or {})}, what)
    try:
        if torchs:
            from mapopt.training.optimizers.torch_rows import TorchRows  # here, because names are checked without torch

            return TorchRows(part, weights, decay, settings or {})  # type: ignore[arg-type]
        optimizer = part(**data, **(settings or {}))
    except MapoptError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what} cannot be made of these settings ({error})") from error
    _check_state(optimizer, len(weights), what)
    return optimizer


def _name(given: Any) -> str:
    return given if isinstance(given, str) else str(getattr(given, "__qualname__", given))


def _check_state(optimizer: Any, lanes: int, what: str) -> None:
    """Raises ConfigError unless an optimizer keeps its state as tensors with a row per lane."""
    state = getattr(optimizer, "state", None)
    if not isinstance(state, dict):
        raise ConfigError(
            f"{what} has no dictionary `state`: expected name -> tensor [lanes, ...], empty if it has none"
        )
    for name, value in state.items():
        shape = tuple(getattr(value, "shape", ()))
        if not shape or shape[0] != lanes:
            raise ConfigError(
                f"{what} keeps '{name}' in a shape of {list(shape)}: expected a row per lane, [{lanes}, ...]"
            )
