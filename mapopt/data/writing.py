"""Writes a whole data set into a new folder: annotations and images, all of it or nothing.

Everything is written beside the folder first and put in its place by one rename, so a killed process leaves the old
folder or the new one. What was there before is replaced only where mapopt wrote it, and only when it is asked to.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from mapopt.data.annotations import Annotations
from mapopt.data.coco import write_coco
from mapopt.data.folders import MANIFEST, MANIFEST_FORMAT, MANIFEST_VERSION, read_manifest
from mapopt.data.layouts import WHOLE
from mapopt.data.preparing import prepare
from mapopt.data.voc import write_voc
from mapopt.data.yolo import write_yolo
from mapopt.errors import ConfigError, DataError, StoreError, unknown_name
from mapopt.files import UNFINISHED, write_record
from mapopt.locks import lock_file
from mapopt.passes import steps

Format = Literal["coco", "voc", "yolo"]
"""What a data set is written as."""
ImageFiles = Literal["link", "copy", "none"]
"""What becomes of the images: another name for the same file (a hard link; a copy where the file system has none), a
copy, or nothing."""


@dataclass(frozen=True, eq=False)
class WrittenSets:
    """A data set that was written.

    Attributes:
        folder: where it is.
        layout: what it is.
        sets: what it holds, by the names of its sets.
        notes: what the layout could not hold and what was renamed, a sentence each.
    """

    folder: Path
    layout: Format
    sets: Mapping[str, Annotations]
    notes: tuple[str, ...]


def check_target(out: str | Path, sources: Sequence[str | Path], *, overwrite: bool) -> Path:
    """Returns a folder that a data set may be written into; writes nothing.

    Args:
        out: the folder.
        sources: what is read, which is never written to.
        overwrite: whether a data set of mapopt in it may be replaced.

    Raises:
        StoreError: it is a file, is not empty, or is, holds or lies in a source.
    """
    folder = Path(os.path.abspath(out))
    for source in sources:
        base, target = Path(source).resolve(), folder.resolve()
        if target == base or target in base.parents or (base.is_dir() and base in target.parents):
            raise StoreError(
                f"{out}: is, holds or lies in {source}, which is read and stays as it is. Give another --out."
            )
    if os.path.lexists(folder) and not folder.is_dir():
        raise StoreError(f"{out}: is a file. Give --out a folder.")
    try:
        there = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise StoreError(f"{out}: cannot be read ({error.strerror}). Choose another --out.") from None
    if not there:
        return folder
    if not overwrite:
        raise StoreError(f"{out}: is not empty. Give --overwrite to replace the data set in it, or another --out.")
    if read_manifest(folder) is None:
        raise StoreError(
            f"{out}: holds no data set that mapopt wrote (no readable {MANIFEST}), so nothing in it is replaced. Give "
            "another --out."
        )
    others = [name for name in there if not _is_ours(name)]
    if others:
        raise StoreError(f"{out}: holds {others[0]} beside the data set, which would be lost. Give another --out.")
    return folder


def write_sets(
    sets: Mapping[str, Annotations],
    out: str | Path,
    *,
    to: Format,
    images: ImageFiles = "link",
    overwrite: bool = False,
    sources: Sequence[str | Path] = (),
    files: Mapping[str, Mapping[str, Path]] | None = None,
) -> WrittenSets:
    """Writes sets into a folder.

    Args:
        sets: train, val and test, as far as there are such; or only `WHOLE`.
        out: the folder, which must not be there or be empty, unless `overwrite` is given.
        to: COCO (``train.json``, ... and ``images/train``, ...), Pascal VOC or YOLO.
        images: link or copy the images, or leave them where they are.
        overwrite: replace the data set that mapopt wrote into the folder.
        sources: what was read, which is never written to.
        files: of each set, the file of every image by its name; by default those names in the set's folder.

    Raises:
        ConfigError: there is no such layout or way.
        DataError: an image is missing, or of another size than annotated where that matters.
        StoreError: the folder may not be written to, or cannot be.
    """
    check_ways(to, images)
    folder = check_target(out, sources, overwrite=overwrite)
    remarks = []
    if to != "coco" and WHOLE in sets:
        sets = {"train": sets[WHOLE]}
        files = None if files is None else {"train": files[WHOLE]}
        remarks.append("A set that is not divided is called train, because it needs a name in this layout.")
    places = {name: _places(name, notes, images, (files or {}).get(name)) for name, notes in sets.items()}
    prepared, said = prepare(sets, to, places)
    remarks += said
    with lock_file(folder), _staged(folder, overwrite=overwrite) as staging:
        for name, notes in prepared.items():
            _write_annotations(notes, staging, name, to)
        copied = done = 0
        with steps("writing", sum(map(len, places.values())), "images") as work:
            for name, notes in prepared.items():
                pictures = staging / images_folder_of(to, name)
                pictures.mkdir(parents=True, exist_ok=True)
                for place, file_name in zip(places[name], notes.file_names, strict=bool(places[name])):
                    copied += _put(place, pictures / file_name, link=images == "link")
                    done += 1
                    work.advance(done)
        if images == "link" and copied:
            remarks.append(f"{copied} images were copied, because their files cannot be linked from here.")
        _write_manifest(staging, to, sets, prepared, remarks)
    roots = {name: folder / images_folder_of(to, name) for name in prepared}
    written = {name: replace(notes, root=roots[name], remarks=()) for name, notes in prepared.items()}
    return WrittenSets(Path(out), to, written, tuple(remarks))


def check_ways(to: str, images: str) -> None:
    """Raises an error where there is no such layout or way to treat images.

    Raises:
        ConfigError: as said.
    """
    if to not in get_args(Format):
        raise ConfigError(unknown_name("layout to write", str(to), get_args(Format)))
    if images not in get_args(ImageFiles):
        raise ConfigError(unknown_name("way to treat images", str(images), get_args(ImageFiles)))


def images_folder_of(to: Format, name: str) -> str:
    """Returns where the images of a set lie in a folder that is written."""
    if to == "voc":
        return "JPEGImages"
    return "images" if name == WHOLE else f"images/{name}"


def _places(name: str, notes: Annotations, images: ImageFiles, files: Mapping[str, Path] | None) -> list[Path]:
    """Returns the files of a set's images; none where they stay where they are and are not there."""
    if not files and notes.root is None:
        if images != "none":
            raise DataError(f"the {name} set has no folder of images. Give --images none to write annotations alone.")
        return []
    places = [files[file_name] if files else (notes.root or Path()) / file_name for file_name in notes.file_names]
    missing = [place for place in places if not os.path.isfile(place)]
    if missing and images != "none":
        raise DataError(
            f"{missing[0]}: no such image; {len(missing)} of {len(places)} images of the {name} set are missing. Check "
            "the folder of the images, or write annotations alone: --images none."
        )
    return [] if missing else places


