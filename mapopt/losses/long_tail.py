"""Losses for long tails: what an entry costs depends on how rare its class is, or on how its class is doing.

The first follows in closed form from the classes' frequencies. The second keeps what has pulled each class up and down
so far, so it has a state, which belongs to the detector that it trains.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mapopt.errors import ConfigError
from mapopt.losses.pointwise import PointwiseLoss, signed, surprise
from mapopt.losses.sums.lists import Lists, accumulation_type, totals


class EffectiveClassMarginLoss(PointwiseLoss):
    """Effective class-margin loss (ECM): cross-entropy of the logit 2 s - log(r) / 4, times r log(1 + 1 / r).

    r is how many negatives there are for every positive of the entry's class: with f the fraction of all objects that
    are of it, r = (1 + background) / f - 1. So a rare class has to be separated from the rest by a wider margin. The
    margins are those of training; a detector reports the sigmoid of s. Per positive. Component: ``rank``.

    f is the fact ``"frequencies"``, in (0, 1]. Where it is not given, it is 1: there is one class.

    Args:
        background: how many samples are background for every object; a number or a tensor.
        weight: factor of every entry; a number, or a tensor that broadcasts to the scores.

    Reference:
        Cho, Kraehenbuehl, "Long-tail Detection with Effective Class-Margins", ECCV 2022, with the ratio of background
        of the authors' code, which is Mask R-CNN's. Differs: no class of its own for the background, and no normalized
        last layer; per positive, not per sampled proposal.

    Example:
        >>> frequencies = torch.tensor([0.9, 0.1])[:, None]  # [classes, 1]: a list per class
        >>> loss = EffectiveClassMarginLoss()
        >>> lists = loss.lists(torch.zeros(2, 2), torch.tensor([[1.0, 0.0]] * 2), facts={"frequencies": frequencies})
        >>> lists["rank"]
        tensor([1.3535, 1.6486])
    """

    reads = ("frequencies",)

    def __init__(self, background: float | Tensor = 6.3313, *, weight: float | Tensor = 1.0) -> None:
        super().__init__(weight=weight)
        self.background = background

    def entries(self, lists: Lists) -> Tensor:
        """Computes what each entry costs, ``[lists, n]``."""
        frequencies = lists.facts.get("frequencies", torch.ones_like(lists.scores)).to(lists.scores.dtype)
        ratio = (1.0 + self.per_list("background", lists, above=0.0)) / frequencies - 1.0
        margin = signed(lists, 2.0 * lists.scores - ratio.log() / 4.0)
        return ratio * (1.0 / ratio).log1p() * surprise(margin)


class EqualizedFocalLoss(PointwiseLoss):
    """Equalized focal loss (EFL): focal loss that focuses more, and weighs more, the more its class is pulled down.

    With g the sum of the gradients that have pulled the scores of a class up so far, over the sum of those that have
    pulled them down, at most 1: alpha_t (c / base_gamma) (1 - p_t)^c (-log p_t), c = base_gamma + scale (1 - g). A rare
    class has few positives to pull it up. Per positive. Component: ``rank``.

    What has pulled is kept in the buffers ``raised`` and ``lowered``, ``[lanes, classes]``, from `prepare` on; before,
    every g is 1, and this is focal loss. The class of an entry is the fact ``"classes"``; where it is not given, every
    list is a class, and there are lanes x classes of them. A call learns from what it is given, after its value; it
    learns nothing in eval mode, and nothing from scores that require no gradient.

    Args:
        alpha: weight of the positives; the negatives have 1 - alpha. A number or a tensor.
        base_gamma: how fast easy examples fade out in a class with g = 1; a number or a tensor.
        scale: how much more a class with g = 0 focuses; a number or a tensor.
        weight: factor of every entry, which does not touch what is remembered; a number, or a tensor that broadcasts
            to the scores.

    Reference:
        Li, Yao, Tan, Zhang, Yu, Lu, Luo, "Equalized Focal Loss for Dense Long-Tailed Object Detection", CVPR 2022.
        Differs: the gradients are those of this loss, per positive, in closed form, before any weight; the published
        code collects them on their way back.

    Example:
        >>> loss = EqualizedFocalLoss()
        >>> loss.prepare(lanes=1, classes=2)
        >>> scores = torch.zeros(2, 3, requires_grad=True)  # a list per class; the second has no positive
        >>> value = loss(scores, torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
        >>> loss.ratios
        tensor([[0.1667, 0.0000]], dtype=torch.float64)
    """

    reads = ("classes",)
    remembers = ("raised", "lowered")
    raised: Tensor | None
    lowered: Tensor | None

    def __init__(
        self,
        alpha: float | Tensor = 0.25,
        base_gamma: float | Tensor = 2.0,
        scale: float | Tensor = 8.0,
        *,
        weight: float | Tensor = 1.0,
    ) -> None:
        super().__init__(weight=weight)
        self.alpha = alpha
        self.base_gamma = base_gamma
        self.scale = scale
        for name in self.remembers:
            self.register_buffer(name, None)

    def prepare(self, *, lanes: int, classes: int, device: torch.device | str = "cpu") -> None:
        """Makes room for what pulls each class of each lane; see `ListLoss.prepare`."""
        for name in self.remembers:
            kind = accumulation_type(torch.device(device))
            setattr(self, name, torch.zeros((lanes, classes), dtype=kind, device=device))

    @property
    def ratios(self) -> Tensor:
        """What pulled each class up over what pulled it down, at most 1, ``[lanes, classes]``; 1 before anything did.

        Raises:
            ConfigError: there is no room for them yet.
        """
        if self.raised is None or self.lowered is None:
            raise ConfigError("EqualizedFocalLoss knows of no classes yet: call prepare(lanes=..., classes=...) first")
        ratios = (self.raised / (self.lowered + _SMALLEST_PULL)).clamp(max=1.0)
        return torch.where((self.raised == 0) & (self.lowered == 0), 1.0, ratios)

    def entries(self, lists: Lists) -> Tensor:
        """Computes what each entry costs, ``[lists, n]``."""
        base = self.per_list("base_gamma", lists, above=0.0)
        margin = signed(lists)
        loss = surprise(margin)
        slots = self._slots(lists) if self.remembered() else None
        lag = 0.0 if slots is None else (1.0 - self.ratios).flatten()[slots]
        gamma = base + self.per_list("scale", lists) * lag
        alpha = self.per_list("alpha", lists)
        weight = (lists.positive * (2.0 * alpha - 1.0) + (1.0 - alpha)) * gamma / base
        fading = weight * (-gamma * (margin + loss)).exp()  # margin + surprise(margin) = -log(1 - p_t)
        if slots is not None and self.training and lists.scores.requires_grad:
            with torch.no_grad():
                # The derivative of fading x loss by the margin, without its sign.
                pull = fading * ((-(margin + loss)).exp() + gamma * (-loss).exp() * loss)
                self._learn(pull / self.normalizer(lists)[:, None], slots, lists)
        return (fading * loss).to(loss.dtype)

    def _slots(self, lists: Lists) -> Tensor:
        """Returns where in ``[lanes x classes]`` the class of each entry is, ``[lists, n]`` or ``[lists, 1]``."""
        assert self.raised is not None
        lanes, classes = self.raised.shape
        number = len(lists.scores)
        place = torch.arange(number, device=lists.scores.device)[:, None]
        if "classes" in lists.facts and number % lanes == 0:
            return place // (number // lanes) * classes + lists.facts["classes"].to(place.dtype)
        if "classes" not in lists.facts and number == lanes * classes:
            return place
        raise ConfigError(
            f"EqualizedFocalLoss was prepared for {lanes} lanes and {classes} classes, but got {number} lists"
            + (
                f": expected a number that {lanes} divides"
                if "classes" in lists.facts
                else f" and no facts 'classes': expected a list for each class of each lane, {lanes * classes}"
            )
        )

    def _learn(self, pull: Tensor, slots: Tensor, lists: Lists) -> None:
        for name, entries in (("raised", lists.positive), ("lowered", lists.negative)):
            kept = getattr(self, name)
            index, values = slots.expand(pull.shape)[entries], pull[entries].to(kept.dtype)
            kept += totals(index, values, kept.numel()).view(kept.shape)


_SMALLEST_PULL = 1e-10  # added to what pulls down, as in the authors' code
