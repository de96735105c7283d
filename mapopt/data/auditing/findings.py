"""What an audit finds: records that say what is wrong, where, by which figure, and what to do."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mapopt.errors import ConfigError, unknown_name

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


_CONFIDENCE = "confidence, up to 1"

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
    "overlooked": Kind(
        "warning",
        "objects that a detector sees and nobody labeled",
        "look at the picture; label the object",
        _CONFIDENCE,
    ),
    "spurious": Kind(
        "warning", "labels where no detector sees an object", "look at the picture; remove the box", _CONFIDENCE
    ),
    "swapped_class": Kind(
        "warning",
        "labels that a detector takes for another class",
        "look at the picture; correct the class",
        _CONFIDENCE,
    ),
    "badly_placed": Kind(
        "warning", "boxes that a detector puts elsewhere", "look at the picture; redraw the box", _CONFIDENCE
    ),
    "labeled_twice": Kind(
        "warning", "two boxes of a class where a detector sees one object", "keep the better box", _CONFIDENCE
    ),
}
"""Every kind of finding, in the order in which they are listed."""

BY_MODEL = ("overlooked", "spurious", "swapped_class", "badly_placed", "labeled_twice")
"""Kinds that only detectors can find."""


MENDED = (
    "unreadable_label", "unknown_category", "unknown_image", "degenerate", "outside", "duplicate", "near_duplicate",
    "missing_image", "unreadable_image", "wrong_size", "leak_file", "leak_picture",
)  # fmt: skip
"""Kinds of findings that are mended without a look at them."""


def check_mended(kinds: Collection[str]) -> None:
    """Raises ConfigError unless all kinds can be mended."""
    known = (*MENDED, *BY_MODEL)
    for kind in kinds:
        if kind not in known:
            if kind in KINDS:
                raise ConfigError(f"'{kind}' needs a person: what can be mended is {', '.join(known)}")
            raise ConfigError(unknown_name("kind of finding", str(kind), known))


@dataclass(frozen=True)
class Proposal:
    """How a label is to be mended: another box, another class, a new object, or none.

    Attributes:
        action: add an object, remove the first of `Finding.objects`, or change it.
        box: its corners from now on; None leaves them.
        label: its category from now on, a position in the set's categories; None leaves it.
        category: the category's name.
    """

    action: Literal["add", "remove", "change"]
    box: tuple[float, float, float, float] | None = None
    label: int | None = None
    category: str | None = None

    def document(self) -> dict[str, Any]:
        """Returns plain values, for JSON; the category by its name."""
        return {name: value for name, value in asdict(self).items() if name != "label" and value is not None}


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
        proposal: how a detector would mend it; None where none was asked, or it can be mended without.
        price: what AP of the set gains when it is mended; None where that was not computed.
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
    proposal: Proposal | None = None
    price: float | None = None

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return KINDS[self.kind].severity

    def document(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        row = asdict(self)
        row["advice"], row["severity"] = KINDS[self.kind].advice, self.severity
        row["proposal"] = None if self.proposal is None else self.proposal.document()
        return {name: value for name, value in row.items() if name != "objects" and value not in ("", (), None)}


@dataclass(frozen=True, kw_only=True)
class Price:
    """What AP of a set is expected to gain when all findings of a kind are looked at, and mended where they are right.

    A finding counts with its confidence; the detections stay as they are.

    Attributes:
        kind: of findings; "all" for all kinds together.
        part: the set.
        findings: how many.
        before: AP against the labels as they are.
        after: AP that is expected against the mended labels.
    """

    kind: str
    part: str
    findings: int
    before: float
    after: float

    @property
    def gain(self) -> float:
        """What AP gains."""
        return self.after - self.before

    def document(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        return {**asdict(self), "gain": self.gain}


@dataclass(frozen=True, kw_only=True)
class TrainedPrice:
    """What val AP gains when detectors are trained on a train set in which all findings of a kind are mended.

    Attributes:
        kind: of findings; "all" for all kinds together.
        findings: how many in the train set.
        seeds: lanes with and without.
        images: that each lane was trained on.
        before: mean val AP of the lanes on the labels as they are.
        gain: paired difference over the seeds.
        low: lower end of its 95 % interval; NaN for a single seed.
        high: upper end.
        processor_seconds: what the lanes of this comparison took.
    """

    kind: str
    findings: int
    seeds: int
    images: int
    before: float
    gain: float
    low: float
    high: float
    processor_seconds: float

    def document(self) -> dict[str, Any]:
        """Returns plain values, for JSON, which has no NaN."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


def ranked(findings: Sequence[Finding]) -> list[Finding]:
    """Returns findings in the order of their kinds, and within a kind those with the clearest figure first."""
    order = {kind: place for place, kind in enumerate(KINDS)}
    smallest_first = ("degenerate", "rare_class")

    def key(finding: Finding) -> tuple[int, float]:
        figure = finding.figure if finding.figure is not None else 0.0
        return order[finding.kind], figure if finding.kind in smallest_first else -figure

    return sorted(findings, key=key)
