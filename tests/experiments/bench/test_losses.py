"""What the benchmark of the losses measures, against numbers that are known."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from mapopt.drawing.benchmark_figures import draw_growth
from mapopt.experiments.bench.claims import check_claims
from mapopt.experiments.bench.cost import extra_bytes, fastest
from mapopt.experiments.bench.fidelity import descend, measure_fidelity, measure_mass, member
from mapopt.experiments.bench.growth import (
    WARMUP,
    Contender,
    Limits,
    Point,
    contenders,
    largest_differences,
    measure_growth,
)
from mapopt.experiments.bench.growth_pages import memory_page, time_page
from mapopt.experiments.bench.problems import CLASSES, KINDS, draw_batch, draw_lists, exact_ap
from mapopt.losses import LOSSES

CPU = torch.device("cpu")


def ap_by_counting(scores: list[float], labels: list[float]) -> float:
    precisions = []
    for score, label in zip(scores, labels, strict=True):
        if label > 0:
            kept = [other > 0 for at, other in zip(scores, labels, strict=True) if at >= score]
            precisions.append(sum(kept) / len(kept))
    return sum(precisions) / len(precisions)


@pytest.mark.parametrize("kind", KINDS)
def test_ap_is_what_counting_gives(kind: str) -> None:
    scores, labels = draw_lists(kind, 8, 50, 7, seed=3)
    expected = [ap_by_counting(*row) for row in zip(scores.tolist(), labels.tolist(), strict=True)]
    assert exact_ap(scores, labels).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_lists_have_the_positives_asked_for_and_the_quality_of_their_kind(kind: str) -> None:
    scores, labels = draw_lists(kind, 40, 200, 20, seed=0)
    assert ((labels > 0).sum(1) == 20).all()
    assert labels[labels > 0].min() >= 0.5
    assert scores.isfinite().all()
    ap = exact_ap(scores, labels)
    if kind == "tied":
        assert scores.unique().numel() < 40
    if kind == "separated":
        assert ap.max() - ap.min() > 0.5
    if kind == "random":
        assert ap.mean() < 0.25
    if kind == "adversarial":
        assert scores[:, :].std(1)[2] > 100
        assert scores[:, :].std(1)[3] < 1e-3


def test_a_batch_has_its_classes_around_their_log_odds() -> None:
    scores, labels = draw_batch(4000, seed=0)
    assert (labels > 0).sum(1).tolist() == list(CLASSES.values())
    assert (scores.mean(1)[:-1] - scores.mean(1)[1:]).min() > 2


@pytest.mark.parametrize("name", ["ap", "alrp", "rank_sort"])
def test_the_published_loops_and_pairs_are_our_losses(name: str) -> None:
    differences = largest_differences([name], seed=1)
    assert f"{name}, published loop" in differences
    assert max(max(pair) for pair in differences.values()) < 1e-12


def test_a_wrong_loop_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from mapopt.experiments.bench import published

    monkeypatch.setitem(published.LOOPS, "ap", partial(published.ap_loop, delta=0.9))
    assert largest_differences(["ap"], seed=1)["ap, published loop"][0] > 1e-3


def test_extra_memory_is_the_peak_that_was_held_at_once() -> None:
    def work() -> None:
        first = torch.ones(1000, 1000)
        second = first + 1
        del first
        third = second * 2
        del second, third

    assert extra_bytes(work, CPU) == pytest.approx(8e6, rel=0.01)


def test_contenders_take_turns_until_their_patience_ends() -> None:
    turns = []
    works = {"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}
    assert set(fastest(works, repeats=3, device=CPU)) == {"a", "b"}
    assert turns == ["a", "b"] * 3
    turns.clear()
    slow = fastest({"a": lambda: turns.append(sum(range(10**6)))}, repeats=50, device=CPU, patience=0.01)
    assert 0 < slow["a"] < float("inf")
    assert len(turns) < 50


def grow(field: list[Contender], sizes: list[int], counts: list[float], limits: Limits) -> list[Point]:
    return measure_growth(field, sizes, counts, limits, device=CPU, seed=0)


def test_every_contender_is_measured_at_every_size() -> None:
    points = grow(contenders(["ap", "rank_sort"]), [100, 300], [0.1, 5, 200], Limits(repeats=1))
    names = {"ap", "rank_sort", "ap, published loop", "rank_sort, published loop", "ap, all pairs"}
    assert {(point.name, point.size, point.positives) for point in points} == {
        (name, *place) for name in names for place in ((100, 10), (300, 30), (100, 5), (300, 5))
    }, "lists in which most are positives are left out"
    assert all(point.seconds and point.bytes and not point.skipped for point in points)


def test_what_would_take_too_long_is_expected_from_the_size_before_and_said() -> None:
    calls = []

    def slow(scores: Tensor, labels: Tensor) -> Tensor:
        calls.append(len(scores))
        end = torch.zeros(())
        for _ in range(2000):
            end = end + scores[0]
        return end

    points = grow([Contender(name="slow", value=slow, by_pairs=True)], [10, 10**4, 10**5], [5], Limits(seconds=0.5))
    assert [(point.size, point.skipped) for point in points if point.skipped] == [
        (10**4, "> 0.5 s"),
        (10**5, "> 0.5 s"),
    ]
    assert set(calls) == {WARMUP, 10}


def test_what_would_take_too_much_memory_is_said() -> None:
    (pairs,) = (contender for contender in contenders(["ap"]) if contender.needs)
    points = grow([pairs], [100, 1000], [0.1], Limits(bytes=10**6, repeats=1))
    assert [point.skipped for point in points] == ["", "> 0.001 GB"]


def fake(name: str, size: int, positives: int, seconds: float, held: int = 10) -> Point:
    fraction = 0.01 if size == 100 * positives else 0.0
    return Point(
        name=name,
        ours=name.split(",")[0],
        fraction=fraction,
        size=size,
        positives=positives,
        seconds=seconds,
        bytes=held,
    )


def test_claims_hold_or_fail_by_what_was_measured() -> None:
    good = [
        fake("ap", 10**3, 10, 0.001),
        fake("ap", 10**5, 1000, 0.003),
        fake("ap", 10**5, 10, 0.003),
        fake("ap", 10**6, 10**4, 0.044),
        fake("ap, published loop", 10**5, 1000, 0.031),
        fake("ap, published loop", 10**5, 10, 0.0031),
        fake("ap, all pairs", 10**5, 1000, 1.0),
    ]
    bad = [
        fake("ap", 10**3, 10, 0.00001),
        fake("ap", 10**5, 1000, 0.0032, held=60_000_000),
        fake("ap", 10**5, 10, 0.0032),
        fake("ap", 10**6, 10**4, 0.049),
        fake("ap, published loop", 10**5, 1000, 0.031),
        fake("ap, published loop", 10**5, 10, 0.0031),
        fake("ap, all pairs", 10**5, 1000, 0.9),
    ]
    about_ap = [claim.verdict for claim in check_claims(good, {}) if claim.statement.startswith("ap")]
    assert about_ap == ["holds"] * 6
    assert [claim.verdict for claim in check_claims(bad, {}) if claim.statement.startswith("ap")] == ["FAILS"] * 6
    assert {claim.verdict for claim in check_claims([], {})} == {"not measured"}
    skipped = Point(name="ap, all pairs", ours="ap", fraction=0.0, size=10**5, positives=1000, skipped="> 3 s")
    again = fake("ap", 10**5, 1000, 9.0)
    again = Point(**{**vars(again), "fraction": 0.0})
    assert check_claims([*good, skipped, again], {}) == check_claims(good, {}), (
        "a skip elsewhere hides nothing, and turns are not mixed"
    )
    assert check_claims([], {"ap, published loop": (1e-12, 1e-9)})[-1].verdict == "FAILS"


def test_a_loss_that_is_ap_itself_is_faithful_and_its_opposite_is_not() -> None:
    def ideal(scores: Tensor, labels: Tensor) -> Tensor:
        missing = 1 - exact_ap(scores.detach(), labels)
        pull = ((labels == 0) * scores - (labels > 0) * scores).sum(-1)
        return missing + pull - pull.detach()

    faithful = measure_fidelity("ap", ideal, "separated", lists=30, seed=0)
    assert faithful.distance == pytest.approx(0, abs=1e-12)
    assert faithful.correlation == pytest.approx(1)
    assert faithful.raised > 0.9
    assert faithful.lowered == 0
    opposite = measure_fidelity("x", lambda scores, labels: 1 - ideal(scores, labels), "separated", lists=30, seed=0)
    assert opposite.distance is None, "a loss on another scale has no distance"
    assert opposite.correlation == pytest.approx(-1)
    assert opposite.lowered > 0.9


def test_descent_counts_the_steps_of_the_best_learning_rate() -> None:
    def push(scores: Tensor, labels: Tensor) -> Tensor:
        return ((labels == 0) * scores - (labels > 0) * scores).sum(-1)

    scores, labels = draw_lists("random", 3, 200, 20, seed=4)
    gaps = scores.masked_fill(labels > 0, -torch.inf).amax(1) - scores.masked_fill(labels == 0, torch.inf).amin(1)
    pushed = descend("push", push, seeds=3, limit=60, seed=4)
    assert pushed.learning_rate == 0.3
    assert pushed.steps == (gaps / 0.6).ceil().median()
    assert (pushed.arrived, pushed.ap) == (1.0, 1.0)
    stuck = descend("stuck", lambda scores, labels: (0 * scores).sum(-1), seeds=3, limit=2, seed=4)
    assert (stuck.steps, stuck.arrived) == (None, 0.0)
    assert stuck.ap < 0.3


def test_the_mass_of_the_gradient_is_divided_among_classes() -> None:
    by_scope = {mass.scope: mass for mass in measure_mass("ap", member("ap"), candidates=1000, seed=0)}
    for mass in by_scope.values():
        assert sum(mass.positives.values()) + sum(mass.negatives.values()) == pytest.approx(1)
    assert by_scope["class"].positives["rare"] > 5 * by_scope["batch"].positives["rare"]
    plain = measure_mass("plain", lambda scores, labels: scores.sum(-1), candidates=1000, seed=0)
    for mass in plain:
        assert mass.positives == pytest.approx({name: count / 3000 for name, count in CLASSES.items()})
        assert mass.negatives == pytest.approx({name: (1000 - count) / 3000 for name, count in CLASSES.items()})


def test_names_at_the_ends_of_lines_never_overlap_and_nothing_is_cut_off() -> None:
    points = [
        Point(name=name, ours="ap", fraction=0.01, size=size, positives=size // 100, seconds=1e-6 * size, bytes=size)
        for name in [*LOSSES, "ap, published loop", "ap, all pairs"]
        for size in (1000, 10_000, 100_000)
    ]
    for make_page in (time_page, memory_page):
        figure = draw_growth(make_page(points, where="CPU"))
        figure.draw_without_rendering()
        (axes,) = figure.axes
        names = [text for text in axes.texts if text.get_text() in {point.name for point in points}]
        assert len(names) == len(LOSSES) + 2
        boxes = sorted((text.get_window_extent() for text in names), key=lambda box: box.y0)
        assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))
        assert max(box.x1 for box in boxes) <= figure.bbox.x1
