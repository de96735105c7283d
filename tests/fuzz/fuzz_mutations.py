"""Ways to spoil a file, whatever is in it; each says whether a reader must refuse the result."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

REFUSE, ANY, SAME = "must be refused", "may be accepted", "must be refused or read as before"

STRANGE: tuple[Any, ...] = (
    *(None, True, False, "x", "", -1, 0, 1.5, 1e308, float("nan"), float("inf"), 2**70, -(2**70)),
    *([], {}, [[[]]], {"a": 1}, "\x00", "9" * 400, "ü" * 5000, [0, 0, 1e400, "b"], "../../x", "/dev/zero", 10**9),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the path to every value inside plain values."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield (*path, key)
        yield from places(member, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    """Returns a copy in which ``change(container, key)`` was called for the place."""
    value = copy.deepcopy(value)
    container = value
    for key in path[:-1]:
        container = container[key]
    change(container, path[-1])
    return value


def strange_value(rng: random.Random, value: Any) -> tuple[str, Any]:
    """Changes one value somewhere: to something strange, to nothing, or to two of it."""
    path = rng.choice(list(places(value)))
    kind = rng.choice(["strange", "strange", "strange", "delete", "double"])

    def change(container: Any, key: Any) -> None:
        if kind == "delete":
            del container[key]
        elif kind == "double" and isinstance(container, list):
            container.append(container[key])
        else:
            container[key] = rng.choice(STRANGE)

    return f"{kind} at {'.'.join(map(str, path))}", replaced(value, path, change)


def spoil_text(rng: random.Random, path: Path) -> tuple[str, str]:
    """Spoils a text file as a whole; the result is no text of its kind any more, or may be."""
    content = path.read_bytes()
    kind = rng.choice(
        [
            "cut",
            "empty",
            "blank",
            "folder",
            "missing",
            "deep",
            "latin",
            "wide",
            "null",
            "flip",
            "device",
            "mark",
            "huge",
        ]
    )
    verdict = ANY if kind in ("flip", "mark", "cut", "null", "huge") else REFUSE
    if kind == "wide" and path.suffix == ".xml":
        # UTF-16 with its mark is an encoding that XML files may have.
        verdict = ANY
    if kind in ("folder", "missing", "device"):
        path.unlink()
        if kind == "folder":
            path.mkdir()
        elif kind == "device":
            path.symlink_to("/dev/null")
        return kind, verdict
    middle = rng.randrange(1, max(len(content), 2))
    spoilt = {
        "cut": content[:middle],
        "empty": b"",
        "blank": b" \n\t\n",
        "deep": b"[" * 100_000,
        "latin": content[:middle] + b"\xff\xfe\xe4" + content[middle:],
        "wide": content.decode().encode("utf-16"),
        "null": content[:middle] + b"\x00" + content[middle:],
        "mark": b"\xef\xbb\xbf" + content,
        "huge": content[:middle] + b"9" * 5000 + content[middle:],
        "flip": flipped(rng, content),
    }[kind]
    path.write_bytes(spoilt)
    return kind, verdict


def flipped(rng: random.Random, content: bytes, number: int = 1) -> bytes:
    """Flips bits."""
    changed = bytearray(content)
    for _ in range(number):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def spoil_bytes(rng: random.Random, path: Path) -> tuple[str, str]:
    """Spoils a binary file: a reader must notice, or read what was there."""
    content = path.read_bytes()
    kind = rng.choice(["flip", "flip", "flip", "cut", "empty", "folder", "missing", "text", "doubled", "middle"])
    if kind in ("folder", "missing"):
        path.unlink()
        if kind == "folder":
            path.mkdir()
        return kind, REFUSE
    start = rng.randrange(len(content))
    path.write_bytes(
        {
            "flip": flipped(rng, content, rng.choice([1, 1, 1, 8])),
            "cut": content[:start],
            "empty": b"",
            "text": b"not what you think\n" * 50,
            "doubled": content + content,
            "middle": content[:start] + bytes(min(64, len(content) - start)) + content[start + 64 :],
        }[kind]
    )
    return kind, REFUSE if kind in ("empty", "text") else SAME


def write_strange(path: Path, value: Any) -> None:
    """Writes JSON as Python does, NaN and Infinity included."""
    path.write_text(json.dumps(value))


def fresh_copy(original: Path, place: Path) -> Path:
    """Copies a folder over what is left of the last one; folders stay, because some systems are slow to remove them."""
    for folder, folders, files in os.walk(place, topdown=False):
        own = original / Path(folder).relative_to(place)
        for path in [Path(folder, name) for name in (*folders, *files)]:
            there = own / path.name
            if path.is_dir() and not path.is_symlink():
                if not there.is_dir():
                    shutil.rmtree(path)
            elif path.is_symlink() or not there.is_file():
                path.unlink()
    shutil.copytree(original, place, symlinks=True, dirs_exist_ok=True)
    return place
