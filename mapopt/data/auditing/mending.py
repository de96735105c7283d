"""Writes a mended copy of an audited data set: what can be mended without a look at it, and what is asked for.

Boxes without area go, those over the edge are cut, the later of two boxes of a class on one place goes, images that
cannot be read go with their objects, sizes are corrected where the picture was only scaled, and images that a later set
has too leave the earlier set. Where a detector contradicts a label, its proposal is followed if that kind is asked for
and it is sure enough. What needs a person stays as it is, and is listed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mapopt.data.annotations import Annotations
from mapopt.data.auditing.audit import Audit
from mapopt.data.auditing.findings import BY_MODEL, KINDS, MENDED, Finding, check_mended
from mapopt.data.auditing.raw import Box, RawSet
from mapopt.data.invalid import wrong_boxes
from mapopt.data.writing import Format, ImageFiles, WrittenSets, write_sets
from mapopt.errors import ConfigError, DataError
from mapopt.wording import speaks_python

_SAME_SHAPE = 0.01
"""By how much the ratio of the sides may differ where a picture was only scaled: rounding of the smaller size."""


@speaks_python
def mend(
    audit: Audit,
    out: str | Path,
    *,
    kinds: Collection[str] = (),
    confidence: float = 0.9,
    to: Format = "coco",
    images: ImageFiles = "link",
    overwrite: bool = False,
) -> WrittenSets:
    """Writes a mended copy of an audited data set into a new folder; the old one stays as it is.

    Args:
        audit: the audit.
        out: the new folder.
        kinds: of findings that are mended; by default all of `mapopt.data.auditing.findings.MENDED`. What cannot be
            written, such as a box without area, is mended in any case.
        confidence: of what detectors say, mend what is at least so sure.
        to: what to write: ``"coco"``, ``"voc"`` or ``"yolo"``.
        images: ``"link"``, ``"copy"`` or ``"none"``, see `mapopt.data.convert`.
        overwrite: replace the data set that mapopt wrote into `out`.

    Raises:
        ConfigError: a kind cannot be mended, or the confidence is not 0 to 1.
        DataError: no image is left in a set, or the boxes of a whole set are in another form.
        StoreError: `out` is not empty, or cannot be written.
    """
    check_mended(kinds)
    if not 0 <= confidence <= 1:
        raise ConfigError(f"confidence is {confidence}: expected 0 to 1, from where on a detector is followed")
    chosen = [f for f in audit.findings if _is_chosen(f, kinds, confidence)]
    for finding in audit.of("misplaced_set"):
        raise DataError(f"{finding.place}: {finding.message}. Correct this first: it is not mended.")
    sets, files = {}, {}
    for raw, seen in zip(audit.sets, audit.seen_sizes, strict=True):
        sets[raw.part], files[raw.part] = _mended(chosen, raw, seen)
    remarks = []
    for kind, count in audit.counts.items():
        done = sum(finding.kind == kind for finding in chosen)
        if done:
            remarks.append(f"Mended: {done} x {KINDS[kind].title}.")
        if count > done and KINDS[kind].severity != "note":
            remarks.append(f"Left as it is: {count - done} x {KINDS[kind].title}; {KINDS[kind].advice}.")
    written = write_sets(
        sets,
        out,
        to=to,
        images=images,
        overwrite=overwrite,
        sources=[audit.data],
        files=None if images == "none" else files,
    )
    return replace(written, notes=(*remarks, *written.notes))


_ALWAYS = tuple(kind for kind in MENDED if kind not in ("duplicate", "near_duplicate", "leak_file", "leak_picture"))
"""What cannot be written as it is."""


def _is_chosen(finding: Finding, kinds: Collection[str], confidence: float) -> bool:
    """Says whether a finding is mended."""
    if finding.kind not in BY_MODEL:
        return finding.kind in _ALWAYS or finding.kind in (kinds or MENDED)
    sure = finding.figure is not None and finding.figure >= confidence
    proposal = finding.proposal
    possible = proposal is not None and (proposal.category is None or proposal.label is not None)
    return finding.kind in kinds and sure and possible


def _followed(findings: Sequence[Finding], raw: RawSet) -> tuple[RawSet, NDArray[np.bool_]]:
    """Returns a set with what detectors propose: changed and added objects, and which of them stay."""
    boxes, labels, area = raw.boxes.copy(), raw.labels.copy(), raw.area.copy()
    keep = np.ones(len(labels), dtype=bool)
    places = {name: image for image, name in reversed(list(enumerate(raw.file_names)))}
    added: list[tuple[Box, int, int]] = []
    for finding in findings:
        proposal = finding.proposal
        if finding.part != raw.part or proposal is None:
            continue
        if proposal.action == "add":
            assert proposal.box is not None
            assert proposal.label is not None
            added.append((proposal.box, proposal.label, places[finding.image]))
        elif proposal.action == "remove":
            keep[finding.objects[0]] = False
        else:
            row = finding.objects[0]
            if proposal.box is not None:
                boxes[row], area[row] = proposal.box, np.nan
            if proposal.label is not None:
                labels[row] = proposal.label
    count = len(added)
    changed = replace(
        raw,
        boxes=np.concatenate([boxes, np.array([box for box, _, _ in added]).reshape(-1, 4)]),
        labels=np.concatenate([labels, np.array([label for _, label, _ in added], dtype=np.int64)]),
        images=np.concatenate([raw.images, np.array([image for *_, image in added], dtype=np.int64)]),
        crowd=np.concatenate([raw.crowd, np.zeros(count, dtype=bool)]),
        area=np.concatenate([area, np.full(count, np.nan)]),
        places=(*raw.places, *("added" for _ in added)),
    )
    return changed, np.concatenate([keep, np.ones(count, dtype=bool)])


def _mended(
    findings: Sequence[Finding], raw: RawSet, seen: NDArray[np.int64]
) -> tuple[Annotations, Mapping[str, Path]]:
    """Returns a set without what is mended, and the file of every image by its name."""
    raw, keep_object = _followed(findings, raw)
    keep_image = np.ones(len(raw.file_names), dtype=bool)
    places: dict[str, int] = {}
    for image, name in enumerate(raw.file_names):
        places.setdefault(name, image)
    for finding in findings:
        if finding.part == raw.part and finding.kind in ("duplicate", "near_duplicate"):
            keep_object[finding.objects[0]] = False
        if finding.part == raw.part and finding.kind in ("missing_image", "unreadable_image"):
            keep_image[places[finding.image]] = False
        if finding.kind in ("leak_file", "leak_picture") and finding.other and finding.other[0] == raw.part:
            keep_image[places[finding.other[1]]] = False
    # An image that is listed twice is one image with all its objects.
    first = np.array([places[name] for name in raw.file_names])
    keep_image &= first == np.arange(len(first))
    sizes, scale = _sizes(raw, seen)
    keep_image &= (sizes > 0).all(axis=1)
    if not keep_image.any():
        raise DataError(f"no image of the {raw.part} set is left. Look at the findings first: mapopt audit.")
    owners = first[raw.images]
    limits = np.tile(sizes[owners], 2).astype(np.float64)
    boxes = raw.boxes * np.tile(scale[owners], 2)
    outside = wrong_boxes(boxes, limits[:, 0].astype(np.int64), limits[:, 1].astype(np.int64))
    cut = np.where(outside[:, None], np.clip(boxes, 0, limits), boxes)
    keep_object &= keep_image[owners] & (cut[:, 2:] > cut[:, :2]).all(axis=1)
    order = np.flatnonzero(keep_object)
    order = order[np.argsort(owners[order], kind="stable")]
    kept = np.flatnonzero(keep_image)
    position = np.full(len(first), -1)
    position[kept] = np.arange(len(kept))
    box_area = (cut[order, 2:] - cut[order, :2]).prod(axis=1)
    area = raw.area[order] * scale[owners[order]].prod(axis=1)
    area = np.where(np.isfinite(area) & (area > 0), np.minimum(area, box_area), box_area)
    notes = Annotations(
        image_ids=np.arange(1, len(kept) + 1),
        file_names=tuple(raw.file_names[image] for image in kept),
        widths=sizes[kept, 0],
        heights=sizes[kept, 1],
        category_ids=raw.category_ids,
        category_names=raw.category_names,
        boxes=cut[order],
        labels=raw.labels[order],
        images=position[owners[order]],
        crowd=raw.crowd[order],
        area=area,
        ids=np.arange(1, len(order) + 1),
    )
    return notes, {raw.file_names[image]: raw.paths[image] for image in kept}


def _sizes(raw: RawSet, seen: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns the size of every image, 0 where it must go, and by what boxes are multiplied.

    Args:
        raw: the set.
        seen: ``[I, 2]`` sizes of the files, 0 where they were not looked at or cannot be read.
    """
    sizes, scale = raw.sizes.copy(), np.ones(raw.sizes.shape)
    for image, (annotated, real) in enumerate(zip(raw.sizes, seen, strict=True)):
        if not real.all() or (real == annotated).all() or (real[::-1] == annotated).all():
            continue
        if not annotated.all():
            sizes[image] = real
            continue
        factors = real / annotated
        sizes[image] = real if abs(factors[0] / factors[1] - 1) <= _SAME_SHAPE else 0
        scale[image] = factors
    return sizes, scale
