"""The bins' sums over pairs, against the pairs written out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mapopt.losses.sums.bins import Bins
from mapopt.losses.sums.lists import Lists
from mapopt.losses.sums.slots import Slots


def pairs(lists: Lists, scores: torch.Tensor, delta: float | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """H and H' of every positive and score, ``[lists, P, m]``; H' is right-continuous, as in the bins."""
    if isinstance(delta, torch.Tensor):
        delta = delta[..., None]
    distance = scores[:, None, :] - lists.table.thresholds.clamp(max=1e30)[:, :, None]
    inside = (distance >= -delta) & (distance < delta)
    present = lists.table.present[:, :, None]
    return (distance / (2 * delta) + 0.5).clamp(0, 1) * present, inside.double() / (2 * delta) * present


@st.composite
def problems(draw: st.DrawFn) -> tuple[Lists, float | torch.Tensor]:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    rows, size = draw(st.integers(1, 4)), draw(st.integers(1, 60))
    scores = torch.randn(rows, size, generator=generator, dtype=torch.float64) * draw(st.sampled_from([0.3, 2, 40]))
    if draw(st.booleans()):
        scores = (scores * 2).round() / 2  # ties, and scores exactly on an edge
    fraction = torch.rand(rows, 1, generator=generator) * draw(st.sampled_from([0, 0.3, 1]))
    labels = (torch.rand(rows, size, generator=generator) < fraction).double()
    where = torch.rand(rows, size, generator=generator) < 0.9
    delta = draw(st.sampled_from([0.25, 0.5, 1.0, 3.0]))
    if draw(st.booleans()):
        return Lists(scores, labels, where), delta * torch.arange(1.0, rows + 1, dtype=torch.float64)[:, None]
    return Lists(scores, labels, where), delta


@pytest.mark.parametrize("kind", [Bins, Slots])
@settings(max_examples=40, deadline=None)
@given(problem=problems(), seed=st.integers(0, 2**31))
def test_sums_equal_the_pairs_written_out(
    kind: type[Bins] | type[Slots], problem: tuple[Lists, float | torch.Tensor], seed: int
) -> None:
    lists, delta = problem
    bins = kind(lists.table.thresholds, lists.table.present, delta)
    located = bins.locate(lists.exact_scores, lists.negative)
    ramp, slope = pairs(lists, lists.exact_scores, delta)
    counted = lists.negative.double()[:, None, :]
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(lists.scores.shape, generator=generator, dtype=torch.float64)
    spread = torch.rand(lists.table.present.shape, generator=generator, dtype=torch.float64) * lists.table.present
    present = lists.table.present
    expected = {
        "mass": (ramp * counted).sum(-1),
        "weighted mass": (ramp * counted * weights[:, None]).sum(-1),
        "density": (slope * counted).sum(-1),
        "weighted density": (slope * counted * weights[:, None]).sum(-1),
        "spread": (ramp * counted * spread[..., None]).sum(1),
        "spread density": (slope * counted * spread[..., None]).sum(1),
    }
    sums = {
        "mass": bins.mass(located) * present,
        "weighted mass": bins.mass(located, weights) * present,
        "density": bins.density(located) * present,
        "weighted density": bins.density(located, weights) * present,
        "spread": bins.spread(located, spread),
        "spread density": bins.spread_density(located, spread),
    }
    for name in expected:
        torch.testing.assert_close(
            sums[name], expected[name], rtol=1e-10, atol=1e-12, msg=lambda text, n=name: n + text
        )


def test_tied_positives_have_bitwise_equal_sums() -> None:
    scores = torch.randn(1, 200, dtype=torch.float64)
    scores[0, :3] = 0.1
    labels = torch.zeros(1, 200)
    labels[0, [0, 1, 2, 10, 20]] = 1
    lists = Lists(scores, labels)
    bins = Bins(lists.table.thresholds, lists.table.present, 0.7)
    mass = bins.mass(bins.locate(scores, lists.negative))[0]
    tied = lists.table.thresholds[0] == 0.1
    assert tied.sum() == 3
    assert mass[tied].unique().numel() == 1


def test_a_small_sum_at_the_top_is_not_lost_among_a_million_scores_below() -> None:
    below = torch.full((1_000_000,), -3e3, dtype=torch.float64) - torch.rand(1_000_000, dtype=torch.float64)
    scores = torch.cat([torch.tensor([5e3, -3e3, 5e3 - 1 + 1e-9], dtype=torch.float64), below])
    labels = torch.zeros_like(scores)
    labels[:2] = 1
    lists = Lists(scores, labels)
    bins = Bins(lists.table.thresholds, lists.table.present, 1.0)
    mass = bins.mass(bins.locate(lists.exact_scores, lists.negative))[0, -1]
    expected = ((scores[2] - scores[0]) / 2 + 0.5).item()
    assert mass.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("spread", [1e-6, 1.0, 1e6])
def test_the_lookup_grid_finds_the_bins_that_searchsorted_finds(spread: float) -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(3, 500, generator=generator, dtype=torch.float64) ** 3 * spread
    scores[0, :4] = torch.tensor([torch.inf, -torch.inf, 1e30, -1e30])
    labels = (torch.rand(3, 500, generator=generator) < torch.tensor([[0.5], [0.01], [0.1]])).double()
    labels[0, :4] = 0
    table = Lists(scores, labels).table
    bins = Bins(table.thresholds, table.present, 0.5)
    everything = torch.ones_like(scores, dtype=torch.bool)
    assert torch.equal(bins.locate(scores, everything).bin, torch.searchsorted(bins.edges, scores, right=True))
    on_edges = bins.edges[:, :7].clamp(max=1e9)
    places = bins.locate(on_edges, everything[:, :7]).bin
    assert torch.equal(places, torch.searchsorted(bins.edges, on_edges, right=True))
