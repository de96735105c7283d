"""Elementwise functions whose bits follow from a number alone, wherever torch's loops find it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mapopt.losses.sums.evenly import evenly, raised

FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sigmoid": lambda values: evenly(torch.sigmoid, values),
    "exp2": lambda values: evenly(torch.exp2, values),
    "softplus": lambda values: evenly(torch.nn.functional.softplus, values),
    "power": lambda values: raised(values.abs(), 1.5),
    "powers": lambda values: raised(values.abs(), torch.tensor([[1.5]], dtype=torch.float64)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_number_has_the_same_bits_and_slope_wherever_it_stands(name: str, dtype: torch.dtype) -> None:
    numbers = torch.randn(1, 600, generator=torch.Generator().manual_seed(0)).to(dtype) * 3

    def measured(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values = values.clone().requires_grad_()
        made = FUNCTIONS[name](values)
        made.sum().backward()
        assert values.grad is not None
        return made.detach(), values.grad

    value, slope = measured(numbers)
    for size in (*range(1, 70), 599):
        for part, whole in zip(measured(numbers[:, :size]), (value, slope), strict=True):
            assert torch.equal(part, whole[:, :size]), size


def test_values_are_those_of_torch_also_of_views() -> None:
    numbers = torch.rand(7, 30, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(evenly(torch.sigmoid, numbers.T), numbers.T.sigmoid())
    powers = torch.linspace(0.5, 3.0, 7)[:, None]
    torch.testing.assert_close(raised(numbers, powers), numbers**powers)
    assert evenly(torch.sigmoid, numbers[:0]).shape == (0, 30)
