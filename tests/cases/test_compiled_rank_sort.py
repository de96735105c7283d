"""Rank & Sort moves the weights under torch.compile as without it (torch 2.11 and later lose its gradient)."""

from __future__ import annotations

import torch
from torch import Tensor

from mapopt.losses import RankSortLoss


def test_compiled_steps_move_the_weights_as_far() -> None:
    torch.manual_seed(0)
    inputs, labels = torch.randn(500, 16), torch.zeros(500, 3)
    labels[inputs[:, :3] > 1.5] = 0.7
    loss = RankSortLoss()

    def value(model: torch.nn.Module) -> Tensor:
        return loss(model(inputs).T, labels.T)

    moved = []
    for step in (value, torch.compile(value, backend="eager")):
        torch.manual_seed(1)
        model = torch.nn.Linear(16, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        before = model.weight.detach().clone()
        for _ in range(20):
            optimizer.zero_grad()
            step(model).backward()
            optimizer.step()
        moved.append((model.weight - before).norm().item())
    assert round(moved[0], 3) == 1.614
    assert moved[1] == moved[0]
