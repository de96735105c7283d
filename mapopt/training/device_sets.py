"""The image sets of a fleet's lanes on their device, and those of recent tasks, which an episode may come back to.

On the CPU nothing is kept for its return: the pixels are the task's own, whoever holds that, and what is made beside
them takes milliseconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch

from mapopt.data import Splits
from mapopt.training.device_set import DeviceSet

SPARE_BYTES = 512 * 2**20
"""Bytes of pixels that an engine keeps at most on an accelerator, beside those of its lanes."""


class DeviceSets:
    """Sets on a device, made when they are first asked for.

    Args:
        device: where.
        spare: bytes of pixels kept at most of splits that no lane has any more; those evicted longest ago are forgotten
            first. By default `SPARE_BYTES`, and on the CPU none.
    """

    def __init__(self, device: torch.device, *, spare: int | None = None) -> None:
        default = 0 if device.type == "cpu" else SPARE_BYTES
        self._device, self._spare = device, default if spare is None else spare
        # The splits themselves are held beside their sets, so that no others can take their identity.
        self._held: OrderedDict[int, tuple[Splits, dict[str, DeviceSet]]] = OrderedDict()

    def __len__(self) -> int:
        """Returns of how many splits there are sets."""
        return len(self._held)

    def get(self, splits: Splits, name: str) -> DeviceSet:
        """Returns one set of some splits: "train", "val" or "test"."""
        _, sets = self._held.setdefault(id(splits), (splits, {}))
        if name not in sets:
            sets[name] = DeviceSet(getattr(splits, name), self._device)
        return sets[name]

    def evict(self, in_use: Sequence[Splits]) -> None:
        """Forgets the oldest of the splits that are not in use, where they are more than may be spared."""
        for splits in in_use:
            if id(splits) in self._held:
                self._held.move_to_end(id(splits))
        alive = {id(splits) for splits in in_use}
        spare = {key: _bytes(sets) for key, (_, sets) in self._held.items() if key not in alive}
        total = sum(spare.values())
        for key, size in spare.items():
            if total <= self._spare:
                break
            del self._held[key]
            total -= size


def _bytes(sets: dict[str, DeviceSet]) -> int:
    return sum(images.pixels.nbytes for images in sets.values())
