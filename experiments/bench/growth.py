"""How a loss's time and memory grow with the length of the list, beside the published ways to compute it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mapopt.experiments.bench.cost import extra_bytes, fastest
from mapopt.experiments.bench.problems import draw_list
from mapopt.experiments.bench.published import LOOPS, loop_loss, pairwise_ap, pairwise_bytes
from mapopt.losses import make_loss

PAIRS = "ap, all pairs"
"""The contender that makes the matrix of all pairs and leaves the rest to autograd."""

OF_PAIRS = frozenset({"smooth_ap", "ape", "approx_ndcg", "lambda_ap"})
"""Members of the family whose time grows with P x N, as their pages say."""

WARMUP = 16384
"""Scores of the list that is worked through before anything is timed."""

_PATIENCE = 0.8  # seconds; what takes longer gets one turn
_ROUNDS = 50  # of a loop, while its memory is measured: the profiler is slow and all rounds need the same
_PROFILED = 0.3  # seconds a work may take to have its memory measured, for the same reason


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A loss as the benchmark calls it.

    Attributes:
        name: as in the tables.
        value: scores ``[n]`` and labels ``[n]`` to a scalar.
        ours: the member of the family that it is compared with.
        by_pairs: its time grows with P x N.
        sample: as ``value``, a part of the work that needs the same memory; None for the whole.
        needs: bytes that it would keep, as far as that limits it.
    """

    name: str
    value: Callable[[Tensor, Tensor], Tensor]
    ours: str = "ap"
    by_pairs: bool = False
    sample: Callable[[Tensor, Tensor], Tensor] | None = None
    needs: Callable[[Tensor, Tensor], int] | None = None


@dataclass(frozen=True, kw_only=True)
class Point:
    """One contender on one list.

    Attributes:
        name: the contender.
        ours: the member that it is compared with.
        fraction: of positives, or 0 where their number is fixed.
        size: of the list.
        positives: in it.
        seconds: forward and backward, None where it was skipped.
        bytes: held at once beyond the input, at the most, None where that was not measured.
        skipped: why there is no time.
    """

    name: str
    ours: str
    fraction: float
    size: int
    positives: int
    seconds: float | None = None
    bytes: int | None = None
    skipped: str = ""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a point may cost.

    Attributes:
        seconds: a contender that is expected to take longer is skipped.
        bytes: one that would keep more is skipped.
        repeats: turns, as long as they are short.
    """

    seconds: float = 3.0
    bytes: int = 4 * 10**9
    repeats: int = 5


@dataclass
class _Course:
    """What is known of a contender's time so far."""

    seconds: float = 0.0
    size: int = 0
    pairs: int = 0
    over: bool = False
    contender: Contender = field(kw_only=True)

    def expected(self, size: int, positives: int) -> float:
        if not self.size:
            return 0.0
        return self.seconds * (size * positives / self.pairs if self.contender.by_pairs else size / self.size)


def contenders(members: Iterable[str]) -> list[Contender]:
    """Returns the members asked for, and of those that were published as loops or pairs also these."""
    field = [Contender(name=name, value=make_loss(name), ours=name, by_pairs=name in OF_PAIRS) for name in members]
    for name, loop in LOOPS.items():
        if name in members:
            field.append(
                Contender(
                    name=f"{name}, published loop",
                    value=partial(loop_loss, loop=loop),
                    ours=name,
                    by_pairs=True,
                    sample=partial(loop_loss, loop=loop, rounds=_ROUNDS),
                )
            )
    if "ap" in members:
        field.append(Contender(name=PAIRS, value=pairwise_ap, by_pairs=True, needs=pairwise_bytes))
    return field


