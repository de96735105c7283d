"""Checks of the image files and annotations: what an audit finds, by the fraction of the data that it concerns."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

import numpy as np

from mapopt.data.auditing.findings import KINDS as AUDITED
from mapopt.data.images import ImageSet
from mapopt.training.diagnosis.case import Case
from mapopt.training.diagnosis.findings import Finding, measured

_OF_OBJECTS = (
    "unreadable_label", "unknown_category", "unknown_image", "degenerate", "outside", "duplicate", "near_duplicate",
    "two_classes",
)  # fmt: skip
"""Kinds of the audit that are about objects; the others are about images."""
_LEAKS = ("leak_file", "leak_picture", "leak_source")
_NO_FAULTS = ("turned_upright", "empty", "rare_class", "missing_class", "same_picture", *_LEAKS)
"""Kinds that are no faults, or that other checks are about."""
_NUMBER = re.compile(r"is of (?:category|class) '?(-?\d+)'?,")


def check_reading(case: Case) -> Iterator[Finding]:
    """Yields that the images or annotations were refused, with the reader's own words."""
    yield measured(
        "unreadable",
        bool(case.unreadable),
        case.unreadable.rstrip(".") or "the images and annotations were read",
        f"mapopt audit {case.data}, and correct what it lists" + _invalid(case.unreadable),
    )


def check_ids(case: Case) -> Iterator[Finding]:
    """Yields objects of a category one beyond the last, or one before the first, of a list with an empty other end."""
    if case.audit is None:
        return
    for raw in case.audit.sets:
        unknown = [
            int(match[1])
            for finding in case.audit.of("unknown_category")
            if finding.part == raw.part and (match := _NUMBER.match(finding.message))
        ]
        ids, counts = raw.category_ids, np.bincount(raw.labels, minlength=len(raw.category_ids))
        for beyond, empty in ((int(ids.max()) + 1, int(ids.argmin())), (int(ids.min()) - 1, int(ids.argmax()))):
            if not unknown or set(unknown) != {beyond} or counts[empty]:
                continue
            yield measured(
                "ids_off_by_one",
                len(unknown),
                f"in the {raw.part} set {len(unknown)} objects are of category {beyond}, which is not listed, and "
                f"'{raw.category_names[empty]}' (id {ids[empty]}) has none: all ids are off by one, so that every "
                "object has its neighbor's name",
                f"{'lower' if beyond > int(ids.max()) else 'raise'} every category id of the annotations by 1",
            )


def check_annotations(case: Case) -> Iterator[Finding]:
    """Yields each kind of fault that the audit finds, with the fraction of the objects or images that have it."""
    if case.audit is None:
        return
    objects = sum(len(raw.labels) for raw in case.audit.sets)
    images = sum(len(raw.file_names) for raw in case.audit.sets)
    for kind, count in case.audit.counts.items():
        if kind in _NO_FAULTS:
            continue
        of_objects = kind in _OF_OBJECTS
        whole = objects + (count if kind.startswith("un") else 0) if of_objects else images
        figure = 1.0 if kind == "misplaced_set" else count / max(1, whole)
        first = case.audit.of(kind)[0]
        fault = measured(
            "annotation_faults",
            figure,
            f"{AUDITED[kind].title}: {count} of {whole} {'objects' if of_objects else 'images'} ({figure:.1%}), such "
            f"as {first.part} {first.place}, which {first.message}",
            f"mapopt audit {case.audit.data} --kinds {kind} --fix NEW, and train on the copy: {AUDITED[kind].advice}",
        )
        yield dataclasses.replace(fault, severity=AUDITED[kind].severity)


def check_leaks(case: Case) -> Iterator[Finding]:
    """Yields the fraction of the val and test images that are in an earlier set, too."""
    if case.audit is None:
        return
    later = sum(len(raw.file_names) for raw in case.audit.sets[1:])
    busy = {(raw.part, raw.file_names[image]) for raw in case.audit.sets for image in np.unique(raw.images).tolist()}
    # Pictures without objects, such as those of an empty microscope, are alike without flattering anybody.
    leaks = [finding for kind in _LEAKS for finding in case.audit.of(kind) if (finding.part, finding.image) in busy]
    leaked = {(finding.part, finding.image) for finding in leaks}
    if later and leaked:
        first = leaks[0]
        yield measured(
            "leak",
            len(leaked) / later,
            f"evaluated on what it was trained on: {len(leaked)} of {later} val and test images "
            f"({len(leaked) / later:.1%}) are in an earlier set, too, such as {first.image}, which {first.message}",
            f"mapopt split {case.audit.data} --pool --group source --out NEW, and train on that",
        )


def check_likeness(case: Case) -> Iterator[Finding]:
    """Yields how differently bright or contrasty the val images are, in standard deviations of the train images'."""
    train, val = (_light(case.images[split]) for split in ("train", "val"))
    spread = np.maximum(train.std(axis=0), 4.0)
    distance = np.abs(train.mean(axis=0) - val.mean(axis=0)) / spread
    worst = int(distance.argmax())
    what = ("red", "green", "blue", "contrast")[worst]
    yield measured(
        "other_images",
        distance[worst],
        f"the val images are not like the train images: their mean {what} is {val.mean(axis=0)[worst]:.0f} where that "
        f"of the train images is {train.mean(axis=0)[worst]:.0f} of 255, {distance[worst]:.1f} standard deviations off",
        f"mapopt split {case.data} --pool --out NEW, which mixes the sets, or train on images like those of val",
    )
    dark = float(train[:, :3].mean())
    yield measured(
        "dark_images",
        dark,
        f"the train images are nearly black: their mean is {dark:.1f} of 255",
        "--bits 12, where images of 16 bits use 12 of them; else brighter images",
    )


def _light(images: ImageSet) -> np.ndarray:
    """Returns the mean of each channel and the standard deviation of each image without its margin, ``[I, 4]``."""
    rows = []
    for pixels, scale, width, height in zip(
        images.pixels, images.scale.tolist(), images.annotations.widths, images.annotations.heights, strict=True
    ):
        inner = pixels[:, : max(1, round(height * scale)), : max(1, round(width * scale))].flatten(1).float()
        rows.append([*inner.mean(1).tolist(), float(inner.mean(0).std(correction=0))])
    return np.array(rows)


def _invalid(said: str) -> str:
    return ", or leave such boxes out by --invalid drop" if "no area" in said or "outside" in said else ""
