"""A call that is compiled whole has the bits of the members' own formulas, and leaves to them what it cannot do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from mapopt.errors import ConfigError, DataError
from mapopt.losses import ALRPLoss, APLoss, ListLoss, MeanAPLoss, RankSortLoss
from mapopt.losses.sums import engines
from mapopt.losses.sums.dominance import LARGEST_MATRIX

LOSSES = [
    APLoss(),
    APLoss(0.3, interpolate=False),
    RankSortLoss(),
    RankSortLoss(2.0),
    ALRPLoss(),
    ALRPLoss(0.1),
    MeanAPLoss(),
    MeanAPLoss(0.5, floor=0.1),
]

Problem = tuple[Tensor, Tensor, Tensor | None]


@pytest.fixture(autouse=True)
def kernels() -> Iterator[None]:
    """Loads the kernels, for one test."""
    with engines.without_kernels():
        assert engines.load_kernels()
        yield


class Formulas:
    """A loss without its compiled pass."""

    def __init__(self, loss: ListLoss) -> None:
        self._class = type(f"Own{type(loss).__name__}", (type(loss),), {})
        self._loss = loss

    def __enter__(self) -> ListLoss:
        self._kind, self._loss.__class__ = type(self._loss), self._class
        return self._loss

    def __exit__(self, *_: object) -> None:
        self._loss.__class__ = self._kind


def drawn(
    seed: int, shape: tuple[int, ...], fraction: float, dtype: torch.dtype, *, ties: bool = False, mask: bool = True
) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(shape, generator=generator, dtype=dtype)
    labels = torch.rand(shape, generator=generator, dtype=dtype) * (torch.rand(shape, generator=generator) < fraction)
    if ties:
        scores, labels = scores.round(), (4 * labels).ceil() / 4
    return scores, labels, torch.rand(shape, generator=generator) < 0.8 if mask else None


def some_without(dtype: torch.dtype) -> Problem:
    """Lists without a positive, without a negative, and without anything that counts."""
    scores, labels, where = drawn(1, (4, 50), 0.3, dtype)
    labels[0], labels[1] = 0.0, 0.5
    assert where is not None
    where[2] = False
    return scores, labels, where


def of_positives(number: int) -> Callable[[torch.dtype], Problem]:
    def make(dtype: torch.dtype) -> Problem:
        scores, labels, _ = drawn(number, (2, LARGEST_MATRIX + 90), 1.0, dtype)
        labels[0, number:], labels[1, 5:] = 0.0, 0.0
        return scores, labels.clamp(min=0.01) * (labels > 0), None

    return make


PROBLEMS: dict[str, Callable[[torch.dtype], Problem]] = {
    "one short list": lambda dtype: drawn(2, (37,), 0.2, dtype, mask=False),
    "one entry": lambda dtype: drawn(3, (1, 1), 1.0, dtype, mask=False),
    "lanes and classes": lambda dtype: drawn(4, (3, 2, 200), 0.1, dtype),
    "ties": lambda dtype: drawn(5, (5, 150), 0.3, dtype, ties=True),
    "ties of one list": lambda dtype: drawn(6, (1, 400), 0.3, dtype, ties=True),
    "far apart": lambda dtype: (1e6 * drawn(7, (2, 60), 0.3, dtype)[0], *drawn(7, (2, 60), 0.3, dtype)[1:]),
    "some without positives or negatives": some_without,
    "no positive at all": lambda dtype: drawn(8, (2, 20), 0.0, dtype),
    "no negative at all": lambda dtype: drawn(9, (2, 20), 1.0, dtype, mask=False),
    "many positives": lambda dtype: drawn(10, (2, 700), 0.6, dtype),
    "as many as go pair by pair": of_positives(LARGEST_MATRIX),
    "one more": of_positives(LARGEST_MATRIX + 1),
}


def bits(values: Tensor) -> Tensor:
    """Returns numbers as whole numbers, in which 0 and -0 differ and NaN is equal to itself."""
    return values.view({torch.float32: torch.int32, torch.float64: torch.int64}[values.dtype])


def by_list(loss: ListLoss, problem: Problem, seed: int = 0) -> tuple[list[Tensor], str]:
    """Returns every component, and the gradient where each is weighed by its own random number."""
    scores = problem[0].clone().requires_grad_()
    values = loss.lists(scores, *problem[1:])
    generator = torch.Generator().manual_seed(seed)
    moving = [value for value in values.values() if value.requires_grad]
    weights = [torch.randn(value.shape, generator=generator, dtype=value.dtype) for value in moving]
    (gradient,) = torch.autograd.grad(moving, scores, weights)
    return [*(value.detach() for value in values.values()), gradient], type(moving[0].grad_fn).__name__


def together(loss: ListLoss, problem: Problem, factor: float = -1.3) -> tuple[list[Tensor], str]:
    """Returns the loss, and its gradient times a factor."""
    scores = problem[0].clone().requires_grad_()
    value = loss(scores, *problem[1:])
    (gradient,) = torch.autograd.grad(value * factor, scores)
    return [value.detach(), gradient], type(value.grad_fn).__name__


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_one_pass_has_the_bits_of_the_formulas(loss: ListLoss, problem: str, dtype: torch.dtype) -> None:
    given = PROBLEMS[problem](dtype)
    for call, node in ((by_list, "_ListsBackward"), (together, "_ValueBackward")):
        compiled, kind = call(loss, given)
        with Formulas(loss) as formulas:
            expected, other = call(formulas, given)
        tree = problem == "one more" and isinstance(loss, RankSortLoss | MeanAPLoss)
        assert (kind == node) is not tree
        assert other != node
        for value, reference in zip(compiled, expected, strict=True):
            assert value.dtype == reference.dtype
            assert torch.equal(bits(value), bits(reference))


@pytest.mark.parametrize("loss", LOSSES[::2], ids=str)
def test_random_lists_have_the_bits_of_the_formulas(loss: ListLoss) -> None:
    moved = 0
    for seed in range(40):
        lists, size = seed % 4 + 1, 3 * seed + 1
        given = drawn(seed, (lists, size), (0.05, 0.3, 0.7)[seed % 3], torch.float32, ties=seed % 2 > 0)
        for call in (by_list, together):
            compiled, _ = call(loss, given)
            with Formulas(loss) as formulas:
                expected, _ = call(formulas, given)
            moved += int(expected[-1].count_nonzero())
            for value, reference in zip(compiled, expected, strict=True):
                assert torch.equal(bits(value), bits(reference))
    assert moved > 1000


@pytest.mark.parametrize("loss", LOSSES[::2], ids=str)
def test_what_comes_back_to_a_list_without_a_positive_is_ignored(loss: ListLoss) -> None:
    scores, labels, where = some_without(torch.float32)
    scores.requires_grad_()
    values = [value for value in loss.lists(scores, labels, where).values() if value.requires_grad]
    upstream = torch.tensor([math.nan, 1.0, math.inf, 1.0])
    (gradient,) = torch.autograd.grad(values, scores, [upstream] * len(values))
    assert gradient.isfinite().all()
    assert gradient[3].any()


@pytest.mark.parametrize("loss", LOSSES[::2], ids=str)
def test_a_parameter_is_read_at_every_call(loss: ListLoss) -> None:
    given, values = drawn(0, (2, 60), 0.3, torch.float64), []
    before = loss.delta
    for delta in (1.0, 0.2):
        loss.delta = delta
        compiled, _ = together(loss, given)
        with Formulas(loss) as formulas:
            expected, _ = together(formulas, given)
        assert torch.equal(compiled[1], expected[1])
        values.append(compiled[0].item())
    loss.delta = before
    assert values[0] != values[1]


def test_labels_that_ask_for_a_gradient_get_one_where_there_is_one() -> None:
    scores, labels, where = drawn(0, (2, 60), 0.3, torch.float32)
    for loss, moves in ((APLoss(), False), (RankSortLoss(), False), (ALRPLoss(), True), (MeanAPLoss(), True)):
        given, targets = scores.clone().requires_grad_(), labels.clone().requires_grad_()
        value = loss(given, targets, where)
        value.backward()
        assert (type(value.grad_fn).__name__ == "_ValueBackward") is not moves
        assert (targets.grad is not None and bool(targets.grad.any())) is moves
        alone, _ = together(loss, (scores, labels, where), 1.0)
        assert torch.equal(alone[1], given.grad)


class Halved(APLoss):
    """AP-loss by half."""

    def evaluate(self, lists):
        return {"rank": super().evaluate(lists)["rank"] / 2}


def test_a_loss_of_ones_own_that_is_made_of_ours_computes_what_it_says() -> None:
    given = drawn(0, (2, 60), 0.3, torch.float32)
    assert together(Halved(), given)[0][0] == together(APLoss(), given)[0][0] / 2


class HalfReached(MeanAPLoss):
    """Mean AP of boxes that reach half as many thresholds."""

    def quality(self, ious, lists):
        return ious / 2


def test_another_quality_of_boxes_counts() -> None:
    given = drawn(0, (2, 60), 0.3, torch.float32)
    assert HalfReached().components(*given)["localization"] > MeanAPLoss(floor=0.0).components(*given)["localization"]
    assert together(HalfReached(), given)[0][0] != together(MeanAPLoss(floor=0.0), given)[0][0]


def plain(call: Callable[[], Tensor]) -> Tensor:
    """Returns a value that was not computed in one pass."""
    value = call()
    assert type(value.grad_fn).__name__ not in ("_ValueBackward", "_ListsBackward")
    return value


def test_what_one_pass_cannot_do_is_computed_by_the_formulas() -> None:
    scores, labels, where = drawn(0, (2, 60), 0.3, torch.float32)
    assert where is not None
    scores.requires_grad_()
    loss = APLoss()
    value = loss(scores, labels, where)
    assert type(value.grad_fn).__name__ == "_ValueBackward"
    half = plain(lambda: loss(scores.half(), labels, where))
    assert half.item() == pytest.approx(value.item(), abs=1e-2)
    assert plain(lambda: loss(scores, labels, where.float())) == value
    assert plain(lambda: APLoss(torch.tensor([1.0, 1.0]))(scores, labels, where)) == value
    assert plain(lambda: ALRPLoss()(scores, labels.clone().requires_grad_(), where)).isfinite()
    assert plain(lambda: APLoss(gradient="exact")(scores, labels, where)) == value
    assert plain(lambda: MeanAPLoss(thresholds="coco")(scores, labels, where)).isfinite()
    assert plain(lambda: loss(scores, labels - 0.1, where)).isfinite()
    assert plain(lambda: loss(torch.where(where, scores, torch.nan), labels, where)).isfinite()
    assert plain(lambda: loss(torch.where(where, torch.nan, scores), labels, where)).isnan()
    with engines.without_kernels():
        assert plain(lambda: loss(scores, labels, where)) == value


def test_wrong_input_is_refused_as_ever() -> None:
    scores, labels, _ = drawn(0, (2, 60), 0.3, torch.float32)
    with pytest.raises(ConfigError, match="expected a number above 0"):
        APLoss(0.0)(scores, labels)
    with pytest.raises(ConfigError, match="from 0 to 1"):
        MeanAPLoss(floor=2.0)(scores, labels)
    with pytest.raises(DataError, match="one label for each score"):
        APLoss()(scores, labels[:, 1:])
    with pytest.raises(DataError, match="labels go up to"):
        RankSortLoss()(scores, labels + 1.0)
    with pytest.raises(DataError, match="where has shape"):
        RankSortLoss()(scores, labels, torch.ones(3, dtype=torch.bool))
    with pytest.raises(DataError, match="does not broadcast"):
        APLoss()(scores, labels, facts={"classes": torch.zeros(3)})
