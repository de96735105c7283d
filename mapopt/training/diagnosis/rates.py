"""Checks of the learning rate: by the length of the steps over that of the weights, and what became of the loss."""

from __future__ import annotations

from collections.abc import Iterator

from mapopt.training.diagnosis.case import Case
from mapopt.training.diagnosis.findings import Finding, measured
from mapopt.training.history import Round

_FALLS = 0.1
"""Fraction by which a loss must fall for steps not to be too short, whatever their length."""


def check_divergence(case: Case) -> Iterator[Finding]:
    """Yields that a loss or gradient was not finite."""
    lost = [played for played in case.history if played.interval.diverged]
    lr = case.history[-1].knobs.get("lr")
    yield measured(
        "diverged",
        len(lost),
        f"a loss or gradient was not finite in round {case.history[-1].index + 1}, at a learning rate of {lr:.3g}"
        if lost
        else "every loss and gradient was finite",
        f"--knobs.lr {lr / 10:.2g}",
    )


def check_steps(case: Case) -> Iterator[Finding]:
    """Yields the longest mean step of a round, relative to the weights: too long, or too short."""
    if not case.played:
        return
    peak = max(case.played, key=lambda played: played.interval.update_ratio)
    ratio, lr = peak.interval.update_ratio, peak.knobs.get("lr")
    losses = [_loss(played) for played in case.played]
    course = f"the loss went from {losses[0]:.3g} to {losses[-1]:.3g}"
    yield measured(
        "rate_too_high",
        ratio,
        f"at a learning rate of {lr:.3g} a step is {ratio:.2g} of the length of the weights, which are thrown about "
        f"rather than trained; {course}",
        f"--knobs.lr {_rounded(case.knobs.get('lr') / 10)}",
    )
    if losses[-1] < (1 - _FALLS) * losses[0]:
        return  # short steps that lead somewhere, as where a trained detector goes on
    yield measured(
        "rate_too_low",
        ratio,
        f"at a learning rate of {lr:.3g} a step is {ratio:.2g} of the length of the weights, which hardly move; "
        f"{course}",
        f"--knobs.lr {_rounded(min(3.0, case.knobs.get('lr') * 100))}, or leave it out for the optimizer's own",
    )


def check_collapse(case: Case) -> Iterator[Finding]:
    """Yields what is left of the best val AP at the end."""
    if case.ap < 0.05 or not case.played:
        return
    left = case.history[-1].val.ap / case.ap
    best = max(case.history, key=lambda played: played.val.ap)
    yield measured(
        "collapsed",
        left,
        f"val AP was {best.val.ap:.3f} after round {best.index + 1} and is {case.history[-1].val.ap:.3f} after round "
        f"{case.history[-1].index + 1}: what was learned is lost again",
        f"--knobs.lr {_rounded(case.knobs.get('lr') / 3)}",
    )


def _loss(played: Round) -> float:
    return played.interval.class_loss + played.interval.box_loss


def _rounded(value: float) -> str:
    return f"{value:.1g}" if value < 1 else f"{value:g}"
