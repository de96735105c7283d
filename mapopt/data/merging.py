"""Puts several data sets together: categories by name, sets by name, image files under names that are free."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mapopt.data.annotations import Annotations, number_of
from mapopt.data.common_categories import same_categories
from mapopt.data.folders import read_sets
from mapopt.data.invalid import Invalid
from mapopt.data.joining import join
from mapopt.data.layouts import WHOLE, Layout
from mapopt.data.renames import Renames, check_renames, read_renames, renamed
from mapopt.data.writing import Format, ImageFiles, WrittenSets, check_target, check_ways, write_sets
from mapopt.errors import ConfigError
from mapopt.wording import speaks_python


@dataclass(frozen=True, eq=False)
class MergedSets(WrittenSets):
    """A data set that was put together of others.

    Attributes:
        sources: what each source brought, all its sets as one, with the categories of the whole.
    """

    sources: Mapping[str, Annotations]


@speaks_python
def merge(
    data: Sequence[str | Path],
    out: str | Path,
    *,
    renames: str | Path | Renames | None = None,
    to: Format = "coco",
    layout: Layout = "auto",
    invalid: Invalid = "error",
    images: ImageFiles = "link",
    overwrite: bool = False,
) -> MergedSets:
    """Puts data sets together in a new folder: `mapopt merge` from Python.

    Sets of the same name are put together: train with train. Categories are the same where their names are. Images and
    objects get new ids; an image whose file name an earlier source has gets its source's name in front.

    Args:
        data: two folders or more of COCO, Pascal VOC or YOLO, or files that `convert` takes; their names tell them
            apart.
        out: the new folder.
        renames: old names of categories with new ones, None leaving a category out; for all sources, or nested under
            the name of a source. Or the path of a YAML file with them.
        to: what to write: ``"coco"``, ``"voc"`` or ``"yolo"``.
        layout: what the sources are; ``"auto"`` finds out for each.
        invalid: what to do with boxes outside their image or without area: ``"error"``, ``"clip"`` or ``"drop"``.
        images: ``"link"``, ``"copy"`` or ``"none"``, see `convert`.
        overwrite: replace the data set that mapopt wrote into `out`.

    Raises:
        DataError: a source cannot be read, or an image is missing.
        ConfigError: a setting is not possible, a rename names nothing that is there, or one source is divided into sets
            and another is not.
        StoreError: `out` is not empty, or cannot be written.
    """
    if isinstance(data, str | Path) or len(data) < 2:
        raise ConfigError("there are fewer than two data sets to merge: give --data two folders or more")
    check_ways(to, images)
    check_target(out, data, overwrite=overwrite)
    table = read_renames(renames)
    sources = {
        name: read_sets(path, layout=layout, invalid=invalid)
        for name, path in zip(source_names(data), data, strict=True)
    }
    _check_divided(sources)
    check_renames(
        table,
        {
            name: list(dict.fromkeys(category for notes in sets.values() for category in notes.category_names))
            for name, sets in sources.items()
        },
    )
    remarks: list[str] = []
    named: dict[tuple[str, str], Annotations] = {}
    for name, sets in sources.items():
        for part, notes in sets.items():
            named[name, part], said = renamed(notes, table, name)
            remarks += [f"In {name}: {remark}" for remark in said if "left out" not in remark]
            remarks += [f"In the {part} set of {name}: {remark}" for remark in said if "left out" in remark]
    remarks = list(dict.fromkeys(remarks))
    remarks += _about_names({category for notes in named.values() for category in notes.category_names})
    common, about_ids = same_categories({" ".join(key): notes for key, notes in named.items()})
    together, files = {}, {}
    for part in dict.fromkeys(part for _, part in named):
        joined = join([(name, common[f"{name} {part}"]) for name in sources if (name, part) in named])
        together[part], files[part] = joined.notes, joined.files
        remarks += [f"In the {part} set: {remark}" for remark in joined.remarks]
    remarks += _about_same_files({name: list(sets.values()) for name, sets in sources.items()})
    written = write_sets(
        together,
        out,
        to=to,
        images=images,
        overwrite=overwrite,
        sources=data,
        files=files if any(files.values()) else None,
    )
    brought = {name: join([(part, common[f"{name} {part}"]) for part in sets]).notes for name, sets in sources.items()}
    return MergedSets(written.folder, to, written.sets, (*about_ids, *remarks, *written.notes), brought)


def source_names(data: Sequence[str | Path]) -> list[str]:
    """Returns what sources are called: the name of the folder or file, with a number where two are the same.

    >>> source_names(["reef", "old/reef", "fish.json"])
    ['reef', 'reef-2', 'fish']
    """
    names: list[str] = []
    for path in map(Path, data):
        whole = Path(os.path.abspath(path))
        base = free = whole.stem if whole.suffix in (".json", ".yaml", ".yml", ".data") else whole.name
        number = 2
        while free in names:
            free, number = f"{base}-{number}", number + 1
        names.append(free)
    return names


def _check_divided(sources: Mapping[str, Mapping[str, Annotations]]) -> None:
    whole = [name for name, sets in sources.items() if WHOLE in sets]
    if whole and len(whole) < len(sources):
        other = next(name for name in sources if name not in whole)
        raise ConfigError(
            f"{whole[0]} is one set and {other} is divided ({', '.join(sources[other])}): divide {whole[0]} "
            "first, with `mapopt split`"
        )


def _about_names(names: Iterable[str]) -> list[str]:
    """Says which categories may be the same under two spellings."""
    alike: dict[str, list[str]] = {}
    for name in sorted(names):
        plain = re.sub(r"[\W_]+", "", name.casefold()).removesuffix("s")
        alike.setdefault(plain or name, []).append(name)
    return [
        f"{' and '.join(repr(name) for name in spelled)} are different categories: if they are the same, rename one "
        "with --renames."
        for spelled in alike.values()
        if len(spelled) > 1
    ]


def _about_same_files(sources: Mapping[str, Sequence[Annotations]]) -> list[str]:
    """Says how many image files are in several sources, byte for byte."""
    seen: dict[bytes, str] = {}
    again = []
    for name, sets in sources.items():
        for notes in sets:
            for file_name in notes.file_names if notes.root is not None else ():
                path = (notes.root or Path()) / file_name
                try:
                    with path.open("rb") as file:
                        content = hashlib.file_digest(file, "blake2b").digest()
                except OSError:
                    continue
                again += [file_name] if seen.setdefault(content, name) != name else []
    if not again:
        return []
    return [
        f"{number_of(len(again), 'image file is', 'image files are')} in an earlier source too, byte for byte, for "
        f"instance {again[0]}: all are kept; `mapopt audit` lists what is in two sets."
    ]
