"""The diagnosis of a run: makes every check that it can, and returns the findings in the order of evidence."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mapopt.data.splits import Splits
from mapopt.errors import ConfigError, MapoptError, unknown_name
from mapopt.training.diagnosis.case import SAMPLE, Case
from mapopt.training.diagnosis.checks import CHECKS, is_there
from mapopt.training.diagnosis.findings import Finding, ranked
from mapopt.training.diagnosis.range_test import try_rates
from mapopt.training.diagnosis.reading import case_of, make_case, read_case
from mapopt.training.settings import TrainSettings
from mapopt.training.trained_run import TrainedRun


@dataclass(frozen=True)
class Diagnosis:
    """What a diagnosis found.

    Attributes:
        name: what was looked at.
        findings: figures that are beyond their thresholds, in the order of evidence.
        figures: all that was measured, in the order of the checks.
        left_out: name of each check that could not be made, and why.
    """

    name: str
    findings: tuple[Finding, ...]
    figures: tuple[Finding, ...]
    left_out: dict[str, str]

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """The findings that are more than notes."""
        return tuple(finding for finding in self.findings if finding.severity != "note")

    def document(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        return {
            "name": self.name,
            "findings": [finding.document() for finding in self.findings],
            "figures": [finding.document() for finding in self.figures],
            "left_out": self.left_out,
        }


def diagnose_run(
    run: TrainSettings | TrainedRun | Path,
    *,
    splits: Splits | None = None,
    detector: Any = None,
    checks: Sequence[str] = (),
    sample: int = SAMPLE,
    look: bool = True,
    range_test: bool = False,
    device: torch.device | str = "cpu",
) -> Diagnosis:
    """Says why the AP of a run is low, or would be; what `mapopt diagnose` and `mapopt.diagnose` do.

    Args:
        run: the folder of a run, what `mapopt.train` returned, or the settings of a run that is not begun.
        splits: the images, if they are in memory.
        detector: what the detector is, if it is none of ours.
        checks: names in `mapopt.training.diagnosis.checks.CHECKS`; all by default.
        sample: images of a split to look at.
        look: whether image files are audited, too.
        range_test: whether learning rates are tried.
        device: where to run a stored detector, and to try learning rates.

    Raises:
        ConfigError: there is no such check.
        StoreError: the folder holds no run.
        CheckpointError: its checkpoint is damaged, or its detector is one of somebody's own that is not given.
    """
    for name in checks:
        if name not in CHECKS:
            raise ConfigError(unknown_name("check", str(name), CHECKS))
    if isinstance(run, TrainedRun):
        case = case_of(run, look=look, sample=sample)
    elif isinstance(run, Path):
        case = read_case(run, splits=splits, detector=detector, device=device, look=look, sample=sample)
    else:
        case = make_case(run, splits=splits, in_memory=splits is not None, look=look, sample=sample)
    result = diagnose_case(case, checks)
    if not range_test:
        return result
    if case.splits is None:
        return dataclasses.replace(result, left_out={**result.left_out, "range test": _MISSING["images"]})
    return _of(case, [*result.figures, *try_rates(case, device=device)], result.left_out)


def diagnose_case(case: Case, checks: Sequence[str] = ()) -> Diagnosis:
    """Makes checks, all by default, as far as the case has what they need."""
    figures: list[Finding] = []
    left_out: dict[str, str] = {}
    for name, check in CHECKS.items():
        if checks and name not in checks:
            continue
        if not is_there(case, check.need):
            left_out[name] = _MISSING[check.need]
            continue
        try:
            figures += check.look(case)
        except MapoptError as error:
            left_out[name] = str(error)
    return _of(case, figures, left_out)


_MISSING = {
    "audit": "no folder to audit",
    "images": "no images",
    "rounds": "no round yet",
    "detector": "no trained detector, or no images",
}
"""What a check needs -> why it is left out."""


def _of(case: Case, figures: Sequence[Finding], left_out: dict[str, str]) -> Diagnosis:
    return Diagnosis(
        name=case.name,
        findings=tuple(ranked([figure for figure in figures if figure.counts])),
        figures=tuple(figures),
        left_out=left_out,
    )
