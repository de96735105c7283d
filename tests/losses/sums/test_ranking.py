"""What is left out, and which of the two engines is taken, must not be seen in the result."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from mapopt import losses
from mapopt.losses import ListLoss
from mapopt.losses.sums import engines, ranking
from mapopt.losses.sums.bins import Bins
from mapopt.losses.sums.lists import Lists
from mapopt.losses.sums.ranking import Ranking

KINDS = [losses.APLoss, losses.ALRPLoss, losses.RankSortLoss, losses.BucketedRankSortLoss, losses.MeanAPLoss]


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


@pytest.fixture
def by_torch() -> Iterator[None]:
    """No kernel is loaded."""
    with engines.without_kernels():
        yield


@pytest.mark.usefixtures("by_torch")
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
            monkeypatch.setattr(ranking, "_few", lambda scores, few=few: few)
            monkeypatch.setattr(ranking, "_PACKING_FACTOR", factor)
            results.append((loss(scores, labels), gradient(loss, scores, labels)))
    for value, slope in results[1:]:
        torch.testing.assert_close(value, results[0][0], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(slope, results[0][1], rtol=1e-10, atol=1e-14)
    assert torch.equal(results[1][0], results[0][0]), "of bins, packing changes no bit"
    assert torch.equal(results[1][1], results[0][1])


@pytest.mark.usefixtures("by_torch")
def test_on_a_processor_positives_are_binned_and_elsewhere_a_handful_goes_pair_by_pair() -> None:
    for lists, number in ((1, 1), (1, 5), (3, 5), (1, 300)):
        labels = torch.zeros(lists, 5000)
        labels[:, :number] = 1
        assert isinstance(Ranking(Lists(torch.randn(lists, 5000), labels), 1.0).sums, Bins)
    assert ranking._few(torch.zeros(1, 5000)) == 0
    assert ranking._few(torch.zeros(1, 5000, device="meta")) == 20


@pytest.mark.usefixtures("by_torch")
def test_negatives_that_no_ramp_reaches_are_left_out() -> None:
    scores, labels = problem(separated=8.0)
    assert Ranking(Lists(scores, labels), 1.0).negatives.bin.shape[1] < 40
    scores, labels = problem(separated=-1.0)
    assert Ranking(Lists(scores, labels), 1.0).negatives.bin.shape[1] == 400


@pytest.mark.usefixtures("by_torch")
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_to_the_last_bit_a_list_does_not_notice_the_others(kind: type[ListLoss], compiled: bool) -> None:
    if compiled:
        engines.load_kernels()
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(24, 900, generator=generator)
    number = torch.randint(1, 50, (24, 1), generator=generator)
    number[[3, 7, 20], 0] = torch.tensor([180, 400, 850])  # one of them too many to be compared pair by pair
    labels = torch.rand(24, 900, generator=generator) * (torch.arange(900) < number)
    labels = labels.gather(-1, torch.rand(24, 900, generator=generator).argsort(-1))

    def of(rows: slice) -> tuple[dict[str, Tensor], Tensor]:
        some = scores[rows].clone().requires_grad_()
        values = kind().lists(some, labels[rows])
        sum(value.sum() for value in values.values()).backward()
        return values, some.grad

    together, slopes = of(slice(None))
    for rows in (*(slice(row, row + 1) for row in (0, 3, 7, 20)), slice(0, 2), slice(5, 9), slice(9, 24)):
        values, some_slopes = of(rows)
        for name, value in values.items():
            assert torch.equal(value, together[name][rows])
        assert torch.equal(some_slopes, slopes[rows])
