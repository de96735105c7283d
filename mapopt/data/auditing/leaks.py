"""Looks for images that are twice there, in two sets or in the same: by file, by likeness, and by source.

Results on a val or test image that was trained on flatter the detector. The later set is reported, with the image of
the earlier set (train before val before test) that should go.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mapopt.data.auditing.findings import Finding
from mapopt.data.auditing.pictures import Look
from mapopt.data.auditing.raw import RawSet
from mapopt.data.siblings import source_of

ALIKE = 0.93
"""Correlation of the slopes of two small pictures from which on they are nearly the same. In four real sets, copies
that were compressed or scaled again have .93 to 1; other fields of one microscope's grid up to .92."""
_CANDIDATES = 64
"""Bits of 256 by which difference hashes may differ for a closer look."""
_PLAIN = 2.0
"""A picture shows nothing below this standard deviation of brightness, and is like every other that does."""
_CHUNK = 256


def check_leaks(raws: Sequence[RawSet], looks: Sequence[Sequence[Look]]) -> list[Finding]:
    """Returns images that are in two sets, or twice in a set."""
    names = [(part, name) for part, raw in enumerate(raws) for name in raw.file_names]
    flat = [look for own in looks for look in own]
    findings, done = [], set()

    def add(kind: tuple[str, str], first: int, second: int, said: str, figure: float | None = None) -> None:
        if (second, names[first][0]) in done:
            return
        done.add((second, names[first][0]))
        (part, name), (other_part, other) = names[second], names[first]
        across = part != other_part
        findings.append(
            Finding(
                kind[0] if across else kind[1],
                raws[part].part,
                name,
                f"{said} '{other}' of {f'the {raws[other_part].part} set' if across else 'the same set'}",
                figure=figure,
                image=name,
                other=(raws[other_part].part, other),
            )
        )

    seen: dict[bytes, list[int]] = {}
    for place, look in enumerate(flat):
        for earlier in _firsts_by_set(seen.setdefault(look.digest, []) if look.digest else [], names):
            add(("leak_file", "same_file"), earlier, place, "is the same file as")
        if look.digest:
            seen[look.digest].append(place)
    for likeness, first, second in _alike(flat):
        add(("leak_picture", "same_picture"), first, second, "looks like", likeness)
    sources: dict[str, list[int]] = {}
    for place, (_, name) in enumerate(names):
        source = source_of(name)
        own = sources.setdefault(source, [])
        for earlier in _firsts_by_set(own, names):
            # Only a name that says so tells of augmentation; equal names in two sets are two photographs at first.
            if names[earlier][0] != names[place][0] and name.rpartition("/")[2].rpartition(".")[0] != source:
                add(("leak_source", ""), earlier, place, "has the same source as")
        own.append(place)
    return findings


def _firsts_by_set(places: Sequence[int], names: Sequence[tuple[int, str]]) -> list[int]:
    """Returns the first of some images in each set."""
    firsts: dict[int, int] = {}
    for place in places:
        firsts.setdefault(names[place][0], place)
    return list(firsts.values())


def _alike(looks: Sequence[Look]) -> list[tuple[float, int, int]]:
    """Returns how much pairs of images look alike, and which they are, those that do the most first."""
    useful = [place for place, look in enumerate(looks) if not look.fault and look.gray.std() >= _PLAIN]
    if not useful:
        return []
    bits = np.unpackbits(np.stack([looks[place].bits for place in useful]), axis=1).astype(np.float32) * 2 - 1
    pairs = []
    for start in range(0, len(useful), _CHUNK):
        # The product of two rows of +1 and -1 is 256 less twice the bits that differ.
        differing = (bits.shape[1] - bits[start : start + _CHUNK] @ bits.T) / 2
        for row, column in zip(*np.nonzero(differing <= _CANDIDATES), strict=True):
            first, second = start + int(row), int(column)
            if first < second:
                likeness = _correlation(looks[useful[first]], looks[useful[second]])
                pairs += [(likeness, useful[first], useful[second])] if likeness >= ALIKE else []
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))


def _correlation(first: Look, second: Look) -> float:
    """Returns the correlation of the slopes of two small pictures, which ignores their brightness; -1 to 1."""
    shapes = np.array([first.small.shape[:2], second.small.shape[:2]])
    if np.abs(shapes[0] - shapes[1]).max() > 1:
        return 0.0
    height, width = shapes.min(axis=0)
    slopes = []
    for look in (first, second):
        gray = look.small[:height, :width].astype(np.float32).mean(axis=2)
        slopes.append(np.stack([np.diff(gray, axis=0)[:, :-1], np.diff(gray, axis=1)[:-1]]))
    size = float(np.sqrt((slopes[0] ** 2).sum() * (slopes[1] ** 2).sum()))
    return float((slopes[0] * slopes[1]).sum()) / size if size else 0.0
