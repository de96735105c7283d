"""Ground truths sorted by image and category, so that a detection finds its rivals in constant time.

A group is one image and one category: matching never looks beyond it. Its number is image * categories + category.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapopt.metrics.orders import stable_order

# A table of all groups costs 4 bytes each; beyond this (128 MiB) the groups that have boxes are searched instead.
_LARGEST_TABLE = 1 << 25


@dataclass(frozen=True, eq=False)
class GroundTruthIndex:
    """Ground truths in group order; within a group they keep the order they were given in.

    Attributes:
        corners: ``[4, n]`` x1, y1, x2, y2, where x2 is x1 + (x2 - x1): pycocotools stores widths, and the last bit
            of an IoU depends on it.
        box_area: ``[n]`` width times height.
        crowd: ``[n]`` True for a crowd.
        area: ``[n]`` the area that sorts a box into small, medium and large.
        category: ``[n]`` category indices.
        source: ``[n]`` the row each box had when it was given.
        images: Lookup of image ids.
        categories: Lookup of category ids.
    """

    corners: NDArray[np.float64]
    box_area: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    area: NDArray[np.float64]
    category: NDArray[np.int64]
    source: NDArray[np.int64]
    images: Lookup
    categories: Lookup
    _keys: NDArray[np.int64]
    _starts: NDArray[np.integer]

    @classmethod
    def of(
        cls,
        *,
        boxes: NDArray[np.float64],
        places: Places,
        crowd: NDArray[np.bool_],
        area: NDArray[np.float64],
    ) -> GroundTruthIndex:
        """Sorts ``[n, 4]`` boxes into groups."""
        images, categories = places.images, places.categories
        group = places.image * len(categories) + places.category
        source = stable_order(group, len(images) * len(categories))
        group = group[source]
        corners, box_area = corners_as_pycocotools(boxes[source])
        groups = len(images) * len(categories)
        if groups <= _LARGEST_TABLE:
            keys = np.zeros(0, np.int64)
            starts = np.zeros(groups + 1, np.int32)
            np.cumsum(np.bincount(group, minlength=groups), out=starts[1:])
        else:
            keys, first = np.unique(group, return_index=True)
            starts = np.append(first, len(group))
        return cls(
            corners=corners,
            box_area=box_area,
            crowd=crowd[source],
            area=area[source],
            category=places.category[source],
            source=source,
            images=images,
            categories=categories,
            _keys=keys,
            _starts=starts,
        )

    def span(self, group: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns for every group where its ground truths start and how many there are."""
        if len(self._keys):
            place = np.minimum(np.searchsorted(self._keys, group), len(self._keys) - 1)
            start = self._starts[place]
            count = np.where(self._keys[place] == group, self._starts[place + 1] - start, 0)
        else:
            start = self._starts[group]
            count = self._starts[group + 1] - start
        return start.astype(np.int64), count.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Places:
    """Where the image and the category of every ground truth stand among those that are evaluated.

    Attributes:
        images: Lookup of image ids.
        categories: Lookup of category ids.
        image: ``[n]`` image indices, -1 for an image that is not listed.
        category: ``[n]`` category indices, likewise.
    """

    images: Lookup
    categories: Lookup
    image: NDArray[np.int64]
    category: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        images: NDArray[np.int64],
        image_ids: NDArray[np.int64],
        categories: NDArray[np.int64],
        labels: NDArray[np.int64],
    ) -> Places:
        """Looks ids up; the lists of images and categories are sorted and distinct."""
        image, category = Lookup.of(images), Lookup.of(categories)
        return cls(image, category, image(image_ids), category(labels))


@dataclass(frozen=True, eq=False)
class Lookup:
    """Turns ids into indices, by a table where ids lie close together and by bisection elsewhere."""

    ids: NDArray[np.int64]
    _table: NDArray[np.int64] | None

    @classmethod
    def of(cls, ids: NDArray[np.int64]) -> Lookup:
        """Prepares sorted, distinct ids."""
        if len(ids) and int(ids[-1]) - int(ids[0]) <= 64 * len(ids) + 1024:
            table = np.full(int(ids[-1]) - int(ids[0]) + 1, -1, np.int64)
            table[ids - ids[0]] = np.arange(len(ids))
            return cls(ids, table)
        return cls(ids, None)

    def __len__(self) -> int:
        return len(self.ids)

    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the index of every id, -1 where it is unknown."""
        if len(self.ids) == 0 or len(ids) == 0:
            return np.full(len(ids), -1, np.int64)
        if self._table is not None:
            low, high = int(self.ids[0]), int(self.ids[-1])
            if ids.min() >= low and ids.max() <= high:
                return self._table[ids - low]
            inside = (ids >= low) & (ids <= high)
            return np.where(inside, self._table[np.where(inside, ids, low) - low], -1)
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[place] == ids, place, -1)


def corners_as_pycocotools(boxes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns ``[4, n]`` corners and ``[n]`` areas with the roundings that storing x, y, width, height brings."""
    width = boxes[:, 2] - boxes[:, 0]
    height = boxes[:, 3] - boxes[:, 1]
    corners = np.stack([boxes[:, 0], boxes[:, 1], boxes[:, 0] + width, boxes[:, 1] + height])
    return corners, width * height
