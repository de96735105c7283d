"""The row optimizers against torch's own, lane by lane."""

from __future__ import annotations

import pytest
import torch

from mapopt.training.knob_tensors import stack_knobs
from mapopt.training.knobs import Knobs
from mapopt.training.optimizers.base import clip_rows
from mapopt.training.optimizers.registry import OPTIMIZERS

LANES = [Knobs(lr=0.1, momentum=0.9, weight_decay=0.01), Knobs(lr=0.02, momentum=0.5, weight_decay=0.1)]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_lane_is_updated_as_torch_would(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2, 6, generator=generator)
    gradients = torch.randn(5, 2, 6, generator=generator)
    decay = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    weights = start.clone()
    ours = OPTIMIZERS[name](weights, decay)
    for gradient in gradients:
        ours.update(weights, gradient, stack_knobs(LANES), torch.ones(2, dtype=torch.bool))
    for lane, knobs in enumerate(LANES):
        parts = [start[lane, :4].clone().requires_grad_(), start[lane, 4:].clone().requires_grad_()]
        groups = [{"params": parts[:1], "weight_decay": knobs.weight_decay}, {"params": parts[1:], "weight_decay": 0.0}]
        if name == "sgd":
            theirs: torch.optim.Optimizer = torch.optim.SGD(groups, lr=knobs.lr, momentum=knobs.momentum)
        else:
            theirs = torch.optim.AdamW(groups, lr=knobs.lr, betas=(knobs.momentum, 0.999))
        for gradient in gradients:
            parts[0].grad, parts[1].grad = gradient[lane, :4].clone(), gradient[lane, 4:].clone()
            theirs.step()
        torch.testing.assert_close(weights[lane], torch.cat([part.detach() for part in parts]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_lane_that_does_not_run_keeps_its_weights_and_state(name: str) -> None:
    weights = torch.ones(2, 3)
    optimizer = OPTIMIZERS[name](weights, torch.ones(3))
    optimizer.update(weights, torch.ones(2, 3), stack_knobs(LANES), torch.tensor([True, False]))
    assert torch.equal(weights[1], torch.ones(3))
    assert not torch.equal(weights[0], torch.ones(3))
    fresh = OPTIMIZERS[name](torch.ones(2, 3), torch.ones(3))
    for key, value in optimizer.state.items():
        assert torch.equal(value[1], fresh.state[key][1])


def test_rows_are_clipped_to_the_norm_each_on_its_own() -> None:
    rows, norms = clip_rows(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 1.0)
    torch.testing.assert_close(norms, torch.tensor([5.0, 0.5]))
    torch.testing.assert_close(rows, torch.tensor([[0.6, 0.8], [0.3, 0.4]]))
