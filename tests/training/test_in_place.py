"""Rows are changed in place, with the same bits however they are cut, and on accelerators, too."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mapopt.compiling import load_kernels
from mapopt.training import OPTIMIZERS, Knobs, RowOptimizer, make_optimizer
from mapopt.training.knob_tensors import stack_knobs
from mapopt.training.optimizers import in_place
from mapopt.training.optimizers.base import clip_rows, follow_rows
from mapopt.training.optimizers.in_place import LONG, InPlaceRows, pieces, runs_of

LANES, SIZE = 5, 301
PARTS = {"stem": (4, 3, 5, 5), "head": (1,)}
TABLE = stack_knobs([Knobs(lr=0.01 * (1 + lane), momentum=0.8, weight_decay=0.01) for lane in range(LANES)])
ACTIVE = torch.tensor([True, True, False, True, False])


def drawn(step: int) -> torch.Tensor:
    return torch.randn(LANES, SIZE, generator=torch.Generator().manual_seed(step))


def made(name: str, weights: torch.Tensor) -> RowOptimizer:
    """Makes an optimizer whose first steps are long, so that what it adds up over rows is seen in the weights."""
    settings = {"dog": {"reps_rel": 0.1}, "prodigy": {"d0": 0.01}}.get(name, {})
    return make_optimizer(name, weights, (torch.arange(SIZE) % 3 > 0).float(), settings, parts=PARTS)


def played(name: str) -> dict[str, torch.Tensor]:
    """Returns weights, state and lengths after a step of all lanes and two of some."""
    weights = drawn(0)
    optimizer = made(name, weights)
    for step, active in enumerate((torch.ones(LANES, dtype=torch.bool), ACTIVE, ACTIVE)):
        gradient = drawn(1 + step)
        if step:
            gradient[2] = torch.nan  # of a lane that diverged
        moved = optimizer.update(weights, gradient, TABLE, active)
    return {"weights": weights, "moved": moved, **optimizer.state}


def averaged() -> dict[str, torch.Tensor]:
    """Returns what a running average came to."""
    average, weights = drawn(0), drawn(1)
    weights[2] = torch.nan
    follow_rows(average, weights, torch.linspace(0.1, 0.9, LANES), ACTIVE)
    return {"average": average}


WORKS: dict[str, Callable[[], dict[str, torch.Tensor]]] = {
    **{name: lambda name=name: played(name) for name in OPTIMIZERS},  # type: ignore[misc]
    "running average": averaged,
}


ADDING = [name for name, kind in OPTIMIZERS.items() if getattr(kind, "lane_by_lane", False) and name != "muon"]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("name", WORKS)
@pytest.mark.parametrize("piece", [1, 64, 700])
def test_the_bits_do_not_depend_on_how_rows_are_cut(name: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in ADDING:
        pytest.skip("it adds up over rows, piece by piece")
    whole = WORKS[name]()
    monkeypatch.setattr(in_place, "PIECE", piece)
    assert same(whole, WORKS[name]())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_bits_of_a_lane_do_not_depend_on_how_many_there_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_place, "PIECE", 64)  # rows are longer than a piece
    many = played(name)
    for place in (0, 3):
        weights = drawn(0)[place : place + 1].clone()
        optimizer = made(name, weights)
        for step in (1, 2, 3):
            gradient = drawn(step)[place : place + 1]
            table = {knob: values[place : place + 1] for knob, values in TABLE.items()}
            optimizer.update(weights, gradient, table, torch.ones(1, dtype=torch.bool))
        assert torch.equal(weights[0], many["weights"][place])


@pytest.mark.parametrize("name", WORKS)
def test_where_asking_which_lanes_run_would_wait_they_are_put_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_host = WORKS[name]()
    monkeypatch.setattr(in_place, "waits", lambda tensor: True)
    assert same(on_host, WORKS[name]())
    assert all(torch.isfinite(value).all() for value in on_host.values())


def test_the_running_average_is_its_formula() -> None:
    decay = torch.linspace(0.1, 0.9, LANES)[:, None]
    expected = torch.where(ACTIVE[:, None], decay * drawn(0) + (1 - decay) * drawn(1), drawn(0))
    torch.testing.assert_close(averaged()["average"], expected)


def test_pieces_are_the_same_columns_of_all_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_place, "PIECE", 8)
    first, second = torch.arange(30.0).view(3, 10), torch.arange(10.0).expand(3, 10)
    cut = list(pieces(slice(1, 3), first, second, spare=1))
    assert [part.shape[1] for part, _, _ in cut] == [4, 4, 2]
    assert torch.equal(torch.cat([part for part, _, _ in cut], 1), first[1:3])
    assert torch.equal(torch.cat([part for _, part, _ in cut], 1), second[1:3])
    for part, _, scratch in cut:
        assert scratch.shape == part.shape


@pytest.mark.parametrize(
    ("active", "expected"), [([], []), ([0, 0], []), ([1], [(0, 1)]), ([0, 1, 1, 0, 1], [(1, 3), (4, 5)])]
)
def test_runs_are_the_neighbouring_lanes_that_are_active(active: list[int], expected: list[tuple[int, int]]) -> None:
    assert runs_of([bool(lane) for lane in active]) == [slice(*pair) for pair in expected]


def test_nothing_of_the_length_of_a_row_is_allocated_at_a_further_step() -> None:
    numbers = 20 * in_place.PIECE
    weights, gradient = torch.ones(1, numbers), torch.ones(1, numbers)
    layers = {f"layer.{place}": (8, numbers // 160) for place in range(20)}
    for name, kind in OPTIMIZERS.items():
        if not issubclass(kind, InPlaceRows):  # type: ignore[arg-type]
            continue
        optimizer = make_optimizer(name, weights, torch.ones(numbers), parts=layers)
        table, active = stack_knobs([Knobs(lr=1e-3)]), torch.ones(1, dtype=torch.bool)
        optimizer.update(weights, gradient, table, active)
        assert largest(lambda: optimizer.update(weights, gradient, table, active)) < 4 * numbers / 2, name  # noqa: B023
    average, decay = weights.clone(), torch.full((1,), 0.9)
    assert largest(lambda: follow_rows(average, weights, decay, active)) < 4 * numbers / 2
    assert largest(lambda: clip_rows(gradient, 0.5)) < 4 * numbers / 2


def largest(work: Callable[[], object]) -> int:
    """Returns the bytes of the largest tensor that is allocated meanwhile."""
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        work()
    assert profile.kineto_results is not None
    return max(event.nbytes() for event in profile.kineto_results.events() if event.name() == "[memory]")


def test_rows_that_are_short_enough_are_not_touched_by_clipping() -> None:
    gradient = torch.tensor([[3.0, 4.0], [torch.inf, 1.0]])
    clipped, norms = clip_rows(gradient, 5.0)
    assert clipped is gradient
    assert norms.tolist() == [5.0, torch.inf]
    assert clipped[0].tolist() == [3.0, 4.0]
    assert not torch.isfinite(clipped[1]).all(), "a row that is not finite stays so"


@pytest.mark.parametrize("name", [name for name, kind in OPTIMIZERS.items() if getattr(kind, "in_pieces", False)])
def test_a_long_row_moves_with_the_same_bits_and_its_step_is_not_kept(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_place, "PIECE", 64)
    monkeypatch.setattr(in_place, "load_kernels", lambda module: None)
    table = {key: value[:1] for key, value in TABLE.items()}
    played = []
    for long in (in_place.LONG, 1):
        monkeypatch.setattr(in_place, "LONG", long)
        weights = drawn(0)[:1]
        optimizer = made(name, weights)
        lengths = [optimizer.update(weights, drawn(step)[:1], table, torch.tensor([step < 3])) for step in range(1, 4)]
        played.append((weights, torch.cat(lengths), optimizer.state, optimizer))
    (kept, lengths, state, _), (weights, added, other, optimizer) = played
    assert torch.equal(weights, kept)
    assert same(state, other)
    assert torch.allclose(added, lengths, rtol=1e-6)
    assert added[2] == 0
    assert vars(optimizer)["_step"] is None


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_compiled_steps_of_a_long_row_are_the_same_within_rounding(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_kernels(in_place._KERNELS) is not None
    monkeypatch.setattr(in_place, "PIECE", 5000)
    size = LONG + 7
    knobs = stack_knobs([Knobs(lr=0.013, momentum=0.87, weight_decay=0.021)])
    draw = torch.Generator().manual_seed(3)
    start = torch.randn(1, size, generator=draw)
    slopes = [torch.randn(1, size, generator=draw) * 10.0**power for power in (-4, 0, -30)]
    slopes[1][0, :3] = torch.tensor([0.0, torch.inf, torch.nan])
    results = []
    for compiled in (True, False):
        if not compiled:
            monkeypatch.setattr(in_place, "load_kernels", lambda module: None)
        weights = start.clone()
        optimizer = make_optimizer(name, weights, (torch.arange(size) % 3 > 0).float(), {}, parts={"all": (size,)})
        lengths = [optimizer.update(weights, slope, knobs, torch.tensor([True])) for slope in slopes]
        results.append([weights, *optimizer.state.values(), *lengths])
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-6, equal_nan=True)