def measure_growth(
    field: Sequence[Contender],
    sizes: Sequence[int],
    counts: Sequence[float],
    limits: Limits,
    *,
    device: torch.device,
    seed: int,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Point]:
    """Times every contender on lists of growing length.

    Args:
        field: the contenders.
        sizes: of the lists.
        counts: of positives: below 1 a fraction of the list, else their number.
        limits: what a point may cost.
        device: of the lists.
        seed: of the draw.
        progress: is called with what comes next.
    """
    points = []
    for contender in field:  # what a first call loads or compiles is no part of its time
        _both_ways(contender.value, *(part.to(device) for part in draw_list(WARMUP, 100, seed=seed)))
    for count in counts:
        courses = {contender.name: _Course(contender=contender) for contender in field}
        for size in sorted(sizes):
            positives = max(1, round(size * count)) if count < 1 else int(count)
            if 2 * positives > size:
                continue
            progress(f"{size} scores, {positives} positives")
            points += _measure_size(courses, size, positives, count if count < 1 else 0.0, limits, device, seed)
    return points


def _measure_size(
    courses: Mapping[str, _Course],
    size: int,
    positives: int,
    fraction: float,
    limits: Limits,
    device: torch.device,
    seed: int,
) -> list[Point]:
    scores, labels = (part.to(device) for part in draw_list(size, positives, seed=seed))
    works, skipped = {}, {}
    for name, course in courses.items():
        contender = course.contender
        if contender.needs is not None and contender.needs(scores, labels) > limits.bytes:
            skipped[name] = f"> {limits.bytes / 1e9:.3g} GB"
        elif course.over or course.expected(size, positives) > limits.seconds:
            skipped[name], course.over = f"> {limits.seconds:.3g} s", True
        else:
            works[name] = partial(_both_ways, contender.value, scores, labels)
    seconds = fastest(works, repeats=limits.repeats, device=device, patience=_PATIENCE)
    points = []
    for name, course in courses.items():
        contender, common = course.contender, {"fraction": fraction, "size": size, "positives": positives}
        if name in skipped:
            points.append(Point(name=name, ours=contender.ours, skipped=skipped[name], **common))  # type: ignore[arg-type]
            continue
        best = seconds[name]
        course.seconds, course.size, course.pairs = best, size, size * positives
        held = None
        if contender.sample is not None:
            held = extra_bytes(partial(_both_ways, contender.sample, scores, labels), device)
        elif best < _PROFILED:
            held = extra_bytes(works[name], device)
        points.append(Point(name=name, ours=contender.ours, seconds=best, bytes=held, **common))  # type: ignore[arg-type]
    return points


def exponent(points: Sequence[Point]) -> float | None:
    """Returns the exponent k of the best fit of seconds = c size^k, None with fewer than two points.

    >>> line = [Point(name="a", ours="a", fraction=0.0, size=n, positives=1, seconds=n**1.5) for n in (10, 100, 1000)]
    >>> round(exponent(line), 3)
    1.5
    """
    measured = [(math.log(point.size), math.log(point.seconds)) for point in points if point.seconds]
    if len(measured) < 2:
        return None
    sizes, seconds = np.array(measured).T
    return float(np.polyfit(sizes, seconds, 1)[0])


def largest_differences(members: Iterable[str], *, seed: int) -> dict[str, tuple[float, float]]:
    """Returns how far the published loops and pairs are from our classes: of the loss, and of any score's gradient.

    In float64, the largest over lists with all kinds of separation.

    Args:
        members: whose published forms to compare.
        seed: of the draw.
    """
    members, differences = tuple(members), {}
    for contender in contenders(members):
        if contender.name in members:
            continue
        exact = {"interpolate": False, "gradient": "exact"}
        ours = make_loss("ap", exact) if contender.name == PAIRS else make_loss(contender.ours)
        worst = [0.0, 0.0]
        for separation in (-2.0, 0.0, 2.0, 6.0):
            for positives in (1, 7, 60):
                scores, labels = draw_list(1500, positives, seed=seed, separation=separation)
                results = [_both_ways(value, scores.double(), labels.double()) for value in (contender.value, ours)]
                for place, (theirs, own) in enumerate(zip(*results, strict=True)):
                    worst[place] = max(worst[place], float((theirs - own).abs().max()))
        differences[contender.name] = (worst[0], worst[1])
    return differences


def _both_ways(value: Callable[[Tensor, Tensor], Tensor], scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the loss and the gradient of the scores."""
    leaf = scores.clone().requires_grad_()
    loss = value(leaf, labels)
    loss.backward()
    assert leaf.grad is not None
    return loss.detach(), leaf.grad
