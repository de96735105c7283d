"""Gives several sets the same list of categories, which Pascal VOC and YOLO have once for a whole folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mapopt.data.annotations import Annotations
from mapopt.errors import DataError, unknown_name


def with_categories(notes: Annotations, names: Sequence[str], ids: Sequence[int]) -> Annotations:
    """Returns annotations whose objects point into another list of categories, by name.

    Args:
        notes: the annotations.
        names: the categories wanted, every one that an object has among them.
        ids: of the same length.

    Raises:
        DataError: an object's category is not among the names.
    """
    places = {name: position for position, name in enumerate(names)}
    for position in np.unique(notes.labels).tolist():
        if notes.category_names[position] not in places:
            raise DataError(unknown_name("category", notes.category_names[position], names))
    table = np.array([places.get(name, -1) for name in notes.category_names], dtype=np.int64)
    return replace(
        notes,
        category_names=tuple(names),
        category_ids=np.array(ids, dtype=np.int64),
        labels=table[notes.labels],
    )


def same_categories(sets: Mapping[str, Annotations]) -> tuple[dict[str, Annotations], list[str]]:
    """Returns sets with the same categories in the same order, and what was done for it, a sentence each.

    Categories are the same where their names are. Ids stay where no two sets contradict each other, else they count
    from 1.
    """
    listed = [list(zip(notes.category_names, notes.category_ids.tolist(), strict=True)) for notes in sets.values()]
    if all(categories == listed[0] for categories in listed):
        return dict(sets), []
    names = list(dict.fromkeys(name for categories in listed for name, _ in categories))
    pairs = {pair for categories in listed for pair in categories}
    agree = len(pairs) == len({number for _, number in pairs}) == len(names)
    ids = [dict(pairs)[name] for name in names] if agree else list(range(1, len(names) + 1))
    note = f"The sets list their categories differently: all have the same {len(names)} now, by name"
    note += "." if agree else ", with ids from 1 because the ids of the sets contradict each other."
    return {name: with_categories(notes, names, ids) for name, notes in sets.items()}, [note]
