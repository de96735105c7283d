"""A diagnosis as text: findings in the order of evidence, each with its figure, the reason and the change to try."""

from __future__ import annotations

import textwrap

from mapopt.training.diagnosis.diagnose import Diagnosis
from mapopt.training.diagnosis.findings import Finding
from mapopt.training.diagnosis.kinds import KINDS

_COLUMNS = 100


def describe(diagnosis: Diagnosis, *, figures: bool = False) -> str:
    """Returns a diagnosis as lines of text.

    Args:
        diagnosis: what was found.
        figures: list every figure that was measured, too.
    """
    alarms = diagnosis.alarms
    notes = [finding for finding in diagnosis.findings if finding.severity == "note"]
    count = len(alarms)
    said = "nothing was found that would explain a low AP" if not count else f"{count} finding{'s' * (count > 1)}"
    lines = [f"{diagnosis.name}: {said}; {len(diagnosis.figures)} figures were measured"]
    for number, finding in enumerate(alarms, start=1):
        lines += ["", *_entry(f"{number}. {finding.severity}: ", finding)]
    if notes:
        lines += ["", "good to know"]
        for finding in notes:
            lines += _entry("- ", finding)
    if figures:
        lines += ["", "every figure, and the threshold that it is held to"]
        width = max((len(finding.kind) for finding in diagnosis.figures), default=0)
        lines += [f"  {finding.kind:{width}}  {_row(finding)}" for finding in diagnosis.figures]
    if diagnosis.left_out:
        reasons: dict[str, list[str]] = {}
        for name, reason in diagnosis.left_out.items():
            reasons.setdefault(reason, []).append(name)
        left = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
        lines += ["", *textwrap.wrap(f"not looked at: {left}", _COLUMNS, break_on_hyphens=False)]
    return "\n".join(lines)


def one_line(finding: Finding) -> str:
    """Returns a finding as a sentence with what to try."""
    return f"{finding.message}. Try: {finding.change}"


def _entry(lead: str, finding: Finding) -> list[str]:
    kind = KINDS[finding.kind]
    head = f"{lead}{kind.title} [{_row(finding)}]"
    text = textwrap.wrap(f"{finding.message}.", _COLUMNS - 3, break_on_hyphens=False, break_long_words=False)
    price = "" if not finding.price else f" (measured: {finding.price:+.3f} AP)"
    # A flag is copied from here, so it is not broken over two lines.
    return [head, *(f"   {line}" for line in text), f"   try: {finding.change}{price}"]


def _row(finding: Finding) -> str:
    """Returns a figure with its threshold."""
    kind = KINDS[finding.kind]
    bound = f"{kind.threshold:g} or less" if kind.falls else f"{kind.threshold:g} or more"
    return f"{kind.figure}: {finding.figure:.3g}; a finding is {bound}"
