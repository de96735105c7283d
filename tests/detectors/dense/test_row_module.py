"""A module bound to a row computes what it did, and leaves the gradient that the row itself would get."""

from __future__ import annotations

import gc
import weakref

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mapopt.detectors.dense.rows import Row, RowModule


class Shared(nn.Module):
    """One layer that is used twice, one that is frozen, one that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.frozen, self.unused = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1)
        self.frozen.requires_grad_(False)

    def forward(self, values: Tensor) -> Tensor:
        return self.layer(self.frozen(self.layer(values)).tanh())


def made() -> tuple[Row, RowModule, Tensor, Shared]:
    torch.manual_seed(0)
    module = Shared()
    row = Row(module)
    weights = row.join(module)[None].clone().requires_grad_()
    return row, RowModule(module, row, weights), weights, module


def test_the_gradient_has_the_bits_of_the_rows_own() -> None:
    row, bound, weights, _ = made()
    values = torch.randn(5, 3)
    bound(weights, values).square().sum().backward()
    leaf = weights.detach().clone().requires_grad_()
    parts = row.split(leaf[0])
    parts |= {name: parts[name].detach() for name in parts if "frozen" in name}
    functional_call(Shared(), parts, (values,)).square().sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.any()
    assert weights.grad is not None
    assert torch.equal(weights.grad, leaf.grad)
    assert torch.equal(bound.gradient(), leaf.grad)


def test_a_further_pass_adds_until_the_gradient_is_forgotten() -> None:
    _, bound, weights, module = made()
    values = torch.randn(5, 3)
    bound(weights, values).sum().backward()
    single, memory = bound.gradient().clone(), bound.gradient().data_ptr()
    bound(weights, values).sum().backward()
    assert torch.equal(bound.gradient(), single + single)
    bound.clear()
    assert weights.grad is None
    bound(weights, values)[:, :0].sum().backward()
    assert not bound.gradient().any()
    assert bound.gradient().data_ptr() == memory
    assert all(parameter.grad is None for parameter in module.parameters())


def test_weights_that_are_changed_in_place_are_the_modules() -> None:
    _, bound, weights, module = made()
    values = torch.randn(5, 3)
    with torch.no_grad():
        weights += 1
        other = weights * 2
    assert torch.equal(bound(weights, values), module(values))
    assert not torch.equal(bound(other, values), bound(weights, values))
    assert not bound(other, values).requires_grad


def test_nothing_keeps_a_module_that_has_trained() -> None:
    module = nn.Linear(3, 2)
    row = Row(module)
    weights = row.join(module)[None].clone().requires_grad_()
    bound = RowModule(module, row, weights)
    bound(weights, torch.ones(3)).sum().backward()
    left = weakref.ref(bound)
    del bound, module, weights
    gc.collect()
    assert left() is None
