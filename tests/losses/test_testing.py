"""The battery for anybody's loss finds every fault it is there to find, and says what and how much."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mapopt.errors import ConfigError
from mapopt.losses import ListLoss, Lists, as_list_loss, check_loss
from mapopt.losses.testing import PROPERTIES, check_parameter


def gaps_of(lists: Lists) -> tuple[Tensor, Tensor]:
    """s_j - s_i ``[lists, n, n]``, and where i is a positive and j a negative."""
    gaps = lists.scores[:, None, :] - lists.scores[:, :, None]
    return gaps, lists.positive[:, :, None] & lists.negative[:, None, :]


class PairLoss(ListLoss):
    """A sound loss: softplus over pairs, per positive."""

    error_rate = False

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        gaps, pairs = gaps_of(lists)
        return {"rank": (torch.nn.functional.softplus(gaps) * pairs).sum((1, 2)) / lists.count.clamp(min=1)}


def faulty(change: Callable[[Tensor, Lists], Tensor], **attributes: Any) -> ListLoss:
    """The sound loss with a change to its value per list."""

    class FaultyLoss(PairLoss):
        def evaluate(self, lists: Lists) -> dict[str, Tensor]:
            return {"rank": change(super().evaluate(lists)["rank"], lists)}

    for name, value in attributes.items():
        setattr(FaultyLoss, name, value)
    return FaultyLoss()


class Scaled(torch.autograd.Function):
    """Twice the gradient, as an update of its own kind."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        return 2 * upstream


class IgnoresUpstream(Scaled):
    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        return torch.ones_like(upstream)


class HidesNaN(PairLoss):
    def lists(self, *data: Any) -> dict[str, Tensor]:
        return {name: value.nan_to_num() for name, value in super().lists(*data).items()}


class KeepsHalf(PairLoss):
    def lists(self, scores: Tensor, *rest: Any) -> dict[str, Tensor]:
        return {name: value.to(scores.dtype) for name, value in super().lists(scores, *rest).items()}


class MeanOfAll(PairLoss):
    def components(self, *data: Any) -> dict[str, Tensor]:
        return {name: value.mean() for name, value in self.lists(*data).items()}


class FirstOne(PairLoss):
    """Pads nothing and forgets nothing, but gives a list without a positive a value."""

    def forward(self, scores: Tensor, *rest: Any) -> Tensor:
        return super().forward(scores, *rest) + 1.0


class Bounds:
    low, high, log = 0.5, 2.0, False


class Steep(PairLoss):
    knobs = {"steepness": Bounds()}
    steepness = 1.0

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        gaps, pairs = gaps_of(lists)
        steepness = self.per_list("steepness", lists)
        gaps = gaps * (steepness[..., None].to(gaps.dtype) if isinstance(steepness, Tensor) else steepness)
        return {"rank": (torch.nn.functional.softplus(gaps) * pairs).sum((1, 2)) / lists.count.clamp(min=1)}


class SteepWithoutAttribute(PairLoss):
    knobs = {"steepness": Bounds()}


class SteepWithoutEffect(PairLoss):
    knobs = {"steepness": Bounds()}
    steepness = 1.0


class SteepForOneLane(Steep):
    def per_list(self, name: str, lists: Lists, **rest: Any) -> float:
        return float(torch.as_tensor(getattr(self, name)).flatten()[0])


def weighted_by_place(value: Tensor, lists: Lists) -> Tensor:
    return value + (lists.scores * torch.arange(lists.scores.shape[-1]) * lists.positive).sum(-1)


def places(value: Tensor, lists: Lists) -> Tensor:
    scores = lists.scores.masked_fill(~(lists.positive | lists.negative), -torch.inf)
    order = scores.argsort(dim=-1, descending=True, stable=True)  # equal scores as they came
    return value + (order.argsort(-1) * lists.positive).sum(-1)


def jagged(value: Tensor, lists: Lists) -> Tensor:
    return value + 1e-6 * (3e6 * lists.scores).sin().sum(-1)


class Detached(PairLoss):
    """Takes the scores out of the graph, but has a weight of its own there."""

    gradient = "error-driven"

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        return {name: self.weight * value.detach() for name, value in super().evaluate(lists).items()}


def wrong_side(scores: Tensor, labels: Tensor, where: Tensor) -> Tensor:
    """A count of mistakes: no slope anywhere."""
    return ((scores > 0) != (labels > 0)).float().mean()


def rounded(scores: Tensor, labels: Tensor, where: Tensor) -> Tensor:
    """In the graph, but the gradient of a rounding is 0."""
    return (scores.sigmoid().round() - labels).square().mean()


