"""Machine code that a compiler left in an object file, as an image that is copied into memory and called.

Starting llvmlite to load a finished function takes tens of milliseconds, more than the function itself takes for
thousands of boxes. All that has to be done at loading is to write some addresses into the code, at places that the
object file names. Only files of which every place is understood become an image; the others are left to llvmlite.

Reference:
    "System V Application Binary Interface", chapter 4 (object files), and its AMD64 supplement, section 4.4
    (relocations).
"""

from __future__ import annotations

import ctypes
import json
import mmap
import platform
import struct
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class Image:
    """Code and constants in one piece.

    Attributes:
        content: the bytes, with zeros where addresses belong.
        entry: where the function begins.
        inner: pairs of a place and what in the image its address is of.
        outer: pairs of a place and the name of a function outside, whose address belongs there.
    """

    content: bytes
    entry: int
    inner: tuple[tuple[int, int], ...]
    outer: tuple[tuple[int, str], ...]

    def pack(self) -> bytes:
        """Returns it as bytes."""
        return json.dumps({**asdict(self), "content": self.content.hex()}).encode()

    @classmethod
    def unpack(cls, packed: bytes) -> Image:
        """Reads what `pack` returned.

        Raises:
            ValueError: it is something else.
        """
        try:
            fields = json.loads(packed)
            content = bytes.fromhex(fields["content"])
            inner, outer = (tuple((int(place), kind) for place, kind in fields[name]) for name in ("inner", "outer"))
            return cls(content=content, entry=int(fields["entry"]), inner=inner, outer=outer)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no image: {error!r}") from None

    def place(self, outside: Mapping[str, int]) -> tuple[int, object]:
        """Copies it into memory that can be executed and no longer written.

        Args:
            outside: addresses of functions, by name.

        Returns:
            The address of the function, and what has to stay alive as long as it is called.

        Raises:
            OSError: the system allows no such memory.
            KeyError: a function outside is not known.
        """
        size = -(-len(self.content) // mmap.PAGESIZE) * mmap.PAGESIZE
        memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        memory[: len(self.content)] = self.content
        for place, target in self.inner:
            memory[place : place + 8] = struct.pack("<Q", base + target)
        for place, name in self.outer:
            memory[place : place + 8] = struct.pack("<Q", outside[name])
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        if protect(base, size, mmap.PROT_READ | mmap.PROT_EXEC):
            raise OSError(ctypes.get_errno(), "memory cannot be made executable")
        return base + self.entry, memory


def here() -> bool:
    """Says whether images can be made and run on this system."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and sys.maxsize > 2**32


def image_of(code: bytes, name: str) -> Image | None:
    """Makes an image of an object file; returns None where something in it is not understood.

    Args:
        code: the file, in the 64-bit ELF format of x86-64.
        name: the function that is called.
    """
    try:
        return _image_of(code, name)
    except (struct.error, ValueError, IndexError, KeyError):
        return None


_ALLOCATED, _RELOCATIONS, _SYMBOLS, _NO_BITS = 2, 4, 2, 8
_ABSOLUTE_64 = 1
"""The only kind of address: the full one, of what it names and an addend."""


@dataclass(frozen=True)
class _Section:
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry: int


def _image_of(code: bytes, name: str) -> Image | None:
    kind, machine = struct.unpack_from("<HH", code, 16)
    if code[:6] != b"\x7fELF\x02\x01" or (kind, machine) != (1, 62):
        return None
    (first,), (size, count) = struct.unpack_from("<Q", code, 40), struct.unpack_from("<HH", code, 58)
    sections = [_Section(*struct.unpack_from("<IIQQQQIIQQ", code, first + number * size)) for number in range(count)]
    content, starts = bytearray(), {}
    for number, section in enumerate(sections):
        if section.flags & _ALLOCATED and section.size and _name(code, sections, section) != ".eh_frame":
            if section.kind == _NO_BITS:
                return None
            content += bytes(-len(content) % max(section.align, 1))
            starts[number] = len(content)
            content += code[section.offset : section.offset + section.size]
    (table,) = (section for section in sections if section.kind == _SYMBOLS)
    text = sections[table.link]
    symbols = [struct.unpack_from("<IBBHQQ", code, table.offset + at) for at in range(0, table.size, 24)]
    names = [_text(code, text.offset + symbol[0]) for symbol in symbols]
    inner, outer = [], []
    for section in sections:
        if section.kind != _RELOCATIONS or section.info not in starts:
            continue
        for at in range(section.offset, section.offset + section.size, 24):
            offset, what, addend = struct.unpack_from("<QQq", code, at)
            symbol, place = symbols[what >> 32], starts[section.info] + offset
            if what & 0xFFFFFFFF != _ABSOLUTE_64 or offset + 8 > sections[section.info].size:
                return None
            if symbol[3]:  # the section that it is in
                inner.append((place, starts[symbol[3]] + symbol[4] + addend))
            elif addend == 0:
                outer.append((place, names[what >> 32]))
            else:
                return None
    entry = symbols[names.index(name)]
    return Image(content=bytes(content), entry=starts[entry[3]] + entry[4], inner=tuple(inner), outer=tuple(outer))


def _name(code: bytes, sections: list[_Section], section: _Section) -> str:
    (header,) = struct.unpack_from("<H", code, 62)
    return _text(code, sections[header].offset + section.name)


def _text(code: bytes, start: int) -> str:
    return code[start : code.index(b"\0", start)].decode()
