"""What a diagnosis finds: records that say what costs AP, by which figure, why, and the one change to try.

A check hands back every figure that it measures; it is a finding where it is beyond the threshold of its kind, and the
farther beyond, the stronger the evidence. All thresholds stand in `mapopt.training.diagnosis.kinds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mapopt.data.auditing.findings import SEVERITIES, Severity
from mapopt.training.diagnosis.kinds import COUNTED, KINDS


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A figure with what it says.

    Attributes:
        kind: a name in `mapopt.training.diagnosis.kinds.KINDS`.
        figure: what `Kind.figure` says.
        message: why AP is low, as a sentence with the figure, without a full stop.
        change: the one change to try: flags or a command.
        severity: how bad it is; by default that of its kind.
        price: AP that the change is expected to gain, where it was measured; None where it was not.
    """

    kind: str
    figure: float
    message: str
    change: str
    severity: Severity = "note"
    price: float | None = None

    @property
    def evidence(self) -> float:
        """How far the figure is beyond its threshold, 0 (not at all) to 1; 1 for what is counted."""
        kind = KINDS[self.kind]
        if kind.source == COUNTED:
            return float(self.counts)
        low, high = (self.figure, kind.threshold) if kind.falls else (kind.threshold, self.figure)
        if high <= 0 or low > high:
            return 0.0
        return 1 - max(low, 0.0) / high

    @property
    def counts(self) -> bool:
        """Whether the figure is beyond its threshold, or at it."""
        kind = KINDS[self.kind]
        return self.figure <= kind.threshold if kind.falls else self.figure >= kind.threshold

    def document(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        kind = KINDS[self.kind]
        return {
            "kind": self.kind,
            "severity": self.severity,
            "title": kind.title,
            "figure": self.figure,
            "figure_is": kind.figure,
            "threshold": kind.threshold,
            "evidence": round(self.evidence, 4),
            "price": self.price,
            "message": self.message,
            "change": self.change,
        }


def measured(kind: str, figure: float, message: str, change: str, *, price: float | None = None) -> Finding:
    """Returns a figure of a kind, with the kind's severity."""
    return Finding(
        kind=kind,
        figure=float(figure),
        message=message,
        change=change,
        severity=KINDS[kind].severity,
        price=price,
    )


def ranked(findings: Sequence[Finding]) -> list[Finding]:
    """Returns findings in the order of evidence.

    Errors come before warnings before notes; what is to blame comes before what is lost by it; then the stronger
    evidence first, and of equal evidence the kinds in their order.
    """
    order = {kind: place for place, kind in enumerate(KINDS)}

    def key(finding: Finding) -> tuple[int, int, float, int]:
        level = KINDS[finding.kind].level
        return SEVERITIES.index(finding.severity), level, -finding.evidence, order[finding.kind]

    return sorted(findings, key=key)
