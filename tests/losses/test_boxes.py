"""The losses between boxes."""

import pytest
import torch

from mapopt.errors import DataError
from mapopt.losses import BOX_LOSSES, giou_loss, smooth_l1_loss


def test_giou_is_one_minus_overlap_plus_the_empty_part_of_the_hull() -> None:
    box = torch.tensor([0.0, 0.0, 2.0, 2.0], dtype=torch.float64)
    other = torch.tensor([1.0, 0.0, 3.0, 2.0], dtype=torch.float64)
    assert giou_loss(box, other).item() == pytest.approx(1 - 2 / 6 + (6 - 6) / 6, abs=1e-6)
    away = torch.tensor([3.0, 3.0, 4.0, 4.0], dtype=torch.float64)
    assert giou_loss(box, away).item() == pytest.approx(1 - 0 + (16 - 5) / 16, abs=1e-6)


def test_smooth_l1_is_a_parabola_near_and_a_line_far() -> None:
    near, far = torch.tensor([0.5, 0.0, 0.0, 0.0]), torch.tensor([3.0, 0.0, 0.0, -3.0])
    assert smooth_l1_loss(near, torch.zeros(4)).item() == pytest.approx(0.5 * 0.5**2)
    assert smooth_l1_loss(far, torch.zeros(4)).item() == pytest.approx(2 * (3 - 0.5))
    assert smooth_l1_loss(far, torch.zeros(4), beta=0.1).item() == pytest.approx(2 * (3 - 0.05))


@pytest.mark.parametrize("name", BOX_LOSSES)
def test_leading_dimensions_are_kept_and_gradients_flow(name: str) -> None:
    corners = torch.rand(2, 3, 5, 2, generator=torch.Generator().manual_seed(0))
    predicted = torch.cat([corners, corners + 1], -1).requires_grad_()
    target = torch.cat([corners + 0.2, corners + 1.3], -1)
    loss = BOX_LOSSES[name](predicted, target)
    assert loss.shape == (2, 3, 5)
    loss.sum().backward()
    assert predicted.grad.abs().sum() > 0
    assert BOX_LOSSES[name](target, target).abs().max() < 1e-6


@pytest.mark.parametrize("name", BOX_LOSSES)
def test_boxes_that_are_not_paired_are_named(name: str) -> None:
    with pytest.raises(DataError, match=r"predicted boxes have shape \[3, 4\] and targets \[2, 4\]"):
        BOX_LOSSES[name](torch.zeros(3, 4), torch.zeros(2, 4))
