"""Any optimizer of torch, or one that is written for torch, over rows: each lane has one of its own.

torch's optimizers hold their state by parameter and make it at the first step. Here it stands in tensors with a row per
lane, and is handed to the optimizer before every step and taken back after it, so that snapshots, copies from lane to
lane and resumed runs work as for ours. That costs a few copies of the weights a step.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mapopt.detectors.interface import KnobTable
from mapopt.errors import ConfigError

KNOBS = ("lr", "momentum", "weight_decay")
"""What the knobs set at every step, where the optimizer has it; momentum is also the first of ``betas``."""


class TorchRows:
    """Runs a class of torch's optimizers on ``[lanes, n]`` weights.

    Args:
        kind: the class. Its state may be numbers and tensors of the parameters' shape, made at the first step.
        weights: ``[lanes, n]``.
        decay: ``[n]``, 1 where weight decay applies and 0 elsewhere.
        settings: its arguments that are no knobs.

    Raises:
        ConfigError: a setting is a knob, or the optimizer keeps its state in another way or needs more than gradients.
    """

    def __init__(self, kind: type[Optimizer], weights: Tensor, decay: Tensor, settings: Mapping[str, Any]) -> None:
        self._kind, self._settings = kind, dict(settings)
        # Some arguments are only allowed beside a momentum; the knobs replace both values before a step.
        known = inspect.signature(kind).parameters
        self._first = {name: value for name, value in (("lr", 1e-3), ("momentum", 0.9)) if name in known}
        for name in KNOBS:
            if name in self._settings:
                raise ConfigError(
                    f"optimizer '{kind.__qualname__}' got the setting '{name}', which is a knob: set that"
                )
        # What decays and what does not are two parameters, because torch has one rate of decay for each.
        self._parts = [
            columns for columns in ((decay > 0).nonzero()[:, 0], (decay <= 0).nonzero()[:, 0]) if len(columns)
        ]
        self._decays = bool((decay > 0).any())
        self.state = {"started": torch.zeros((len(weights), 1), device=weights.device)}
        self._kept = self._first_state(weights)
        for name, example in self._kept.items():
            like = isinstance(example, Tensor) and example.dim() > 0
            shape = weights.shape if like else (len(weights), len(self._parts))
            dtype = example.dtype if isinstance(example, Tensor) else torch.float64
            self.state[name] = torch.zeros(shape, dtype=dtype, device=weights.device)

    @torch.no_grad()
    def update(self, weights: Tensor, gradient: Tensor, knobs: KnobTable, active: Tensor) -> Tensor:
        """Updates the active lanes; see `RowOptimizer.update`."""
        before = weights.detach().clone()
        values = {name: knobs[name].tolist() for name in KNOBS}
        for lane in active.nonzero()[:, 0].tolist():
            parameters = [torch.nn.Parameter(weights[lane, columns]) for columns in self._parts]
            for parameter, columns in zip(parameters, self._parts, strict=True):
                parameter.grad = gradient[lane, columns].clone()
            optimizer = self._make(parameters, {name: column[lane] for name, column in values.items()})
            if self.state["started"][lane]:
                self._hand_over(optimizer, parameters, lane)
            optimizer.step()
            for parameter, columns in zip(parameters, self._parts, strict=True):
                weights[lane, columns] = parameter.detach()
            self._take_back(optimizer, parameters, lane)
            self.state["started"][lane] = 1
        return (weights - before).norm(dim=1)

    def _make(self, parameters: list[torch.nn.Parameter], knobs: Mapping[str, float]) -> Optimizer:
        """Makes the optimizer of a lane with the knobs of a step."""
        groups: list[dict[str, Any]] = [{"params": [parameter]} for parameter in parameters]
        optimizer = self._kind(groups, **{**self._settings, **self._first})
        for index, group in enumerate(optimizer.param_groups):
            plain = index > 0 or not self._decays
            for name, value in knobs.items():
                if name in group:
                    group[name] = 0.0 if name == "weight_decay" and plain else value
            if "betas" in group:
                group["betas"] = (knobs["momentum"], *group["betas"][1:])
        return optimizer

    def _hand_over(self, optimizer: Optimizer, parameters: list[torch.nn.Parameter], lane: int) -> None:
        for index, (parameter, columns) in enumerate(zip(parameters, self._parts, strict=True)):
            held = optimizer.state[parameter]
            for name, example in self._kept.items():
                row = self.state[name][lane]
                if not isinstance(example, Tensor):
                    held[name] = type(example)(row[index].item())
                elif example.dim():
                    held[name] = row[columns].clone()
                else:
                    held[name] = row[index].to(example.device, copy=True)

    def _take_back(self, optimizer: Optimizer, parameters: list[torch.nn.Parameter], lane: int) -> None:
        for index, (parameter, columns) in enumerate(zip(parameters, self._parts, strict=True)):
            for name, example in self._kept.items():
                value = optimizer.state[parameter].get(name)
                if value is not None:
                    place = columns if isinstance(example, Tensor) and example.dim() else index
                    self.state[name][lane, place] = value

    def _first_state(self, weights: Tensor) -> dict[str, Tensor | int | float]:
        """Returns what the optimizer keeps of a parameter after a step, by name."""
        parameters = [torch.nn.Parameter(weights.detach()[0, columns].clone()) for columns in self._parts]
        optimizer = self._make(parameters, {"lr": 1e-3, "momentum": 0.9, "weight_decay": 0.0})
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        what = f"optimizer '{self._kind.__qualname__}'"
        before = _beside_state(optimizer)
        try:
            optimizer.step()
        except (TypeError, RuntimeError) as error:
            raise ConfigError(f"{what} cannot step by gradients alone ({str(error).splitlines()[0]})") from error
        changed = [name for name, value in _beside_state(optimizer).items() if before.get(name) != value]
        if changed:
            raise ConfigError(f"{what} counts in '{changed[0]}', which no snapshot would hold: {_REMEDY}")
        kept: dict[str, Tensor | int | float] = {}
        for parameter in parameters:
            for name, value in optimizer.state[parameter].items():
                if isinstance(value, Tensor) and value.shape not in (parameter.shape, torch.Size([])):
                    raise ConfigError(f"{what} keeps '{name}' in a shape of {list(value.shape)}: {_REMEDY}")
                if not isinstance(value, Tensor | int | float | None):
                    raise ConfigError(f"{what} keeps '{name}' of type {type(value).__name__}: {_REMEDY}")
                if value is not None:
                    kept[name] = value
        return kept


_REMEDY = "expected numbers and tensors like the parameters in `state`; write it as a mapopt.training.RowOptimizer"


def _beside_state(optimizer: Optimizer) -> dict[str, Any]:
    """Returns the plain numbers that an optimizer holds elsewhere than in its state."""
    groups = [(f"group {name}", value) for group in optimizer.param_groups for name, value in group.items()]
    return {name: value for name, value in (*groups, *vars(optimizer).items()) if isinstance(value, int | float)}
