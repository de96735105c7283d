"""What the tests of formulas share: a small list, how values and gradients are compared, and AP by its definition."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor


def _small_list(seed: int, size: int = 30) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(size, generator=generator, dtype=torch.float64) * 2
    labels = torch.rand(size, generator=generator, dtype=torch.float64)
    labels = labels * (torch.rand(size, generator=generator) < 0.3)
    labels[0] = 0.8
    return scores.requires_grad_(), labels


def _assert_same(value: Tensor, expected: Tensor, *inputs: Tensor) -> None:
    assert value.item() == pytest.approx(expected.item(), abs=1e-10)
    ours = torch.autograd.grad(value, inputs, retain_graph=True, allow_unused=True)
    theirs = torch.autograd.grad(expected, inputs, retain_graph=True, allow_unused=True)
    for our_gradient, their_gradient in zip(ours, theirs, strict=True):
        if their_gradient is None:
            assert our_gradient is None or not our_gradient.any()
        else:
            torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-8, atol=1e-10)


def _average_precision(scores: Tensor, positive: Tensor) -> float:
    hits = positive[scores.argsort(descending=True)].double()
    return (hits * hits.cumsum(0) / torch.arange(1, len(hits) + 1)).sum().item() / hits.sum().item()


@pytest.fixture
def small_list() -> Callable[..., tuple[Tensor, Tensor]]:
    """Makes scores that require a gradient, and labels of some positives, from a seed."""
    return _small_list


@pytest.fixture
def assert_same() -> Callable[..., None]:
    """Compares two values, and their gradients with respect to some inputs."""
    return _assert_same


@pytest.fixture
def average_precision() -> Callable[[Tensor, Tensor], float]:
    """AP of scores without ties, by its definition."""
    return _average_precision
