"""What the losses claim of their cost, each beside what was measured: the last word of `mapopt bench losses`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mapopt.experiments.bench.growth import PAIRS, Point

Verdict = Literal["holds", "FAILS", "not measured"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement, what was measured of it, and whether it holds."""

    statement: str
    measured: str
    verdict: Verdict


def check_claims(points: Sequence[Point], differences: dict[str, tuple[float, float]]) -> list[Claim]:
    """Returns every claim with its figure.

    Args:
        points: of `measure_growth`.
        differences: of `largest_differences`.
    """
    table = _Table(points)
    claims = [_ratio(table, f"{name}, published loop", name, 10**5, 1000, factor) for name, factor in _LOOP_FACTORS]
    claims.append(_ratio(table, PAIRS, "ap", 10**5, 1000, 300))
    claims += [_ratio(table, f"{name}, published loop", name, 10**5, 10, 1) for name in ("ap", "alrp", "rank_sort")]
    claims += [_memory(table, name) for name, _ in _LOOP_FACTORS]
    claims.append(_step(table))
    claims += [_growth(table, name) for name, _ in _LOOP_FACTORS]
    for name, (loss, gradient) in differences.items():
        claims.append(
            Claim(
                statement=f"{name}: the same loss and gradient as ours, within 1e-10",
                measured=f"{loss:.1e} and {gradient:.1e}",
                verdict=_verdict(max(loss, gradient) <= 1e-10),
            )
        )
    return claims


_LOOP_FACTORS = (("ap", 10), ("alrp", 10), ("rank_sort", 6))


class _Table:
    """Points by name, size and number of positives; each fraction of positives was measured in turns of its own."""

    def __init__(self, points: Sequence[Point]) -> None:
        self._turns: dict[float, dict[tuple[str, int, int], Point]] = {}
        for point in points:
            self._turns.setdefault(point.fraction, {})[point.name, point.size, point.positives] = point

    def seconds(self, *wanted: tuple[str, int, int]) -> list[float] | None:
        """Returns the seconds of several points, from turns in which all were measured."""
        for turns in self._turns.values():
            measured = [seconds for key in wanted if key in turns and (seconds := turns[key].seconds) is not None]
            if len(measured) == len(wanted):
                return measured
        return None

    def held(self, name: str, size: int, positives: int) -> int | None:
        points = [turns.get((name, size, positives)) for turns in self._turns.values()]
        return next((point.bytes for point in points if point is not None and point.bytes is not None), None)


def _ratio(table: _Table, theirs: str, name: str, size: int, positives: int, factor: float) -> Claim:
    times = "not slower than" if factor == 1 else f"at least {factor:g} times faster than"
    other = "the matrix of all pairs" if theirs == PAIRS else "the published loop"
    statement = f"{name}, {size:,} scores, {positives:,} positives: {times} {other}"
    seconds = table.seconds((theirs, size, positives), (name, size, positives))
    if seconds is None:
        return _absent(statement)
    slow, fast = seconds
    measured = f"{slow / fast:.3g} times ({1e3 * fast:.2f} ms, {1e3 * slow:.4g} ms)"
    return Claim(statement=statement, measured=measured, verdict=_verdict(slow >= factor * fast))


def _memory(table: _Table, name: str) -> Claim:
    statement = f"{name}, 100,000 scores, 1,000 positives: under 50 MB of extra memory"
    held = table.held(name, 10**5, 1000)
    if held is None:
        return _absent(statement)
    return Claim(statement=statement, measured=f"{held / 1e6:.1f} MB", verdict=_verdict(held < 50e6))


def _step(table: _Table) -> Claim:
    statement = "ap, 1,000,000 scores, 10,000 positives: at most 15 times as long as a tenth of both"
    seconds = table.seconds(("ap", 10**5, 1000), ("ap", 10**6, 10**4))
    if seconds is None:
        return _absent(statement)
    small, large = seconds
    return Claim(statement=statement, measured=f"{large / small:.1f} times", verdict=_verdict(large <= 15 * small))


def _growth(table: _Table, name: str) -> Claim:
    low, high = 10**3, 10**6
    statement = f"{name}, 1 % positives: from {low:,} to {high:,} scores no faster than n log n"
    seconds = table.seconds((name, low, low // 100), (name, high, high // 100))
    if seconds is None:
        return _absent(statement)
    small, large = seconds
    allowed = high * math.log(high) / (low * math.log(low))
    measured = f"{large / small:.3g} times (n log n: {allowed:.0f})"
    return Claim(statement=statement, measured=measured, verdict=_verdict(large <= allowed * small))


def _absent(statement: str) -> Claim:
    return Claim(statement=statement, measured="", verdict="not measured")


def _verdict(holds: bool) -> Verdict:
    return "holds" if holds else "FAILS"
