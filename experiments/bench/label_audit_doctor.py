"""Second labels that LibreYOLO's doctor names, beside an audit without a detector, both of one YOLO folder.

The doctor names label files and no boxes, and has no order of them, so files are counted: how many that it names have
a planted second label, and how many that have one it names. It has no check for the other four kinds of faults; the
counts of its checks on the true labels and on the faulty ones show whether they see any.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapopt.data.annotations import Annotations
from mapopt.data.auditing.audit import audit
from mapopt.data.auditing.boxes import NEAR
from mapopt.data.writing import write_sets
from mapopt.errors import ConfigError
from mapopt.evaluation.label_audit.planting import Faults

OURS, THEIRS, NEARER = "mapopt audit", "doctor", f"doctor from IoU {NEAR} on"
"""Who names files: an audit without a detector, the doctor as it is, and with the audit's threshold."""
_TWICE = "labels.duplicate_box"


@dataclass(frozen=True, kw_only=True)
class DoctorAnswer:
    """What is named of the files that have a planted second label.

    Attributes:
        version: of libreyolo.
        files: how many label files have one.
        precision: by whom -> how many of the files that are named have one; without those that name none.
        recall: by whom -> how many of the files that have one are named.
        checks: the doctor's check -> what it counts in the true labels and in those with faults of all kinds.
    """

    version: str
    files: int
    precision: dict[str, float]
    recall: dict[str, float]
    checks: dict[str, tuple[int, int]]


def ask_doctor(python: Path, faults: Faults, true: Annotations) -> DoctorAnswer:
    """Returns which files with second labels are named, by the doctor and by an audit of the same folder.

    Args:
        python: has libreyolo installed.
        faults: labels with faults; file names lead to the images.
        true: labels without.

    Raises:
        ConfigError: the Python has no libreyolo, or the doctor fails.
    """
    notes = faults.annotations
    planted = np.zeros(len(notes), dtype=bool)
    planted[notes.images[faults.kind == "labeled_twice"]] = True
    with tempfile.TemporaryDirectory() as folder:
        before = _answers(python, _as_yolo(true, Path(folder) / "true"))
        written = _as_yolo(notes, Path(folder) / "faulty")
        after = _answers(python, written)
        named = {OURS: _ours(written)}
    for who, answer in ((THEIRS, after["given"]), (NEARER, after["other"])):
        named[who] = _images(answer.get(_TWICE, {"files": []})["files"], len(notes))
    checks = {}
    for check in sorted({*before["given"], *after["given"]}):
        first, second = (int(each["given"].get(check, {"count": 0})["count"]) for each in (before, after))
        checks[check] = (first, second)
    return DoctorAnswer(
        version=str(after["version"]),
        files=int(planted.sum()),
        precision={who: float(planted[rows].mean()) for who, rows in named.items() if rows.any()},
        recall={who: float(rows[planted].mean()) for who, rows in named.items() if planted.any()},
        checks=checks,
    )


def _as_yolo(notes: Annotations, folder: Path) -> Path:
    """Writes one set, whose images are called by their position, and returns its data.yaml."""
    names = tuple(f"{image:06d}{Path(name).suffix}" for image, name in enumerate(notes.file_names))
    files = {name: (notes.root or Path()) / path for name, path in zip(names, notes.file_names, strict=True)}
    write_sets({"train": replace(notes, file_names=names)}, folder, to="yolo", files={"train": files})
    return folder / "data.yaml"


def _answers(python: Path, data: Path) -> dict[str, Any]:
    script = Path(__file__).with_name("peers") / "doctor_files.py"
    done = subprocess.run([str(python), str(script), str(data), str(NEAR)], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ConfigError(f"doctor is {python}: it failed ({last}). Expected a Python with libreyolo installed")
    answers: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answers


def _ours(data: Path) -> NDArray[np.bool_]:
    """Says which files an audit names for two boxes of a class on one object, without a look at the images."""
    result = audit(data, images=False)
    twice = [each.image for kind in ("duplicate", "near_duplicate") for each in result.of(kind)]
    return _images(twice, len(result.sets[0].file_names))


def _images(names: Iterable[str], count: int) -> NDArray[np.bool_]:
    rows = np.zeros(count, dtype=bool)
    rows[[int(Path(name).stem) for name in names]] = True
    return rows
