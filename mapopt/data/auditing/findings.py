"""What an audit finds: records that say what is wrong, where, by which figure, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
"""What makes numbers wrong or stops a reader; what probably costs AP; what is good to know."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Kind:
    """A kind of finding: how bad it is, what it is in words, and what to do about it."""

    severity: Severity
    title: str
    advice: str
    figure: str = ""
    """What the figure of a finding is; empty where it has none."""


KINDS: dict[str, Kind] = {
    "unreadable_label": Kind("error", "labels that cannot be read", "correct or remove the line or entry"),
    "unknown_category": Kind("error", "objects of a category that is not listed", "add the category or correct the id"),
    "unknown_image": Kind("error", "objects of an image that is not listed", "add the image or remove the object"),
    "misplaced_set": Kind("error", "boxes of a whole set in another form", "convert the boxes as the message says"),
    "degenerate": Kind("error", "boxes without area", "remove or redraw them", "shorter side in pixels"),
    "outside": Kind("error", "boxes that reach out of their image", "cut them at the edge, or redraw", "pixels out"),
    "duplicate": Kind("warning", "the same object boxed twice", "keep one of the boxes", "IoU"),
    "near_duplicate": Kind("warning", "two boxes of a class on nearly the same place", "keep one of the boxes", "IoU"),
    "two_classes": Kind("warning", "two boxes of different classes on the same place", "keep the right class", "IoU"),
    "shifted_file": Kind(
        "warning",
        "label files whose boxes fit better elsewhere",
        "look at the picture; redraw, or move all boxes",
        "how much better, in standard deviations",
    ),
    "missing_image": Kind("error", "images that are not there", "add the file or remove the entry"),
    "unreadable_image": Kind("error", "images that cannot be read", "replace or remove the file"),
    "wrong_size": Kind("error", "images of another size than annotated", "use the images that were annotated"),
    "turned": Kind(
        "warning", "photographs that EXIF turns, with boxes on the stored view", "save them upright, with turned boxes"
    ),
    "turned_upright": Kind(
        "note", "photographs that EXIF turns", "save them upright, for tools that pass over the note"
    ),
    "empty": Kind("note", "images without objects", "check that there is nothing to see"),
    "rare_class": Kind("note", "classes with few objects in the train set", "add images or weigh the class", "objects"),
    "missing_class": Kind("warning", "classes that a set lacks", "divide again: mapopt split --pool", "objects in all"),
    "leak_file": Kind("error", "the same file in two sets", "remove it from the earlier set"),
    "leak_picture": Kind(
        "error", "nearly the same picture in two sets", "remove it from the earlier set", "likeness, up to 1"
    ),
    "leak_source": Kind(
        "warning", "pictures of one source in two sets", "divide by source: mapopt split --pool --group source"
    ),
    "same_file": Kind("warning", "the same file twice in a set", "keep one of them, with all its objects"),
    "same_picture": Kind(
        "note",
        "nearly the same picture twice in a set",
        "keep one of them, or give it less weight",
        "likeness, up to 1",
    ),
}
"""Every kind of finding, in the order in which they are listed."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or good to know.

    Attributes:
        kind: a name in `KINDS`.
        part: the set: train, val, test or whole.
        place: what a person looks up: a file and a line, an annotation, an image or a class.
        message: what is wrong, as a sentence without a full stop.
        figure: what `Kind.figure` says, by which findings of a kind are ranked; None where there is none.
        image: the image's file name; empty where it is about none.
        boxes: corners of what is concerned, in pixels of the image; the box that is meant comes first.
        other: the other set and image of a leak; empty else.
        objects: positions of the objects in their set, in the order of `boxes`, for mending.
    """

    kind: str
    part: str
    place: str
    message: str
    figure: float | None = None
    image: str = ""
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    other: tuple[str, str] | None = None
    objects: tuple[int, ...] = ()

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return KINDS[self.kind].severity

    def document(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        row = asdict(self)
        row["advice"], row["severity"] = KINDS[self.kind].advice, self.severity
        return {name: value for name, value in row.items() if name != "objects" and value not in ("", (), None)}


def ranked(findings: Sequence[Finding]) -> list[Finding]:
    """Returns findings in the order of their kinds, and within a kind those with the clearest figure first."""
    order = {kind: place for place, kind in enumerate(KINDS)}
    smallest_first = ("degenerate", "rare_class")

    def key(finding: Finding) -> tuple[int, float]:
        figure = finding.figure if finding.figure is not None else 0.0
        return order[finding.kind], figure if finding.kind in smallest_first else -figure

    return sorted(findings, key=key)
