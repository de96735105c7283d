"""Sums over wrongly sorted pairs: the wavelet tree and the matrix against each other and against plain loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mapopt.losses.sums.dominance import PairMatrix, PairTree
from mapopt.losses.sums.lists import Lists


@st.composite
def problems(draw: st.DrawFn) -> tuple[Lists, Tensor, float | Tensor]:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    rows, size = draw(st.integers(1, 3)), draw(st.integers(1, 70))
    scores = torch.randn(rows, size, generator=generator, dtype=torch.float64) * draw(st.sampled_from([0.3, 3.0, 1e3]))
    labels = torch.rand(rows, size, generator=generator, dtype=torch.float64)
    if draw(st.booleans()):
        scores, labels = scores.round(), (labels * 4).ceil() / 4
    labels = labels * (torch.rand(rows, size, generator=generator) < draw(st.sampled_from([0.2, 1.0])))
    width = draw(st.sampled_from([0.5, 1.0, 6.0]))
    if draw(st.booleans()):
        return Lists(scores, labels), labels, width * torch.arange(1.0, rows + 1, dtype=torch.float64)[:, None]
    return Lists(scores, labels), labels, width


@settings(max_examples=40, deadline=None)
@given(problems(), st.integers(0, 2**31))
def test_the_tree_and_the_matrix_equal_loops_over_pairs(
    problem: tuple[Lists, Tensor, float | Tensor], seed: int
) -> None:
    lists, labels, width = problem
    table = lists.table
    labels = table.take(labels)
    values = torch.rand((2, *labels.shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values = values * table.present
    widths = width[..., None] if isinstance(width, Tensor) else width
    scores = table.thresholds.clamp(max=1e6)
    distance = (scores[:, None, :] - scores[:, :, None]) / widths + 0.5
    wrong = (labels[:, None, :] < labels[:, :, None]).double()
    ramp = distance.clamp(0, 1) * wrong
    slope = ((distance >= 0) & (distance < 1)).double() * wrong / widths
    expected = {
        "above": torch.einsum("lij,clj->cli", ramp, values),
        "below": torch.einsum("lij,cli->clj", ramp, values),
        "above_density": torch.einsum("lij,clj->cli", slope, values),
        "below_density": torch.einsum("lij,cli->clj", slope, values),
    }
    for kind in (PairMatrix, PairTree):
        pairs = kind(table.thresholds, table.present, labels, width)
        for name, value in expected.items():
            sums = getattr(pairs, name)(values) * table.present
            torch.testing.assert_close(sums, value * table.present, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", [PairMatrix, PairTree])
def test_well_sorted_positives_have_exactly_no_wrong_pairs(kind: type) -> None:
    lists = Lists(torch.arange(200.0)[None], torch.linspace(0.1, 1, 200)[None])
    table = lists.table
    pairs = kind(table.thresholds, table.present, table.take(lists.labels).double(), 0.3)
    assert not pairs.above(lists.table.present[None]).any()
    assert not pairs.below(lists.table.present[None]).any()
