"""Keeps the data of recent instances, so that an episode which returns to one need not draw or decode it again.

The bound is in bytes, because an instance's images may be 48 or 480 pixels wide: at the default of 640 images, 121
instances are held at 48 pixels, 68 at 64 and 17 at 128. The last one asked for is always held. The lanes of an
environment hold their own instances besides, and nothing more on the CPU; for an accelerator see
`mapopt.training.device_sets`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mapopt.data import Splits

HELD_BYTES = 512 * 2**20
"""Bytes of pixels that a process holds here at most, for all its families, beside the instance last asked for."""


class SplitsCache:
    """The splits asked for most recently, by key, within a number of bytes.

    Args:
        limit: bytes of pixels.
    """

    def __init__(self, limit: int = HELD_BYTES) -> None:
        self.limit = limit
        self._held: OrderedDict[Hashable, Splits] = OrderedDict()

    def __len__(self) -> int:
        """Returns how many are held."""
        return len(self._held)

    @property
    def bytes(self) -> int:
        """Bytes of the pixels held; sets with the same pixels count each."""
        return sum(_bytes(splits) for splits in self._held.values())

    def get(self, key: Hashable, make: Callable[[], Splits]) -> Splits:
        """Returns the splits of a key; `make` makes them where they are not held."""
        if key not in self._held:
            self._held[key] = make()
        self._held.move_to_end(key)
        while len(self._held) > 1 and self.bytes > self.limit:
            self._held.popitem(last=False)
        return self._held[key]

    def clear(self) -> None:
        """Evicts everything."""
        self._held.clear()


HELD = SplitsCache()
"""What all families of a process read."""


def _bytes(splits: Splits) -> int:
    return sum(images.pixels.nbytes for _, images in splits.named())
