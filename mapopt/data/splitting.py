"""Divides a data set into train, val and test sets, and writes them into a new folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mapopt.bounds import check_seed
from mapopt.data.annotations import Annotations
from mapopt.data.folders import read_sets
from mapopt.data.invalid import Invalid
from mapopt.data.joining import join
from mapopt.data.layouts import Layout
from mapopt.data.siblings import groups_of
from mapopt.data.stratifying import stratify
from mapopt.data.writing import Format, ImageFiles, WrittenSets, check_target, check_ways, write_sets
from mapopt.errors import ConfigError, DataError, shown
from mapopt.wording import speaks_python

_SETS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """How a data set is divided."""

    fractions: tuple[float, ...] = (0.7, 0.15, 0.15)
    """Of the train, val and test sets, or of train and val alone; their sum is 1."""
    group: str = "image"
    """What stays together: image, source (names such as NAME.rf.HASH.jpg or NAME_aug_3.png), folder, a regular
    expression whose first bracket is the group, or a .csv or .json file that says the group of every file name."""
    pool: bool = False
    """Put the sets that are there together first, and divide all images anew."""
    seed: int = 0
    """Decides between images that are alike."""

    def check(self) -> None:
        """Raises an error where a setting is not possible.

        Raises:
            ConfigError: as said.
        """
        check_seed(self.seed)
        good = len(self.fractions) in (2, 3) and all(0 < fraction < 1 for fraction in self.fractions)
        if not good or abs(sum(self.fractions) - 1) > 1e-6:
            raise ConfigError(
                f"fractions is {shown(list(self.fractions))}: expected two or three positive fractions, for train, val "
                "and test, whose sum is 1, such as 0.7 0.15 0.15"
            )


def divide_set(notes: Annotations, settings: SplitSettings) -> tuple[dict[str, Annotations], list[str]]:
    """Returns the train, val and perhaps test sets of a whole, and how they came about, a sentence each.

    Every set gets its fraction of every class as nearly as whole groups allow, and an object of every class that lies
    in as many groups as there are sets.

    Args:
        notes: the whole.
        settings: how it is divided.

    Raises:
        ConfigError: a setting is not possible.
        DataError: there are fewer groups than sets.
    """
    settings.check()
    parts = len(settings.fractions)
    groups, how = groups_of(notes.file_names, settings.group)
    count = int(groups.max()) + 1
    if count < parts:
        raise DataError(
            f"there are {count} groups of images ({how}), which cannot be divided into {parts} sets. Choose another "
            "--group."
        )
    objects = np.zeros((count, len(notes.category_ids)), dtype=np.int64)
    real = ~notes.crowd
    np.add.at(objects, (groups[notes.images[real]], notes.labels[real]), 1)
    part_of = stratify(objects, np.bincount(groups, minlength=count), settings.fractions, seed=settings.seed)
    empty = [name for part, name in enumerate(_SETS[:parts]) if not (part_of == part).any()]
    if empty:
        raise DataError(
            f"the {empty[0]} set would have no image: {len(notes)} images in {count} groups are too few for fractions "
            f"{shown(list(settings.fractions))}. Give larger fractions, or another --group."
        )
    bare = replace(notes, remarks=())
    sets = {name: bare.select(part_of[groups] == part) for part, name in enumerate(_SETS[:parts])}
    fractions = ", ".join(f"{fraction:g}" for fraction in settings.fractions)
    remarks = [f"Divided into {fractions} by seed {settings.seed}, {how}."]
    return sets, [*remarks, *_about_rare_classes(sets, groups, notes)]


@speaks_python
def split(
    data: str | Path,
    out: str | Path,
    settings: SplitSettings | None = None,
    *,
    to: Format = "coco",
    layout: Layout = "auto",
    invalid: Invalid = "error",
    images: ImageFiles = "link",
    overwrite: bool = False,
) -> WrittenSets:
    """Divides a data set into train, val and test sets in a new folder: `mapopt split` from Python.

    Args:
        data: a folder of COCO, Pascal VOC or YOLO, a YOLO ``data.yaml``, or a COCO ``.json``.
        out: the new folder.
        settings: how it is divided; by default 70, 15 and 15 % of the images, stratified by class.
        to: what to write: ``"coco"``, ``"voc"`` or ``"yolo"``.
        layout: what `data` is; ``"auto"`` finds out.
        invalid: what to do with boxes outside their image or without area: ``"error"``, ``"clip"`` or ``"drop"``.
        images: ``"link"``, ``"copy"`` or ``"none"``, see `convert`.
        overwrite: replace the data set that mapopt wrote into `out`.

    Raises:
        DataError: the data cannot be read or divided, or an image is missing.
        ConfigError: a setting is not possible, or the data have sets of their own and are not to be pooled.
        StoreError: `out` is not empty, or cannot be written.
    """
    settings = settings or SplitSettings()
    settings.check()
    check_ways(to, images)
    check_target(out, [data], overwrite=overwrite)
    sets = read_sets(data, layout=layout, invalid=invalid)
    if len(sets) > 1 and not settings.pool:
        raise ConfigError(
            f"{data}: is divided already ({', '.join(sets)}). Give --pool to put these sets together and divide all "
            "images anew."
        )
    whole = join(list(sets.items()))
    divided, how = divide_set(whole.notes, settings)
    written = write_sets(
        divided,
        out,
        to=to,
        images=images,
        overwrite=overwrite,
        sources=[data],
        files=dict.fromkeys(divided, whole.files),
    )
    return replace(written, notes=(*whole.remarks, *how, *written.notes))


def _about_rare_classes(sets: Mapping[str, Annotations], groups: np.ndarray, notes: Annotations) -> list[str]:
    """Says which classes are missing in a set, because they are in too few groups."""
    remarks = []
    for name, part in sets.items():
        missing = [
            category
            for category, here, all_ in zip(
                notes.category_names, part.counts.tolist(), notes.counts.tolist(), strict=True
            )
            if all_ and not here
        ]
        if missing:
            listed = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            unit = "groups" if len(np.unique(groups)) < len(groups) else "images"
            remarks.append(f"No object of {listed} in the {name} set: there are too few {unit} with them.")
    return remarks
