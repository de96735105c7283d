"""Finds out which image and which category of the ground truth each entry of a results file means.

Ids are compared first. They mean the same only in files that were numbered together, so names go before ids where the
results have them: `mapopt predict` writes them into each entry, and into ``images.json`` beside its results, and some
tools write a file's name in place of an id.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapopt.data.files import read_json
from mapopt.data.results import CATEGORY_NAME, FILE_NAME
from mapopt.errors import DataError
from mapopt.evaluation.ground_truth import id_key
from mapopt.metrics import Detections

INDEX = "images.json"
"""What `mapopt predict` calls the file with the names behind its ids."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RawResults:
    """Entries of a results file with its own ids, whatever they are.

    Attributes:
        boxes: ``[n, 4]`` corners.
        scores: ``[n]``.
        image: ``[n]`` positions in `images`.
        category: ``[n]`` positions in `categories`.
        images: The ids of images that occur.
        categories: The ids of categories that occur.
        image_names: File names of these images, as the entries say them; None where an entry says none.
        category_names: Names of these categories, likewise.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    image: NDArray[np.int64]
    category: NDArray[np.int64]
    images: tuple[Any, ...]
    categories: tuple[Any, ...]
    image_names: tuple[str, ...] | None = None
    category_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        """Returns the number of entries."""
        return len(self.scores)


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """Which items of the ground truth the ids of results mean.

    Attributes:
        places: For each id its position in the ground truth, -1 for none.
        called: What messages call each id.
        remark: How ids were understood, where they were not simply the same.
    """

    places: tuple[int, ...]
    called: tuple[str, ...]
    remark: str = ""


def read_raw_results(path: Path) -> RawResults:
    """Returns the entries of a results file.

    Raises:
        DataError: The file cannot be read, or an entry is wrong; the message names it.
    """
    entries = read_json(path)
    images, categories = _Column("image_id", FILE_NAME), _Column("category_id", CATEGORY_NAME)
    try:
        coded = entries
        if isinstance(entries, list):
            coded = [categories.coded(images.coded(entry, row), row) for row, entry in enumerate(entries)]
        boxes = Detections.from_coco(coded)
    except DataError as error:
        # What has no file is called by what it is.
        raise DataError(f"{path}: {str(error).removeprefix('COCO results: ')}") from None
    return RawResults(
        boxes=boxes.boxes,
        scores=boxes.scores,
        image=boxes.image_ids,
        category=boxes.labels,
        images=tuple(images.values),
        categories=tuple(categories.values),
        image_names=images.given_names(),
        category_names=categories.given_names(),
    )


class _Column:
    """The ids of one kind in a results file, numbered as they occur, and the names that entries say beside them."""

    def __init__(self, id_field: str, name_field: str) -> None:
        self._id_field, self._name_field = id_field, name_field
        self._codes: dict[tuple[str, Any], int] = {}
        self.values: list[Any] = []
        self._names: list[str | None] = []

    def coded(self, entry: Any, row: int) -> Any:
        """Returns an entry with the id's number in place of the id.

        Raises:
            DataError: One id has two names.
        """
        key = id_key(entry.get(self._id_field)) if isinstance(entry, dict) else None
        if key is None:
            return entry
        name = entry.get(self._name_field)
        name = name if isinstance(name, str) and name else None
        if key not in self._codes:
            self._codes[key] = len(self._codes)
            self.values.append(entry[self._id_field])
            self._names.append(name)
        known = self._names[self._codes[key]]
        if name != known and name is not None and known is not None:
            raise DataError(
                f"entry {row} says {self._name_field} '{name}' of {self._id_field} {show_id(entry[self._id_field])}, "
                f"which an entry before calls '{known}'. Expected one name for an id, or none."
            )
        if name is None:
            self._names[self._codes[key]] = None
        return {**entry, self._id_field: self._codes[key]}

    def given_names(self) -> tuple[str, ...] | None:
        """Returns the name of each id, if every entry says it."""
        names = [name for name in self._names if name is not None]
        return tuple(names) if names and len(names) == len(self._names) else None


@dataclass(frozen=True, kw_only=True)
class Index:
    """The names behind the ids of a results file.

    Attributes:
        path: Where they stand.
        images: File names by `id_key`.
        categories: Names by `id_key`.
    """

    path: Path
    images: dict[tuple[str, Any] | None, str]
    categories: dict[tuple[str, Any] | None, str]

    @classmethod
    def of(cls, results: Path, raw: RawResults) -> Index | None:
        """Returns the names behind the ids: those that the entries say, or else those of the file beside them."""
        if raw.image_names is None and raw.category_names is None:
            return cls.beside(results, raw)
        images = dict(zip(map(id_key, raw.images), raw.image_names or (), strict=False))
        categories = dict(zip(map(id_key, raw.categories), raw.category_names or (), strict=False))
        return cls(path=results, images=images, categories=categories)

    @classmethod
    def beside(cls, results: Path, raw: RawResults) -> Index | None:
        """Returns the names that ``images.json`` beside results has; None where it is not of these results."""
        path = results.parent / INDEX
        if not path.is_file():
            return None
        try:
            data = read_json(path)
        except DataError:
            return None
        if not isinstance(data, dict) or "annotations" in data:
            return None
        names = {}
        for key, name in (("images", "file_name"), ("categories", "name")):
            entries = data.get(key)
            if not isinstance(entries, list) or not all(
                isinstance(entry, dict) and isinstance(entry.get(name), str) for entry in entries
            ):
                return None
            names[key] = {id_key(entry.get("id")): entry[name] for entry in entries}
        known = all(id_key(value) in names["images"] for value in raw.images)
        known &= all(id_key(value) in names["categories"] for value in raw.categories)
        return cls(path=path, images=names["images"], categories=names["categories"]) if known else None


def image_meaning(
    values: Sequence[Any], ids: NDArray[Any], file_names: Sequence[str], index: Index | None = None
) -> Meaning:
    """Finds the images that the ids of results mean.

    Args:
        values: The ids that occur in the results.
        ids: Of the ground truth's images.
        file_names: Of the ground truth's images, empty where unknown.
        index: The names behind the results' ids, where they are known.

    Raises:
        DataError: Names are to be compared, and several images have the same.
    """
    if index is not None and index.images and any(file_names):
        names = [index.images[id_key(value)] for value in values]
        places = match_file_names(names, file_names)
        return Meaning(
            places=tuple(places),
            called=tuple(repr(name) for name in names),
            remark=f"images are matched by file name: {index.path} says which name each id means",
        )
    by_id = _by_key(values, ids.tolist())
    if -1 not in by_id:
        return _plain(values, by_id)
    stems = [PurePosixPath(_slashes(name)).stem for name in file_names]
    for known in (list(file_names), stems):
        places = _by_key([str(value) for value in values], known, unique=True)
        if -1 not in places:
            return Meaning(
                places=tuple(places),
                called=tuple(map(repr, values)),
                remark="images are matched by file name: the ids of the results are names",
            )
    return _as_numbers(values, ids, by_id, "image")


def category_meaning(
    values: Sequence[Any], ids: NDArray[Any], names: Sequence[str], index: Index | None = None
) -> Meaning:
    """Finds the categories that the ids of results mean; see `image_meaning`."""
    if index is not None and any(name in names for name in index.categories.values()):
        given = [index.categories[id_key(value)] for value in values]
        return Meaning(places=tuple(_by_key(given, list(names), unique=True)), called=tuple(map(repr, given)))
    by_id = _by_key(values, ids.tolist())
    if -1 not in by_id:
        return _plain(values, by_id)
    places = _by_key(values, list(names), unique=True)
    if -1 not in places:
        return Meaning(
            places=tuple(places),
            called=tuple(map(repr, values)),
            remark="categories are matched by name: the ids of the results are names",
        )
    return _as_numbers(values, ids, by_id, "category")


def match_file_names(given: Sequence[str], known: Sequence[str]) -> list[int]:
    """Returns the position of each file among the known ones, -1 for none.

    Folders count only where files share their last name: the one with the longest common end is meant.

    Raises:
        DataError: That leaves several, or one file is meant by several names.

    >>> match_file_names(["/data/a/1.jpg", "b/1.jpg", "2.jpg"], ["a/1.jpg", "b/1.jpg"])
    [0, 1, -1]
    """
    parts = [PurePosixPath(_slashes(name)).parts for name in known]
    last: dict[str, list[int]] = defaultdict(list)
    for position, known_parts in enumerate(parts):
        if known_parts:
            last[known_parts[-1]].append(position)
    places = []
    for name in given:
        wanted = PurePosixPath(_slashes(name)).parts
        candidates = last.get(wanted[-1], []) if wanted else []
        common = [_common_end(wanted, parts[position]) for position in candidates]
        best = [position for position, length in zip(candidates, common, strict=True) if length == max(common)]
        if len(best) > 1:
            raise DataError(
                f"image '{name}' may be any of {len(best)} images of the ground truth called '{known[best[0]]}'. "
                "Expected names that differ, or results with the ground truth's ids: mapopt predict --truth FILE."
            )
        places.append(best[0] if best else -1)
    twice = [place for place, count in Counter(places).items() if count > 1 and place >= 0]
    if twice:
        first, second = [name for name, place in zip(given, places, strict=True) if place == twice[0]][:2]
        raise DataError(
            f"images '{first}' and '{second}' of the results both are '{known[twice[0]]}' of the ground truth. "
            "Expected one of them, or names with the same folders in both files."
        )
    return places


def _common_end(first: Sequence[str], second: Sequence[str]) -> int:
    length = 0
    for ours, theirs in zip(reversed(first), reversed(second), strict=False):
        if ours != theirs:
            break
        length += 1
    return length


def _slashes(name: str) -> str:
    return name.replace("\\", "/")


def _plain(values: Sequence[Any], places: Sequence[int]) -> Meaning:
    return Meaning(places=tuple(places), called=tuple(map(show_id, values)))


def _by_key(values: Sequence[Any], known: Sequence[Any], *, unique: bool = False) -> list[int]:
    """Returns the position of each value among the known ones, -1 for none; of equal ones the first, or none."""
    place: dict[tuple[str, Any] | None, int] = {}
    for position, value in enumerate(known):
        key = id_key(value)
        place[key] = -1 if unique and key in place else place.get(key, position)
    return [place.get(id_key(value), -1) for value in values]


def _as_numbers(values: Sequence[Any], ids: NDArray[Any], by_id: Sequence[int], kind: str) -> Meaning:
    """Takes "7" for 7, where that explains all ids."""
    texts = [str(value) for value in ids.tolist()]
    places = _by_key([str(value) for value in values], texts, unique=True)
    if -1 in places:
        return _plain(values, by_id)
    return Meaning(
        places=tuple(places),
        called=tuple(map(show_id, values)),
        remark=f"{kind} ids are texts in one file and numbers in the other, and are compared as texts",
    )


def show_id(value: Any) -> str:
    """Returns an id as a message shows it.

    >>> show_id(7), show_id("img7")
    ('7', "'img7'")
    """
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