def _write_annotations(notes: Annotations, folder: Path, name: str, to: Format) -> None:
    if to == "coco":
        write_coco(notes, folder / ("annotations.json" if name == WHOLE else f"{name}.json"))
    elif to == "voc":
        write_voc(notes, folder, name)
    else:
        write_yolo(notes, folder, name)


def _put(source: Path, target: Path, *, link: bool) -> bool:
    """Puts an image into the new folder; returns whether it was copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source = source.resolve()
    if link:
        with suppress(OSError):
            os.link(source, target)
            return False
    try:
        with source.open("rb") as reader, target.open("xb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
    except OSError as error:
        raise StoreError(f"{source}: cannot be copied to {target} ({error.strerror}). Check both.") from None
    return True


def _write_manifest(
    folder: Path,
    to: Format,
    before: Mapping[str, Annotations],
    prepared: Mapping[str, Annotations],
    remarks: Sequence[str],
) -> None:
    ids: dict[str, int] = {}
    for notes in before.values():
        ids |= dict(zip(notes.category_names, notes.category_ids.tolist(), strict=True))
    kept = next(iter(prepared.values())).category_names
    unique = set(ids) == set(kept) and len(set(ids.values())) == len(ids)
    write_record(
        folder / MANIFEST,
        {
            "format": MANIFEST_FORMAT,
            "version": MANIFEST_VERSION,
            "layout": to,
            "sets": {name: {"images": len(notes), "objects": len(notes.ids)} for name, notes in prepared.items()},
            "category_ids": ids if unique else dict(zip(kept, np.arange(1, len(kept) + 1).tolist(), strict=True)),
            "notes": list(remarks),
        },
    )


@contextmanager
def _staged(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Gives a folder beside another, and puts it in its place once everything is in it."""
    parent, prefix = folder.parent, f".{folder.name}."[:100]
    for leftover in parent.glob(f"{prefix}*{UNFINISHED}"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
    try:
        staging = Path(tempfile.mkdtemp(prefix=prefix, suffix=UNFINISHED, dir=parent))
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({error.strerror}). Choose another --out.") from None
    try:
        yield staging
        staging.chmod(0o777 & ~_umask())
        before = None
        if overwrite and folder.is_dir() and any(folder.iterdir()):
            before = Path(tempfile.mkdtemp(prefix=prefix, suffix=UNFINISHED, dir=parent))
            os.rename(folder, before / "before")
        try:
            os.rename(staging, folder)
        except OSError as error:
            if before is not None:
                os.rename(before / "before", folder)
            raise StoreError(f"{folder}: cannot be written ({error.strerror}). Choose another --out.") from None
        finally:
            if before is not None:
                shutil.rmtree(before, ignore_errors=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _umask() -> int:
    """Returns the process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _is_ours(name: str) -> bool:
    return name in _OURS or name.removesuffix(".json").removesuffix(".txt") in ("train", "val", "test")


_OURS = (
    MANIFEST, "annotations.json", "images", "labels", "data.yaml", "Annotations", "ImageSets", "JPEGImages",
    "classes.txt",
)  # fmt: skip
"""What a folder holds that was written here."""
