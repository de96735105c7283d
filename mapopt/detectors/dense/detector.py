"""A dense detector of many lanes: a network, the boxes its numbers mean, what it minimizes, and post-processing."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from mapopt.detectors.dense.geometry import Priors, decode, make_priors
from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.dense.rows import RowModule
from mapopt.detectors.dropout import dropping
from mapopt.detectors.half_precision import half_precision
from mapopt.detectors.interface import CONSTANT, Detector, KnobTable, Targets, join_batch
from mapopt.detectors.request import HalfPrecision
from mapopt.detectors.reward.term import RewardTerm
from mapopt.losses.sums.evenly import evenly
from mapopt.postprocessing.boxes import Boxes
from mapopt.postprocessing.suppression import take_candidates


class Network(Protocol):
    """What turns images into class logits and box deltas, as a function of weights and images.

    A large network of one lane may have ``bind(weights)``, which returns a `RowModule` that keeps the gradient, and
    ``constants()``, tensors by name that it computes with and never trains.
    """

    classes: int
    strides: tuple[int, ...]
    prior_sizes: tuple[float, ...]
    parameters: int

    def decay_mask(self) -> Tensor:
        """Returns float ``[n]``: 1 where weight decay applies."""

    def draw(self, seed: int) -> Tensor:
        """Returns fresh weights ``[n]``."""

    def parts(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of its parameters by name, in order."""

    def classes_of(self, part: str) -> list[int]:
        """Returns the class of every row of a parameter that grows with the classes, or -1."""

    def forward(self, weights: Tensor, images: Tensor) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
        """Returns class logits, box deltas and the sizes of the maps."""


class DenseDetector(Detector):
    """One prior per location, class and box numbers from a network, lanes wherever the network has them.

    Args:
        network: the network.
        loss: what to minimize.
        reward: what stands in for the class loss, as far as the knob ``surrogate_weight`` says; None for nothing.
        lanes: independent sets of weights.
        size: (height, width) of the images in pixels.
        device: where the weights live.
        autocast: run the network in bfloat16 or float16.
    """

    def __init__(
        self,
        network: Network,
        loss: DenseLoss,
        *,
        reward: RewardTerm | None = None,
        lanes: int,
        size: tuple[int, int],
        device: torch.device | str = "cpu",
        autocast: HalfPrecision = "none",
    ) -> None:
        self.network, self.loss, self.reward = network, loss, reward
        self.lanes, self.classes, self.size = lanes, network.classes, size
        self.device = torch.device(device)
        self.autocast = autocast
        self.decay = network.decay_mask().to(self.device)
        self.weights = torch.zeros((lanes, network.parameters), device=self.device).requires_grad_()
        self.loss.prepare(lanes=lanes, classes=self.classes, device=self.device)
        self._priors: dict[tuple[tuple[int, int], ...], Priors] = {}
        self._bound: RowModule | None = None
        self._bind()

    def _bind(self) -> None:
        bind = getattr(self.network, "bind", None)
        self._bound = bind(self.weights) if bind else None

    def __getstate__(self) -> dict[str, Any]:
        # Copies, by `copy.deepcopy` or `pickle`, have weights of their own, and bind their own network to them.
        return {**vars(self), "_bound": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._bind()

    def initialize(self, lane: int, seed: int) -> None:
        """Draws the weights of one lane."""
        with torch.no_grad():
            self.weights[lane] = self.network.draw(seed).to(self.device)
            self.loss.forget(lane)

    def weigh_classes(self, lane: int, weights: Tensor) -> None:
        """Sets the factors ``[classes]`` of a pointwise class loss's terms or of a ranking's lists, of one lane."""
        self.loss.weigh_classes(lane, weights.to(self.device), lanes=self.lanes)

    def count_classes(self, lane: int, counts: Tensor) -> None:
        """Says how many objects of each class ``[classes]`` one lane has to train on."""
        self.loss.count_classes(lane, counts.to(self.device), lanes=self.lanes)

    def losses(self, images: Tensor, targets: Targets, knobs: KnobTable, *, seed: int = 0) -> dict[str, Tensor]:
        """Returns the weighted losses per lane; see `Detector.losses`."""
        self.loss.components = self.components
        with dropping(getattr(self.network, "module", None), seed, self.processes):
            logits, boxes, priors = self.outputs(images)
        logits, boxes, targets = join_batch(self.processes, logits, boxes, targets)
        if self.reward is None:
            return self.loss(logits, boxes, priors, targets, knobs)
        fraction = knobs["surrogate_weight"]
        terms = self.loss(logits, boxes, priors, targets, knobs | {"surrogate_weight": torch.ones_like(fraction)})
        if bool((fraction > 0).any()):
            size = (images.shape[-2], images.shape[-1])
            reward = self.reward(logits, boxes, targets, knobs, size=size, class_weights=self.loss.class_weights)
            if self.components is not None:
                self.components["reward"] = reward.detach()
            terms["class"] = (1 - fraction) * terms["class"] + fraction * knobs["class_weight"] * reward
        return terms

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor, Priors]:
        """Returns class logits ``[lanes, batch, locations, classes]``, boxes ``[..., 4]`` and the locations."""
        with half_precision(self.device, self.autocast):
            logits, deltas, maps = self.network.forward(self.weights, images)
        key = tuple(maps)
        if key not in self._priors:
            made = make_priors(maps, self.network.strides, self.network.prior_sizes)
            self._priors[key] = Priors(*(getattr(made, name).to(self.device) for name in made.__dataclass_fields__))
        return logits.float(), decode(deltas.float(), self._priors[key]), self._priors[key]

    @torch.no_grad()
    def candidates(self, images: Tensor, knobs: KnobTable) -> Boxes:
        """Returns the boxes before suppression; see `Detector.candidates`."""
        logits, boxes, _ = self.outputs(images)
        return take_candidates(boxes, evenly(torch.sigmoid, logits), knobs["score_threshold"], size=self.size)

    def gradient(self) -> Tensor:
        """Returns the gradient; see `Detector.gradient`."""
        return self._bound.gradient() if self._bound else super().gradient()

    def clear_gradient(self) -> None:
        """Forgets the gradient."""
        if self._bound:
            self._bound.clear()
        super().clear_gradient()

    def parts(self) -> dict[str, tuple[int, ...]]:
        """Returns the network's parameters; see `Detector.parts`."""
        return self.network.parts()

    def classes_of(self, part: str) -> list[int]:
        """Returns whose logits the rows of the last layer are; see `Detector.classes_of`."""
        return self.network.classes_of(part)

    @property
    def min_lanes(self) -> int:
        """As the network says; see `Detector.min_lanes`."""
        says = getattr(self.network, "min_lanes", None)
        return super().min_lanes if says is None else int(says(self.weights))

    def buffers(self) -> dict[str, Tensor]:
        """Returns what the loss remembers, and the network's constants; there are no running statistics."""
        constants: dict[str, Tensor] = getattr(self.network, "constants", dict)()
        return self.loss.buffers() | {f"{CONSTANT}{name}": value[None] for name, value in constants.items()}
