"""The properties that every loss of the family has, each a check that fails with the numbers it met.

They are what a detector relies on: lists do not mix, padding and the order of the input do not matter, and no score,
however extreme, makes a number that is not finite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from mapopt.losses.base import ListLoss
from mapopt.losses.silence import CAUSES, silent_value


@dataclass(frozen=True, kw_only=True)
class Case:
    """A loss, what is claimed of it, and the property that is being checked."""

    loss: ListLoss
    name: str
    property: str = ""
    exact: bool = True
    direction: str = "sum"
    differences_only: bool = False
    smooth_at_ties: bool = True
    seed: int = 0

    def fail(self, detail: str) -> NoReturn:
        """Raises AssertionError with the names of the loss and of the property."""
        raise AssertionError(f"{self.name} fails '{self.property}': {detail}")

    def same(self, what: str, given: Tensor, expected: Tensor, *, tolerance: float = 1e-9) -> None:
        """Fails unless two tensors agree, relative to the larger of 1 and their size, with equal NaN."""
        if given.shape != expected.shape:
            self.fail(f"{what} has shape {list(given.shape)}, expected {list(expected.shape)}")
        bounds = tolerance * expected.abs().nan_to_num(1.0).clamp(min=1.0)
        wrong = ~((given - expected).abs() <= bounds) & ~(given.isnan() & expected.isnan())
        if wrong.any():
            self.fail(f"{what} is {given[wrong][0].item():.9g}, expected {expected[wrong][0].item():.9g}")

    def evaluate(self, scores: Tensor, labels: Tensor, where: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns the components ``[components, ...]``, and the gradient of their sum with respect to the scores."""
        scores = scores.clone().requires_grad_()
        values = torch.stack(list(self.loss.lists(scores, labels, where).values()))
        if not values.requires_grad:
            self.fail("the value carries no gradient, expected one that leads back to the scores")
        (gradient,) = torch.autograd.grad(values.sum(), scores, allow_unused=True)
        return values.detach(), torch.zeros_like(scores) if gradient is None else gradient

    def problems(self, *, ties: bool = False, number: int = 6) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yields scores, labels and where ``[rows, n]``, some rows without positives or without negatives."""
        for index in range(number):
            generator = torch.Generator().manual_seed(1000 * self.seed + index)
            rows, size = 3, (1, 4, 12, 25, 40)[index % 5]
            scores = torch.randn(rows, size, generator=generator, dtype=torch.float64) * (0.5, 3.0)[index % 2]
            fractions = torch.tensor([0.2, 0.5, (0.0, 1.0)[index % 2]])[:, None]
            labels = 0.01 + 0.99 * torch.rand(rows, size, generator=generator, dtype=torch.float64)
            if ties:
                scores, labels = scores.round(), (4 * labels).ceil() / 4
            labels = labels * (torch.rand(rows, size, generator=generator) < fractions)
            yield scores, labels, torch.rand(rows, size, generator=generator) < (0.7, 1.0)[index % 3 == 0]


def one_problem(seed: int, shape: tuple[int, ...], *, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Returns scores and labels of a shape, a fifth of them positives, at least one in every list."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(shape, generator=generator, dtype=dtype)
    labels = torch.rand(shape, generator=generator, dtype=dtype) * (torch.rand(shape, generator=generator) < 0.2)
    labels[..., 0] = 0.8
    return scores, labels


def check_parameter(loss: ListLoss, name: str, values: tuple[float, float], *, seed: int = 0) -> None:
    """Checks that lists can have their own values of a parameter, and that it matters.

    Args:
        loss: its attribute is changed, and restored.
        name: of the attribute.
        values: two of them.
        seed: of the lists.

    Raises:
        AssertionError: the two values give the same loss and gradient, or a tensor of both does not give each list what
            its value gives it alone.
    """
    case = Case(loss=loss, name=getattr(loss, "name", type(loss).__name__), property=f"parameter {name}", seed=seed)
    scores, labels = one_problem(seed, (2, 3, 50), dtype=torch.float32)
    default = getattr(loss, name)
    try:
        apart = []
        for lane, value in enumerate(values):
            setattr(loss, name, value)
            apart.append(case.evaluate(scores[lane], labels[lane]))
        setattr(loss, name, values[0])
        other, other_gradient = case.evaluate(scores[1], labels[1])
        if torch.equal(other, apart[1][0]) and torch.equal(other_gradient, apart[1][1]):
            case.fail(f"{values[0]} and {values[1]} give the same value and gradient, expected that it matters")
        for shape in [(2, 1), (2, 1, 1)]:
            setattr(loss, name, torch.tensor(values).reshape(shape))
            together, gradient = case.evaluate(scores, labels)
            what = f"of a list with its own value, from a tensor {list(shape)}"
            for lane in range(2):
                case.same(f"the value {what}", together[:, lane], apart[lane][0], tolerance=1e-5)
                case.same(f"the gradient {what}", gradient[lane], apart[lane][1], tolerance=1e-5)
    finally:
        setattr(loss, name, default)


def _gradient(case: Case) -> None:
    value = silent_value(case.loss, seed=case.seed)
    if value:
        case.fail(
            f"it is 0 on every list, though the value is up to {value:.3g}; expected one to train by: {CAUSES} away"
        )


def _value(case: Case) -> None:
    for scores, labels, where in case.problems():
        value = case.loss(scores, labels, where)
        if value.shape != () or not value.is_floating_point():
            case.fail(f"the value is of {value.dtype} and shape {list(value.shape)}, expected a floating scalar")
        lists = torch.stack(list(case.loss.lists(scores, labels, where).values()))
        ranked = ((labels > 0) & where).any(-1)
        mean = lists[:, ranked].mean(-1) if ranked.any() else torch.zeros(len(lists), dtype=lists.dtype)
        case.same("a component", torch.stack(list(case.loss.components(scores, labels, where).values())), mean)
        case.same("the value, the sum of the components,", value, mean.sum())
    scores, labels = one_problem(case.seed, (2, 3, 4, 9))
    values = torch.stack(list(case.loss.lists(scores, labels).values()))
    flat = torch.stack(list(case.loss.lists(scores.flatten(0, 2), labels.flatten(0, 2)).values()))
    case.same("a value per list", values, flat.reshape(-1, 2, 3, 4))


def _finite(case: Case) -> None:
    labels = torch.tensor([[1.0, 0.4, 0.0, 0.0, 0.7, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    scores = torch.tensor([[1.0, -1.0, 1.0, -1.0, 1e-4, 0.0], [1.0, -1.0, 0.0, 0.5, 1.0, -1.0]])
    for dtype in (torch.float32, torch.float64):
        for size in (1e4, -1e4):
            values, gradient = case.evaluate(scores.to(dtype) * size, labels.to(dtype))
            for what, numbers in (("value", values), ("gradient", gradient)):
                if not numbers.isfinite().all():
                    wrong = numbers[~numbers.isfinite()][0].item()
                    case.fail(f"the {what} at scores of {size:g} in {dtype} is {wrong}, expected a finite number")


def _order(case: Case, *, ties: bool = False) -> None:
    for scores, labels, where in case.problems(ties=ties):
        order = torch.randperm(scores.shape[-1], generator=torch.Generator().manual_seed(case.seed))
        values, gradient = case.evaluate(scores, labels, where)
        shuffled, moved = case.evaluate(scores[:, order], labels[:, order], where[:, order])
        case.same("the value of a list in another order", shuffled, values)
        if not ties or case.smooth_at_ties:
            case.same("the gradient of a list in another order", moved, gradient[:, order])


def _ties(case: Case) -> None:
    _order(case, ties=True)


def _padding(case: Case) -> None:
    for scores, labels, where in case.problems():
        values, gradient = case.evaluate(scores, labels, where)
        for ignored in (0.0, 1e4, -1e4, float("nan"), float("inf")):
            padding = torch.full((scores.shape[0], 7), ignored, dtype=scores.dtype)
            kept = torch.cat([torch.zeros_like(padding, dtype=torch.bool), where], -1)
            long_labels = torch.cat([padding.clamp(0, 1), labels], -1)
            padded, longer = case.evaluate(torch.cat([padding, scores], -1), long_labels, kept)
            case.same(f"the value with ignored scores of {ignored:g}", padded, values)
            case.same("the gradient of an ignored score", longer[~kept], torch.zeros_like(longer[~kept]), tolerance=0.0)
            case.same(f"the gradient with ignored scores of {ignored:g}", longer[:, 7:], gradient)


def _lists_apart(case: Case) -> None:
    for scores, labels, where in case.problems():
        values, gradient = case.evaluate(scores, labels, where)
        for row in range(len(scores)):
            alone, alone_gradient = case.evaluate(scores[row], labels[row], where[row])
            case.same("the value of a list among others", values[:, row], alone)
            case.same("the gradient of a list among others", gradient[row], alone_gradient)


def _no_positive(case: Case) -> None:
    for shape in [(5,), (3, 7), (2, 0, 4), (3, 0), (0, 5), (0,)]:
        number = torch.Size(shape).numel()
        scores = torch.linspace(-3, 3, max(1, number))[:number].reshape(shape).requires_grad_()
        value = case.loss(scores, torch.zeros(shape))
        if value.item() != 0:
            case.fail(f"the value without a positive, shape {list(shape)}, is {value.item():g}, expected 0")
        if not value.requires_grad:
            case.fail("the value without a positive carries no gradient, expected one of zeros")
        (gradient,) = torch.autograd.grad(value, scores)
        if gradient.any():
            case.fail(f"the gradient without a positive is up to {gradient.abs().max():g}, expected zeros")


def _half(case: Case) -> None:
    scores, labels = one_problem(case.seed, (2, 300))
    for dtype in (torch.bfloat16, torch.float16):
        values, gradient = case.evaluate(scores.to(dtype), labels.to(dtype))
        single, single_gradient = case.evaluate(scores.to(dtype).float(), labels.to(dtype).float())
        if values.dtype != torch.float32 or gradient.dtype != dtype:
            case.fail(
                f"{dtype} gives a value in {values.dtype} and a gradient in {gradient.dtype}, expected torch.float32 "
                f"and {dtype}"
            )
        case.same(f"the value in {dtype}", values, single, tolerance=0.01)
        size = single_gradient.abs().max()
        case.same(
            f"the gradient in {dtype}, relative,", gradient.float() / size, single_gradient / size, tolerance=0.01
        )


def _nan(case: Case) -> None:
    scores, labels = torch.zeros(3, 4), torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(3, 1)
    scores[0, 1] = scores[2, 0] = torch.nan
    where = torch.ones(3, 4, dtype=torch.bool)
    where[0, 1] = False
    for value in case.loss.lists(scores, labels, where).values():
        if value.isnan().tolist() != [False, False, True]:
            case.fail(
                f"lists with a NaN ignored, none, and one NaN give {value.tolist()}, expected NaN in the last alone"
            )
    for value in (case.loss(scores, labels, where), case.loss(scores[1:2], labels[1:2] * torch.nan)):
        if not value.isnan():
            case.fail(f"the value with a NaN score or label is {value.item():g}, expected NaN")


def _upstream(case: Case) -> None:
    for scores, labels, where in case.problems():
        scores = scores.clone().requires_grad_()
        rows = torch.arange(1.0, len(scores) + 1, dtype=scores.dtype)
        total, expected = torch.zeros((), dtype=scores.dtype), torch.zeros_like(scores)
        for weight, value in enumerate(case.loss.lists(scores, labels, where).values(), start=2):
            if value.requires_grad:  # a localization part may depend on the labels alone
                (gradient,) = torch.autograd.grad(value.sum(), scores, retain_graph=True, allow_unused=True)
                expected += 0 if gradient is None else weight * rows[:, None] * gradient
                total = total + (weight * rows * value).sum()
        (gradient,) = torch.autograd.grad(total, scores)
        case.same("the gradient of weighted components and lists", gradient, expected)


def _attributes(case: Case) -> None:
    scores = torch.tensor([0.3, 0.1, -0.2, 1.0, 0.4], dtype=torch.float64)
    labels = torch.tensor([0.9, 0.5, 0.2, 0.0, 0.0], dtype=torch.float64)
    values, gradient = case.evaluate(scores, labels)
    hard, _ = case.evaluate(scores, (labels > 0).to(labels.dtype))
    if case.loss.soft_labels != bool((values != hard).any()):
        case.fail(
            f"soft_labels is {case.loss.soft_labels}, but labels of .9, .5 and .2 give {values.sum():g} and labels of "
            f"1 give {hard.sum():g}"
        )
    _, moved = case.evaluate(scores - torch.tensor([0.0, 0.0, 0.0, 0.5, 0.0]), labels)
    change = (gradient - moved)[[0, 1, 2, 4]].abs().max()
    if case.loss.pointwise and change > 0:
        case.fail(f"pointwise is True, but moving a score changes the gradients of others by {change:g}")


def _differences(case: Case) -> None:
    if not case.differences_only:
        return
    for scores, labels, where in case.problems():
        scores = (scores * 1024).round() / 1024  # so that the shift is exact
        values, _ = case.evaluate(scores, labels, where)
        for shift in (-8.0, 0.5, 64.0):
            shifted, _ = case.evaluate(scores + shift, labels, where)
            case.same(f"the value with {shift:g} added to all scores", shifted, values)


def _direction(case: Case) -> None:
    if case.direction == "any":
        return
    for scores, labels, where in case.problems():
        hard = (labels > 0).to(labels.dtype)
        _, gradient = case.evaluate(scores, hard, where)
        positives, negatives = gradient * (hard > 0) * where, gradient * (hard == 0) * where
        if case.direction == "each":
            highest, lowest = positives.max().item(), negatives.min().item()
            what = "gradient of a positive is up to", "gradient of a negative is down to"
        else:
            highest, lowest = positives.sum(-1).max().item(), negatives.sum(-1).min().item()
            what = "gradients of the positives sum to", "gradients of the negatives sum to"
        if highest > 1e-12:
            case.fail(f"the {what[0]} {highest:g}, expected at most 0")
        if lowest < -1e-12:
            case.fail(f"the {what[1]} {lowest:g}, expected at least 0")


def _exact(case: Case) -> None:
    if not case.exact:
        return
    step, checked = 1e-6, 0
    for index in range(4):
        scores, labels = one_problem(1000 * case.seed + index, (12,))
        scores = 1.5 * scores
        moves = step * torch.eye(len(scores), dtype=scores.dtype)
        for name, middle in case.loss.lists(scores, labels).items():
            up, down = (case.loss.lists(scores + sign * moves, labels.expand(12, 12))[name] for sign in (1, -1))
            leaf = scores.clone().requires_grad_()
            value = case.loss.lists(leaf, labels)[name]
            gradient = torch.zeros_like(scores)
            if value.requires_grad:
                (slopes,) = torch.autograd.grad(value, leaf, allow_unused=True)
                gradient = gradient if slopes is None else slopes
            right, left = (up - middle) / step, (middle - down) / step
            smooth = (right - left).abs() <= 1e-3 * torch.maximum(
                right.abs(), left.abs()
            ) + 1e-6  # no kink within a step
            checked += int(smooth.sum())
            slope = (up - down) / (2 * step)
            case.same(
                f"the gradient of {name}, by a difference of values,", gradient[smooth], slope[smooth], tolerance=1e-5
            )
    if checked < 12:
        case.fail(f"only {checked} of {4 * 12} slopes are the same on both sides, expected a gradient at most places")


def _knobs(case: Case) -> None:
    for name, bounds in case.loss.knobs.items():
        default = getattr(case.loss, name, None)
        if default is None or not bounds.low <= default <= bounds.high:
            case.fail(f"knob {name} is {default!r} at first, expected {bounds.low:g} to {bounds.high:g}")
        check_parameter(case.loss, name, (bounds.low, bounds.high), seed=case.seed)


PROPERTIES: dict[str, Callable[[Case], None]] = {
    "gradient": _gradient,
    "value": _value,
    "finite": _finite,
    "order": _order,
    "ties": _ties,
    "padding": _padding,
    "lists apart": _lists_apart,
    "no positive": _no_positive,
    "half precision": _half,
    "nan": _nan,
    "upstream": _upstream,
    "attributes": _attributes,
    "differences": _differences,
    "direction": _direction,
    "exact gradient": _exact,
    "knobs": _knobs,
}
"""The properties of the family, in the order in which they are checked."""
