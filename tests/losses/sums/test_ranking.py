"""What is left out, and which of the two engines is taken, must not be seen in the result."""

import pytest
import torch
from torch import Tensor

from mapopt import losses
from mapopt.losses import ListLoss
from mapopt.losses.sums import ranking
from mapopt.losses.sums.bins import Bins
from mapopt.losses.sums.lists import Lists
from mapopt.losses.sums.ranking import Ranking
from mapopt.losses.sums.slots import Slots

KINDS = [losses.APLoss, losses.ALRPLoss, losses.RankSortLoss, losses.MeanAPLoss]


def problem(*, separated: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(3, 400, generator=generator, dtype=torch.float64)
    labels = labels * (torch.rand(3, 400, generator=generator) < torch.tensor([[0.02], [0.04], [0.0]]))
    scores = torch.randn(3, 400, generator=generator, dtype=torch.float64) + separated * (labels > 0)
    return scores, labels


def gradient(loss: ListLoss, scores: Tensor, labels: Tensor) -> Tensor:
    scores = scores.clone().requires_grad_()
    loss(scores, labels).backward()
    return scores.grad


@pytest.mark.parametrize("form", ["error-driven", "exact"])
@pytest.mark.parametrize("kind", KINDS)
def test_packing_and_the_choice_of_engine_change_nothing(
    kind: type[ListLoss], form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, labels = problem(separated=3.0)
    loss = kind(gradient=form)
    results = []
    for few in (0, 10**6):
        for factor in (10**6, 1):
            monkeypatch.setattr(ranking, "_few", lambda lists, size, few=few: few)
            monkeypatch.setattr(ranking, "_PACKING_FACTOR", factor)
            results.append((loss(scores, labels), gradient(loss, scores, labels)))
    for value, slope in results[1:]:
        torch.testing.assert_close(value, results[0][0], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(slope, results[0][1], rtol=1e-10, atol=1e-14)


def test_few_positives_are_looped_over_and_many_are_binned() -> None:
    scores = torch.randn(1, 5000)
    for number, kind in ((1, Slots), (5, Slots), (300, Bins)):
        labels = torch.zeros(1, 5000)
        labels[0, :number] = 1
        assert isinstance(Ranking(Lists(scores, labels), 1.0).sums, kind)


def test_negatives_that_no_ramp_reaches_are_left_out() -> None:
    scores, labels = problem(separated=8.0)
    assert Ranking(Lists(scores, labels), 1.0).negatives.bin.shape[1] < 40
    scores, labels = problem(separated=-1.0)
    assert Ranking(Lists(scores, labels), 1.0).negatives.bin.shape[1] == 400


@pytest.mark.parametrize("kind", KINDS)
def test_to_the_last_bit_a_list_does_not_notice_the_others(kind: type[ListLoss]) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(24, 500, generator=generator)
    number = torch.randint(1, 50, (24, 1), generator=generator)
    labels = torch.rand(24, 500, generator=generator) * (torch.arange(500) < number)

    def of(rows: slice) -> tuple[dict[str, Tensor], Tensor]:
        some = scores[rows].clone().requires_grad_()
        values = kind().lists(some, labels[rows])
        sum(value.sum() for value in values.values()).backward()
        return values, some.grad

    together, slopes = of(slice(None))
    for rows in (slice(0, 2), slice(5, 9), slice(9, 24)):
        values, some_slopes = of(rows)
        for name, value in values.items():
            assert torch.equal(value, together[name][rows])
        assert torch.equal(some_slopes, slopes[rows])
