"""Logits of invalid candidates masked with minus infinity are worth what very low ones are."""

from __future__ import annotations

import math

import pytest
import torch

from mapopt.losses import LOSSES, make_loss


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "plackett_luce_ap"])  # noise made of the scores
def test_minus_infinity_gives_what_a_very_low_logit_gives(name: str) -> None:
    torch.manual_seed(0)
    scores = torch.randn(3, 200)
    labels = (torch.rand(3, 200) < 0.1).float()
    masked = (torch.rand(3, 200) < 0.05) & (labels == 0)
    values = []
    for fill in (-math.inf, -1e4):
        leaf = scores.masked_fill(masked, fill).requires_grad_()
        value = make_loss(name)(leaf, labels)
        value.backward()
        assert leaf.grad.isfinite().all()
        values.append(value.item())
    assert values[0] == pytest.approx(values[1], abs=1e-5)
    expected = {"quality_focal": 3.18347, "varifocal": 2.90433}
    assert name not in expected or values[0] == pytest.approx(expected[name], abs=1e-5)
