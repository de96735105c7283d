"""The compiled passes have the bits of torch's, and are loaded once they pay."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from mapopt import compiling
from mapopt.losses import (
    ALRPLoss,
    APLoss,
    BucketedRankSortLoss,
    FocalLoss,
    ListLoss,
    MeanAPLoss,
    ParameterizedAPLoss,
    RankSortLoss,
)
from mapopt.losses.sums import dominance, engines
from mapopt.losses.sums.bins import Bins
from mapopt.losses.sums.compiled_bins import CompiledBins
from mapopt.losses.sums.compiled_pairs import CompiledPairs
from mapopt.losses.sums.dominance import PairMatrix, wrong_pairs
from mapopt.losses.sums.lists import Lists
from mapopt.losses.sums.ranking import Ranking

LOSSES = [
    APLoss(),
    APLoss(gradient="exact"),
    ALRPLoss(),
    ALRPLoss(gradient="exact"),
    RankSortLoss(),
    RankSortLoss(gradient="exact"),
    BucketedRankSortLoss(),
    MeanAPLoss(),
    MeanAPLoss(gradient="exact"),
    ParameterizedAPLoss(),
    ParameterizedAPLoss(rank_x=0.3, error_x=0.6, quality_x=0.4, other_y=0.7),
    FocalLoss(),
]

Problem = tuple[Tensor, Tensor, Tensor | None]


@pytest.fixture
def choice() -> Iterator[engines._Choice]:
    """What a process has learnt in which torch does all the work until kernels are loaded."""
    with engines.without_kernels():
        yield engines._choice


def drawn(seed: int, shape: tuple[int, ...], fraction: float, dtype: torch.dtype) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(shape, generator=generator, dtype=dtype)
    labels = torch.rand(shape, generator=generator, dtype=dtype) * (torch.rand(shape, generator=generator) < fraction)
    return scores, labels, torch.rand(shape, generator=generator) < 0.9


def edges(dtype: torch.dtype) -> Problem:
    """A list with ties and scores on edges, one with masked and huge scores, and one without a positive."""
    scores, labels, where = drawn(0, (3, 900), 0.2, dtype)
    labels[2] = 0
    scores[0, :300] = scores[0, :300].round()
    labels[0, :300] = (4 * labels[0, :300]).ceil() / 4
    scores[1, :4] = torch.tensor([1e30, -1e30, 1e25, -torch.inf])
    labels[1, :4] = 0
    return scores, labels, where


def join(first: Problem, second: Problem) -> Problem:
    scores, labels, where = (torch.cat(parts) for parts in zip(first, second, strict=True))
    return scores, labels, where


PROBLEMS: dict[str, Callable[[torch.dtype], Problem]] = {
    "edges": edges,
    "a fleet's": lambda dtype: drawn(1, (4, 3, 576), 0.05, dtype),
    "one short list": lambda dtype: (*drawn(2, (100,), 0.05, dtype)[:2], None),
    "one positive": lambda dtype: drawn(3, (2, 7), 0.2, dtype),
    "many positives": lambda dtype: drawn(4, (2, 1500), 0.5, dtype),
    "few and many": lambda dtype: join(drawn(5, (2, 900), 0.9, dtype), drawn(6, (3, 900), 0.1, dtype)),
    "a NaN and an infinity": lambda dtype: (
        torch.tensor([[0.0, torch.nan, 1.0, 2.0], [torch.inf, 0.5, 1.0, 0.3], [1.0, 2.0, 0.0, 1.0]], dtype=dtype),
        torch.tensor([[0.5, 0.0, 1.0, 0.0]] * 3, dtype=dtype),
        None,
    ),
    "far apart": lambda dtype: (drawn(7, (2, 60), 0.3, dtype)[0] * 1e6, *drawn(7, (2, 60), 0.3, dtype)[1:]),
    "labels below 0": lambda dtype: (drawn(8, (2, 60), 0.3, dtype)[0], drawn(8, (2, 60), 0.8, dtype)[1] - 0.3, None),
}


def results(loss: ListLoss, problem: Problem) -> list[Tensor]:
    scores, labels = (values.clone().requires_grad_() for values in problem[:2])
    values = loss.lists(scores, labels, problem[2])
    sum(value.sum() for value in values.values()).backward()
    return [*values.values(), scores.grad, torch.zeros(()) if labels.grad is None else labels.grad]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_compiled_passes_have_the_same_bits(
    loss: ListLoss, problem: str, dtype: torch.dtype, choice: engines._Choice
) -> None:
    by_torch = results(loss, PROBLEMS[problem](dtype))
    assert choice.kernels is None
    assert engines.load_kernels()
    for compiled, expected in zip(results(loss, PROBLEMS[problem](dtype)), by_torch, strict=True):
        torch.testing.assert_close(compiled, expected, rtol=0, atol=0, equal_nan=True)


def test_lists_with_their_own_ramps_have_the_same_bits(choice: engines._Choice) -> None:
    problem = drawn(0, (3, 200), 0.2, torch.float64)
    for kind in (APLoss, RankSortLoss, MeanAPLoss):
        loss = kind(delta=torch.tensor([0.1, 1.0, 7.0]))
        choice.kernels = None
        by_torch = results(loss, problem)
        engines.load_kernels()
        for compiled, expected in zip(results(loss, problem), by_torch, strict=True):
            assert torch.equal(compiled, expected)


def test_every_sum_has_the_same_bits(choice: engines._Choice) -> None:
    lists = Lists(*drawn(0, (4, 300), 0.1, torch.float64))
    given = (lists.table.thresholds, lists.table.present)
    assert engines.load_kernels()
    sums = []
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(lists.scores.shape, generator=generator, dtype=torch.float64)
    own = torch.rand(given[0].shape, generator=generator, dtype=torch.float64) * lists.table.present
    for bins in (Bins(*given, 0.7), CompiledBins(choice.kernels, *given, 0.7)):
        located = bins.locate(lists.known_scores, lists.negative)
        over = [bins.mass(located), bins.mass(located, weights), bins.density(located), bins.density(located, weights)]
        sums.append([*over, bins.spread(located, own), bins.spread_density(located, own)])
    labels = lists.table.take(lists.labels)
    for pairs in (PairMatrix(*given, labels, 1.4), CompiledPairs(choice.kernels, *given, labels, 1.4)):
        values = torch.stack([own, lists.table.present])
        parts = (pairs.above, pairs.below, pairs.above_density, pairs.below_density)
        sums.append([part(values) * lists.table.present for part in parts])
    for by_torch, compiled in (sums[:2], sums[2:]):
        for expected, value in zip(by_torch, compiled, strict=True):
            assert expected.any()
            assert torch.equal(value, expected)


@pytest.mark.usefixtures("choice")
@pytest.mark.parametrize(("numba", "patience"), [(False, engines.PATIENCE), (True, engines.PATIENCE_BESIDE_NUMBA)])
def test_kernels_are_loaded_when_torch_has_cost_as_much(
    numba: bool, patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = Lists(*edges(torch.float32))
    monkeypatch.setattr(engines, "_choice", engines._Choice())
    monkeypatch.setattr(engines, "_SECONDS_PER_SCORE", 0.0)
    monkeypatch.setattr(engines, "_SECONDS_PER_CALL", 0.6 * patience)
    loaded = {name: module for name, module in sys.modules.items() if name != "numba"}
    with monkeypatch.context() as context:
        context.setattr(engines.sys, "modules", {**loaded, "numba": None} if numba else loaded)
        kinds = [type(Ranking(lists, 1.0).sums) for _ in range(2)]
    assert kinds == [Bins, Bins]
    assert type(Ranking(lists, 1.0).sums) is CompiledBins


def test_without_numba_torch_does_the_work(choice: engines._Choice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "load_kernels", lambda module: None)
    assert not engines.load_kernels()
    choice.spent = 2 * engines.PATIENCE
    lists = Lists(*edges(torch.float32))
    assert isinstance(Ranking(lists, 1.0).sums, Bins)
    assert isinstance(wrong_pairs(lists.table, lists.table.take(lists.labels), 1.0), PairMatrix)


@pytest.mark.usefixtures("choice")
def test_other_devices_stay_with_torch() -> None:
    assert engines.load_kernels()
    for kernels in (engines.kernels_for, engines.loaded_kernels):
        assert kernels(torch.zeros(1, 10**6, device="meta")) is None
        assert kernels(torch.zeros(1, 1)) is not None


def test_lists_of_few_positives_go_pair_by_pair_and_of_many_by_a_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dominance, "LARGEST_MATRIX", 10)
    kinds = []
    for number in ((3, 10), (11, 30), (5, 30)):
        labels = (torch.arange(40) < torch.tensor(number)[:, None]).double()
        table = Lists(torch.arange(80.0).reshape(2, 40), labels).table
        kinds.append(type(wrong_pairs(table, table.take(labels), 1.0)).__name__)
    assert kinds[0] in ("PairMatrix", "CompiledPairs")
    assert kinds[1:] == ["PairTree", "_Divided"]
