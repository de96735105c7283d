"""What LibreYOLO's doctor says of a YOLO folder: run by a Python in which libreyolo is installed.

It imports nothing of this package: ``python doctor_files.py DATA.yaml IOU``. The doctor names files, no boxes: once
with its own thresholds, once with another IoU from which on two boxes of a class are one object labeled twice.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from typing import Any


def main(data: str, iou: str) -> None:
    """Prints, in the last line as JSON, the files that every check names."""
    from libreyolo.doctor import DoctorConfig, diagnose  # type: ignore[import-not-found]

    answers: dict[str, Any] = {"version": importlib.metadata.version("libreyolo")}
    for name, changed in (("given", {}), ("other", {"duplicate_box_iou": float(iou)})):
        # By default it names 20 files of each set at the most.
        config = DoctorConfig(max_examples=1_000_000_000, **changed)
        checks: dict[str, dict[str, Any]] = {}
        for finding in diagnose(data, config=config, fast=True, progress=False).findings:
            check = checks.setdefault(finding.check_id, {"count": 0, "files": []})
            check["count"] += finding.count or 0
            check["files"] += [str(path) for path in finding.paths]
        answers[name] = checks
    print()
    print(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
