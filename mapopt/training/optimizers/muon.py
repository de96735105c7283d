"""Muon over rows: momentum whose matrices are made orthogonal before they step, and AdamW for what is no matrix."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mapopt.bounds import check_whole
from mapopt.detectors.interface import KnobTable
from mapopt.errors import ConfigError, unknown_name
from mapopt.training.optimizers.adamw import AdamWStep
from mapopt.training.optimizers.in_place import InPlaceRows, check_between, column, zeros

OUTPUT_LAYERS = (
    r"(^|\.)((class_|box_)?head(\.weight)?|module_list\.\d+\.1\.weight|(cls_logits|cls_score|bbox_\w+)\.weight)$"
)
"""Names of the last layers of our detectors and of torchvision's."""

TOGETHER = 2**13
"""Numbers of AdamW's parts up to which they are gathered and step at once."""

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_SMALL = 1e-7


class RowMuon(InPlaceRows):
    """Muon, as `torch.optim.Muon`, with AdamW for norms, biases and the last layers, as its authors advise.

    A convolution's kernel is the matrix ``[out, in * h * w]``. The knobs are Muon's: ``lr``, ``momentum`` and the
    decoupled ``weight_decay``; AdamW has ``lr * adamw_ratio`` and the betas .9 and .95 of its authors.

    Reference: K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024,
    https://kellerjordan.github.io/posts/muon/; J. Liu et al., "Muon is Scalable for LLM Training", 2025, section 2.2,
    for ``adjust_lr="match_rms_adamw"``. The products are in float32: in bfloat16, which is published, they take seven
    times as long on a CPU.

    Args:
        weights: ``[lanes, n]``.
        decay: ``[n]``, 1 where weight decay applies.
        parts: name -> shape of what a row is cut into, in order.
        adamw_ratio: AdamW's rate over the knob; with the default rate of .08 it is .016. The authors have .0003 / .02.
        adamw_parts: a regular expression; matrices in whose names it is found are AdamW's.
        adjust_lr: "original" scales the step of a matrix by the root of max(1, rows / columns), "match_rms_adamw" by .2
            times the root of the larger of them, which asks for AdamW's rates, "spectral_unclamped" by the root of
            rows / columns.
        ns_steps: of the Newton-Schulz iteration.
        nesterov: look ahead along the momentum.

    Raises:
        ConfigError: a setting is out of its range, or no part is a matrix.
    """

    lane_by_lane = True
    betas = (0.9, 0.95)
    epsilon = 1e-10

    def __init__(
        self,
        weights: Tensor,
        decay: Tensor,
        *,
        parts: Mapping[str, tuple[int, ...]],
        adamw_ratio: float = 0.2,
        adamw_parts: str = OUTPUT_LAYERS,
        adjust_lr: str = "original",
        ns_steps: int = 5,
        nesterov: bool = True,
    ) -> None:
        super().__init__(weights, decay)
        check_between("muon", "adamw_ratio", adamw_ratio, 0)
        check_whole("muon's ns_steps", ns_steps, 1, 99)
        if adjust_lr not in _ADJUSTMENTS:
            raise ConfigError(unknown_name("adjust_lr of muon", adjust_lr, _ADJUSTMENTS))
        self._adjust, self._ratio, self._ns_steps, self._nesterov = adjust_lr, adamw_ratio, ns_steps, nesterov
        self._matrices, self._others = _cut(parts, adamw_parts)
        if not self._matrices:
            raise ConfigError(
                f"optimizer 'muon' finds no matrix among the parts {', '.join(parts)}, where those of last layers are "
                "AdamW's: expected a detector whose parts() names its layers; take adamw"
            )
        few = sum(last - first for first, last in self._others)
        places = [place for first, last in self._others for place in range(first, last)] if few <= TOGETHER else []
        self._columns = torch.tensor(places, device=weights.device) if places else None
        self.state = {
            "first": zeros(weights),
            "second": zeros(weights)[:, :few].clone(),
            "steps": column(weights, 0.0),
        }

    def advance(self, rows: slice, weights: Tensor, gradient: Tensor, knobs: KnobTable, step: Tensor) -> None:
        """Moves some lanes; see `InPlaceRows.advance`."""
        lr, momentum, decay = (knobs[name][rows, None] for name in ("lr", "momentum", "weight_decay"))
        matrices = (weights, gradient, self.state["first"], self.decay, step)
        for first, last, height in self._matrices:
            weight, slope, velocity, decays, moved = (matrix[rows, first:last] for matrix in matrices)
            velocity.lerp_(slope, 1 - momentum)
            ahead = torch.lerp(slope, velocity, momentum) if self._nesterov else velocity
            square = orthogonalize(ahead.reshape(len(ahead), height, -1), self._ns_steps)
            scale = _ADJUSTMENTS[self._adjust](height, (last - first) // height)
            torch.mul(square.reshape(moved.shape), lr * scale, out=moved)
            moved.add_((lr * decay) * decays * weight)
            weight.sub_(moved)
        steps = self.state["steps"][rows].add_(1)
        biases = [(1 - beta**steps).to(weights.dtype) for beta in self.betas]
        (beta, beta2), (bias, bias2) = self.betas, biases
        numbers = AdamWStep(lr * self._ratio, beta, beta2, decay, bias, bias2, self.epsilon)
        if self._columns is not None:
            self._advance_together(rows, self._columns, numbers, weights, gradient, step)
            return
        begin = 0
        for first, last in self._others:
            end = begin + last - first
            parts = [matrix[:, first:last] for matrix in (weights, gradient, self.state["first"])]
            more = [self.state["second"][:, begin:end], self.decay[:, first:last], step[:, first:last]]
            numbers.advance(rows, *parts, *more)
            begin = end

    def _advance_together(
        self, rows: slice, columns: Tensor, numbers: AdamWStep, weights: Tensor, gradient: Tensor, step: Tensor
    ) -> None:
        """Steps with AdamW as if its parts were one: for few numbers the calls are what costs."""
        first = self.state["first"]
        weight, slope, mean, decays = (
            matrix[rows].index_select(1, columns) for matrix in (weights, gradient, first, self.decay)
        )
        moved = torch.empty_like(weight)
        numbers.advance(slice(None), weight, slope, mean, self.state["second"][rows], decays, moved)
        for matrix, part in ((weights, weight), (first, mean), (step, moved)):
            matrix[rows].index_copy_(1, columns, part)


def orthogonalize(matrices: Tensor, steps: int) -> Tensor:
    """Returns matrices ``[lanes, a, b]`` with their singular values brought near 1, by a Newton-Schulz iteration."""
    first, second, third = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=_SMALL)
    for _ in range(steps):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=second, alpha=third), x, beta=first)
    return x.mT if tall else x


_ADJUSTMENTS: dict[str, Callable[[int, int], float]] = {
    "original": lambda rows, columns: math.sqrt(max(1, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
    "spectral_unclamped": lambda rows, columns: math.sqrt(rows / columns),
}


def _cut(parts: Mapping[str, tuple[int, ...]], others: str) -> tuple[list[tuple[int, int, int]], list[tuple[int, int]]]:
    """Returns first and last column and height of every matrix, and first and last columns of what lies between them.

    Raises:
        ConfigError: the names of what is no matrix of Muon's are no regular expression.
    """
    try:
        pattern = re.compile(others)
    except re.error as error:
        raise ConfigError(f"muon's adamw_parts is '{others}': expected a regular expression ({error})") from None
    matrices: list[tuple[int, int, int]] = []
    rest: list[tuple[int, int]] = []
    first = 0
    for name, shape in parts.items():
        last = first + math.prod(shape)
        if len(shape) > 1 and not pattern.search(name):
            matrices.append((first, last, shape[0]))
        elif rest and rest[-1][1] == first:
            rest[-1] = (rest[-1][0], last)
        else:
            rest.append((first, last))
        first = last
    return matrices, rest
