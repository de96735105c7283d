"""Labels in another convention train nothing, or something else; all of them are refused."""

from __future__ import annotations

import pytest
import torch

from mapopt.errors import DataError
from mapopt.losses import LOSSES, make_loss


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("convention", ["-1 and +1", "0 and 255", "class numbers"])
def test_another_convention_is_refused(name: str, convention: str) -> None:
    torch.manual_seed(0)
    scores = torch.randn(3, 200)
    labels = (torch.rand(3, 200) < 0.1).float()
    other = {"-1 and +1": 2 * labels - 1, "0 and 255": 255 * labels, "class numbers": 7 * labels}[convention]
    assert make_loss(name)(scores, labels).isfinite()
    with pytest.raises(DataError, match=r"^labels (go up to|are -1 and \+1)"):
        make_loss(name)(scores, other)
