"""The compiled passes have the bits of torch's, and are loaded once they pay."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mapopt import compiling
from mapopt.losses import (
    ALRPLoss,
    APLoss,
    BucketedRankSortLoss,
    ListLoss,
    MeanAPLoss,
    ParameterizedAPLoss,
    RankSortLoss,
)
from mapopt.losses.sums import engines
from mapopt.losses.sums.bins import Bins, Located, Summed
from mapopt.losses.sums.lists import Lists


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> engines._Choice:
    """A process that has done nothing so far, and for which every list is long."""
    choice = engines._Choice()
    monkeypatch.setattr(engines, "_choice", choice)
    monkeypatch.setattr(engines, "LONG", 1)
    return choice


def problem(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    scores = 3 * torch.randn(3, 900, generator=generator, dtype=dtype)
    labels = torch.rand(3, 900, generator=generator) * (torch.rand(3, 900, generator=generator) < 0.2)
    labels[2] = 0  # a list without a positive has no finite edge
    scores[0, :300] = scores[0, :300].round()  # ties, and scores on edges
    scores[1, :4] = torch.tensor([1e30, -1e30, torch.inf, -torch.inf])
    labels[1, :4] = 0
    return scores, labels, torch.rand(3, 900, generator=generator) < 0.9


def results(loss: ListLoss, dtype: torch.dtype) -> list[Tensor]:
    scores, labels, where = problem(dtype)
    scores.requires_grad_()
    values = loss.lists(scores, labels, where)
    sum(value.sum() for value in values.values()).backward()
    return [*values.values(), scores.grad]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "loss",
    [
        APLoss(),
        APLoss(gradient="exact"),
        ALRPLoss(),
        ALRPLoss(gradient="exact"),
        RankSortLoss(),
        BucketedRankSortLoss(),
        MeanAPLoss(),
        ParameterizedAPLoss(),
    ],
    ids=str,
)
def test_compiled_passes_have_the_same_bits(loss: ListLoss, dtype: torch.dtype, patience: engines._Choice) -> None:
    by_torch = results(loss, dtype)
    assert patience.kernels is None
    assert engines.load_kernels()
    for compiled, expected in zip(results(loss, dtype), by_torch, strict=True):
        torch.testing.assert_close(compiled, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.usefixtures("patience")
def test_weighted_sums_do_not_need_what_was_summed() -> None:
    engines.load_kernels()
    lists = Lists(*problem(torch.float64))
    bins = Bins(lists.table.thresholds, lists.table.present, 0.7)
    located = bins.locate(lists.known_scores, lists.negative)
    assert isinstance(located, Summed)
    ones = torch.ones_like(lists.scores)
    torch.testing.assert_close(bins.mass(located, ones), bins.mass(located), equal_nan=True)
    torch.testing.assert_close(bins.density(located, ones), bins.density(located), equal_nan=True)


def test_kernels_are_loaded_when_torch_has_cost_as_much(
    patience: engines._Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, labels, where = problem()
    monkeypatch.setattr(engines, "_SECONDS_PER_SCORE", 0.6 * engines.PATIENCE / scores.numel())
    lists = Lists(scores, labels, where)
    bins = Bins(lists.table.thresholds, lists.table.present, 1.0)
    kinds = [type(bins.locate(lists.known_scores, lists.negative)) for _ in range(3)]
    assert kinds == [Located, Located, Summed]
    assert patience.kernels is not None


def test_without_numba_torch_does_the_work(patience: engines._Choice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "load_kernels", lambda module: None)
    assert not engines.load_kernels()
    patience.spent = 2 * engines.PATIENCE
    lists = Lists(*problem())
    bins = Bins(lists.table.thresholds, lists.table.present, 1.0)
    assert isinstance(bins.locate(lists.known_scores, lists.negative), Located)


def test_short_lists_and_other_devices_stay_with_torch() -> None:
    assert engines.kernels_for(torch.zeros(1, engines.LONG - 1)) is None
    assert engines.kernels_for(torch.zeros(1, 10**6, device="meta")) is None
