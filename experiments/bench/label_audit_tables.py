"""What `mapopt bench audit` prints and writes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from mapopt.evaluation.label_audit.planting import PLANTED
from mapopt.evaluation.text_tables import new_table
from mapopt.experiments.bench.label_audit import WITHOUT, SetAudit
from mapopt.experiments.bench.label_audit_doctor import NEARER, OURS, THEIRS
from mapopt.files import write_json


def areas_table(audits: Sequence[SetAudit]) -> Table:
    """Returns the area under precision and recall of every kind and set, ours beside cleanlab's."""
    table = new_table(
        "area under precision and recall of planted faults, object by object",
        caption="detector: from detections alone, without a look at the pictures in boxes; cleanlab's from the same "
        "detections, where it has a score for that, with their scores, and with these calibrated; image: which images "
        "have a fault",
    )
    table.add_column("")
    for audit in audits:
        table.add_column(audit.name, justify="right")
        table.add_column("detector", justify="right")
        table.add_column("cleanlab", justify="right")
        table.add_column("calibrated", justify="right")
    for kind in (WITHOUT, *PLANTED, "image"):
        row = [
            _short(value)
            for audit in audits
            for value in (
                audit.area[kind],
                audit.detector.get(kind),
                audit.cleanlab.get(kind),
                audit.calibrated.get(kind),
            )
        ]
        table.add_row(kind, *row)
    return table


def doctor_table(audits: Sequence[SetAudit]) -> Table | None:
    """Returns which files with planted second labels are named without a detector; None where no doctor was asked."""
    asked = [(audit.name, audit.doctor) for audit in audits if audit.doctor is not None]
    if not asked:
        return None
    table = new_table(
        "label files with a planted second label, without a detector: precision, recall of what is named",
        caption=f"libreyolo {asked[0][1].version}; its doctor names files, and checks none of the other kinds",
    )
    table.add_column("")
    for name, answer in asked:
        table.add_column(f"{name}, {answer.files}", justify="right")
    for who in (OURS, THEIRS, NEARER):
        table.add_row(
            who, *(f"{_short(answer.precision.get(who))}, {_short(answer.recall.get(who))}" for _, answer in asked)
        )
    return table


def reports_table(audits: Sequence[SetAudit]) -> Table:
    """Returns how much of what is reported was planted, and how much of what was planted is reported."""
    table = new_table("reported at a confidence of .5: precision, recall")
    table.add_column("")
    for audit in audits:
        table.add_column(audit.name, justify="right")
    for kind in PLANTED:
        table.add_row(kind, *(f"{_short(audit.precision[kind])}, {_short(audit.recall[kind])}" for audit in audits))
    table.add_row("reported of the true labels", *(str(audit.untouched) for audit in audits))
    return table


def prices_table(audits: Sequence[SetAudit]) -> Table:
    """Returns what mending should gain, and what it gains."""
    table = new_table(
        "AP gained by mending: what is reported, as its price says; what was planted, really mended",
        caption="of the out-of-fold detections",
    )
    table.add_column("")
    for audit in audits:
        table.add_column(audit.name, justify="right")
        table.add_column("measured", justify="right")
    for kind in (*PLANTED, "all"):
        row = [f"{value:+.4f}" for audit in audits for value in (audit.predicted[kind], audit.measured[kind])]
        table.add_row(kind, *row)
    return table


def write_audits(audits: Sequence[SetAudit], folder: Path) -> Path:
    """Writes all numbers."""
    path = folder / "label_audit.json"
    write_json(path, [asdict(audit) for audit in audits])
    return path


def _short(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.2f}"
