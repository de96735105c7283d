"""A softmax's scores as log-odds: what is ranked is what is reported."""

import pytest
import torch

from mapopt.detectors.list_losses import log_odds


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_sigmoid_of_the_log_odds_is_the_softmax(dtype):
    logits = torch.randn(50, 6, dtype=dtype) * 4
    assert torch.allclose(log_odds(logits).sigmoid(), logits.softmax(-1)[:, 1:], atol=1e-6)


def test_the_log_odds_have_the_gradient_of_their_formula():
    logits = (torch.randn(20, 5, dtype=torch.float64) * 3).requires_grad_()
    assert torch.autograd.gradcheck(log_odds, logits)
    probability = logits.softmax(-1)[:, 1:]
    assert torch.allclose(log_odds(logits), (probability / (1 - probability)).log())


@pytest.mark.parametrize("scale", [40.0, 1e4])
def test_the_log_odds_of_sure_scores_are_finite_and_keep_their_order(scale):
    logits = (torch.tensor([[0.0, 1.0, -1.0], [0.0, 2.0, -1.0], [3.0, 1.0, 2.0]]) * scale).requires_grad_()
    odds = log_odds(logits)
    odds.sum().backward()
    assert torch.isfinite(odds).all()
    assert torch.isfinite(logits.grad).all()
    assert odds[1, 0] > odds[0, 0]
    assert odds[0, 0].item() == pytest.approx(scale)