FAULTS: list[tuple[str, ListLoss, dict[str, Any], str]] = [
    (
        "gradient",
        Detached(),
        {},
        "it is 0 on every list, though the value is up to .*; expected one to train by: a comp",
    ),
    ("gradient", as_list_loss(wrong_side), {}, "a comparison, rounding, .detach.* keeps it"),
    ("gradient", as_list_loss(rounded), {"exact": False}, "it is 0 on every list"),
    ("value", MeanOfAll(), {}, "a component is .*, expected"),
    (
        "finite",
        faulty(lambda v, lists: v + lists.scores.exp().sum(-1)),
        {},
        "the value at scores of .* is inf",
    ),
    ("order", faulty(weighted_by_place), {}, "the value of a list in another order is .*, expected"),
    ("ties", faulty(places), {}, "of a list in another order is .*, expected"),
    ("padding", faulty(lambda v, lists: v + lists.scores.mean(-1)), {}, "with ignored scores of 0 is .*, expected"),
    ("lists apart", faulty(lambda v, lists: v + v.sum()), {}, "of a list among others is .*, expected"),
    ("no positive", FirstOne(), {}, r"the value without a positive, shape \[5\], is 1, expected 0"),
    ("half precision", KeepsHalf(), {}, "bfloat16 gives a value in torch.bfloat16 .* expected torch.float32"),
    ("nan", HidesNaN(), {}, r"give \[.*\], expected NaN in the last alone"),
    ("upstream", faulty(lambda v, lists: IgnoresUpstream.apply(v)), {}, "the gradient of weighted components"),
    ("attributes", faulty(lambda v, lists: v * lists.labels.sum(-1)), {}, "soft_labels is False, but labels of .9"),
    ("attributes", faulty(lambda v, lists: v, soft_labels=True), {}, "soft_labels is True, but labels of .9"),
    ("attributes", faulty(lambda v, lists: v, pointwise=True), {}, "pointwise is True, but moving a score changes"),
    (
        "differences",
        faulty(lambda v, lists: v + (lists.scores * lists.negative).sum(-1)),
        {"differences_only": True},
        "the value with -8 added to all scores is .*, expected",
    ),
    ("direction", faulty(lambda v, lists: -v), {}, "the gradients of the positives sum to .*, expected at most 0"),
    (
        "direction",
        faulty(lambda v, lists: v - 0.1 * (lists.scores * lists.negative).sum(-1)),
        {"direction": "each"},
        "the gradient of a negative is down to -0.*, expected at least 0",
    ),
    ("exact gradient", faulty(lambda v, lists: Scaled.apply(v)), {}, "the gradient of rank, .* is .*, expected"),
    ("exact gradient", faulty(jagged), {}, "only .* slopes are the same on both sides"),
    ("knobs", SteepWithoutAttribute(), {}, "knob steepness is None at first, expected 0.5 to 2"),
    ("knobs", SteepWithoutEffect(), {}, "0.5 and 2.0 give the same value and gradient"),
    ("knobs", SteepForOneLane(), {}, "of a list with its own value.* is .*, expected"),
]


@pytest.mark.parametrize("loss", [PairLoss(), Steep()], ids=["pairs", "with a knob"])
def test_a_sound_loss_passes(loss: ListLoss) -> None:
    check_loss(loss, direction="each", differences_only=True)


@pytest.mark.parametrize(("name", "loss", "settings", "message"), FAULTS, ids=[f"{row[0]}: {row[3]}" for row in FAULTS])
def test_a_fault_is_found_and_named(name: str, loss: ListLoss, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message) as caught:
        check_loss(loss, properties=[name], **settings)
    assert name == "knobs" or f"fails '{name}': " in str(caught.value)


def test_every_property_has_a_fault_that_it_finds() -> None:
    assert {row[0] for row in FAULTS} == set(PROPERTIES)


@pytest.mark.parametrize("loss", [Detached(), wrong_side, rounded])
def test_a_loss_without_a_gradient_fails_that_property_before_any_other(loss: Any) -> None:
    with pytest.raises(AssertionError, match="fails 'gradient'"):
        check_loss(loss, exact=False, direction="any")


def test_a_loss_that_is_0_everywhere_has_nothing_to_send() -> None:
    check_loss(faulty(lambda v, lists: 0 * v), properties=["gradient"])


def test_what_is_claimed_decides_what_is_checked() -> None:
    doubled = faulty(lambda v, lists: Scaled.apply(v))
    check_loss(doubled, exact=False)
    doubled.gradient = "error-driven"
    check_loss(doubled)
    check_loss(faulty(lambda v, lists: -v), direction="any", properties=["direction"])
    check_loss("focal", {"gamma": 0.0})


def test_a_parameter_is_restored() -> None:
    loss = Steep()
    check_parameter(loss, "steepness", (0.5, 1.5))
    assert loss.steepness == 1.0


def test_an_unknown_property_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown property of a loss 'tise': did you mean 'ties'"):
        check_loss(PairLoss(), properties=["tise"])
