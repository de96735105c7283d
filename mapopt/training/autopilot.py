"""The autopilot for a training loop of your own: it says how long the coming steps should be.

It is the rule of the controller of the same name, for any torch optimizer, detector or not. What it is not given is
left out: without the length of a step it can only follow the schedule and its corrections from the learning rate that
is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mapopt.errors import ConfigError
from mapopt.settings import from_mapping, load_settings
from mapopt.training.controllers.autopilot import AutopilotRule, Reported

LARGEST = 10.0
"""What the learning rate is multiplied or divided by at a time, at the most."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What the autopilot says of the coming steps."""

    ratio: float
    """Length that a step should have, over the length of the weights."""
    factor: float
    """What the learning rate is to be multiplied with."""

    def apply(self, optimizer: torch.optim.Optimizer) -> None:
        """Multiplies the learning rate of every group of an optimizer."""
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * self.factor


@dataclass(kw_only=True)
class Autopilot:
    """Drives the learning rate of a training loop of your own.

    Watch a step now and then, say every 20 to 100 steps what is known, and apply the advice:

    >>> weights = torch.nn.Parameter(torch.ones(4))
    >>> optimizer = torch.optim.SGD([weights], lr=1e-6)
    >>> pilot = Autopilot(steps=100)
    >>> for step in range(100):
    ...     optimizer.zero_grad()
    ...     loss = (weights**2).sum()
    ...     loss.backward()
    ...     with pilot.watch(optimizer):
    ...         optimizer.step()
    ...     if step % 5 == 4:
    ...         pilot.step(progress=(step + 1) / 100, loss=loss.item()).apply(optimizer)
    >>> bool(weights.norm() < 1.8)  # it was 2, and a rate of 1e-6 would not have moved it
    True
    """

    rule: AutopilotRule = field(default_factory=AutopilotRule)
    optimizer: str = ""
    """sgd, adamw, nadamw or muon, or what is closest to yours; any other name counts as sgd with momentum."""
    batch_size: int = 16
    """Images, or samples, a step."""
    momentum: float = 0.9
    """The optimizer's, or its first beta."""
    steps: int = 400
    """Of the whole run."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.steps < 1 or not 0 <= self.momentum < 1:
            raise ConfigError(
                f"batch_size is {self.batch_size}, steps {self.steps}, momentum {self.momentum}: expected whole "
                "numbers from 1, and a momentum from 0 to below 1"
            )
        self._reported: list[Reported] = []
        self._ratios: list[float] = []
        self._last: float | None = None

    @classmethod
    def load(cls, numbers: str | Path | None = None, **known: Any) -> Autopilot:
        """Returns an autopilot with the rule that mapopt ships, or with that of a file.

        Args:
            numbers: a YAML or JSON file with numbers of `AutopilotRule`, such as a search chose.
            known: `optimizer`, `batch_size`, `momentum` and `steps` of the run, as far as they are known.

        Raises:
            ConfigError: there is no such file, or a number is unknown or out of its range.
        """
        rule = AutopilotRule()
        if numbers is not None:
            rule = from_mapping(AutopilotRule, load_settings(Path(numbers)), str(numbers))
        return cls(rule=rule, **known)

    @contextmanager
    def watch(self, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        """Measures the length of the step that is taken inside, over that of the weights; it costs a copy of them."""
        weights = [weight for group in optimizer.param_groups for weight in group["params"] if weight.requires_grad]
        before = [weight.detach().clone() for weight in weights]
        yield
        length = _length(before)
        moved = _length([weight.detach() - old for weight, old in zip(weights, before, strict=True)])
        if length > 0 and moved > 0:
            self._ratios.append(moved / length)

    def step(
        self,
        *,
        progress: float,
        loss: float | None = None,
        agreement: float | None = None,
        update_ratio: float | None = None,
    ) -> Advice:
        """Takes what the steps since the last call came to, and returns advice for those to come.

        Args:
            progress: fraction of the run that is over, 0 to 1.
            loss: mean training loss since the last call, for a rule whose `loss` is not 0: where it did not fall, steps
                become shorter.
            agreement: mean cosine of successive gradients, for a rule whose `agreement` is not 0: where it is high,
                steps become longer.
            update_ratio: mean length of a step over that of the weights. Without it it is that of the watched steps;
                where none was watched, the factor only follows the schedule and the corrections.

        Raises:
            ConfigError: `progress` is not from 0 to 1.
        """
        if not 0 <= progress <= 1:
            raise ConfigError(f"progress is {progress}: expected the fraction of the run that is over, 0 to 1")
        if loss is not None or agreement is not None:
            self._reported.append(Reported(loss=loss, agreement=agreement))
        if update_ratio is None and self._ratios:
            update_ratio = sum(self._ratios) / len(self._ratios)
        self._ratios = []
        ratio = self._ratio(progress)
        before = update_ratio if update_ratio is not None else self._last
        self._last = ratio
        factor = 1.0 if not before else ratio / before
        return Advice(ratio=ratio, factor=min(max(factor, 1 / LARGEST), LARGEST))

    def state_dict(self) -> dict[str, Any]:
        """Returns what goes on with a run that is resumed, as plain values."""
        return {"reported": [list(each) for each in self._reported], "ratios": list(self._ratios), "last": self._last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes what `state_dict` returned.

        Raises:
            ConfigError: it is no such state.
        """
        try:
            self._reported = [Reported(*each) for each in state["reported"]]
            self._ratios, self._last = list(state["ratios"]), state["last"]
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"this is no state of an autopilot ({error}): expected what state_dict returned"
            ) from None

    def _ratio(self, progress: float) -> float:
        top = self.rule.top(
            optimizer=self.optimizer, batch_size=self.batch_size, momentum=self.momentum, steps=self.steps
        )
        # A run that is over needs no step; a length of 0 could not be left again.
        fraction = max(self.rule.shape().fraction(progress), 1e-4)
        return top * fraction * self.rule.correction(self._reported)


def _length(tensors: list[torch.Tensor]) -> float:
    if not tensors:
        return 0.0
    return float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(each.float()) for each in tensors])))
