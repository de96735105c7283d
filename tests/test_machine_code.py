"""Images are made of object files that are understood, and of no others."""

from __future__ import annotations

import ctypes
import struct

import pytest

from mapopt.machine_code import Image, here, image_of

pytestmark = pytest.mark.skipif(not here(), reason="images are made on Linux and x86-64 only")

# push rax (for the stack's alignment); movabs rax, address; call rax; movabs rcx, address; add rax, [rcx]; pop rcx; ret
CODE = bytes.fromhex("50 48b80000000000000000 ffd0 48b90000000000000000 480301 59 c3")
CALLED, CONSTANT = 3, 15
"""Where the code has the address of a function outside, and that of its own constant."""


def object_file(*, kind: int = 1, text: bytes = CODE) -> bytes:
    """Returns an object file of a function that adds 40 to what a function outside returns.

    Args:
        kind: of the addresses that are to be written.
        text: the code.
    """
    strings = b"\0work\0other\0.text\0.rodata\0.rela\0.tab\0"
    names = {
        name: strings.index(b"\0" + name + b"\0") + 1 for name in (b"work", b"other", b".text", b".rodata", b".rela")
    }
    symbols = [(0, 0, 0, 0, 0, 0), (0, 3, 0, 2, 0, 0), (names[b"work"], 18, 0, 1, 0, len(text))]
    symbols.append((names[b"other"], 16, 0, 0, 0, 0))
    places = [(CALLED, 3 << 32 | kind, 0), (CONSTANT, 1 << 32 | kind, 8)]
    parts = [
        (0, 0, 0, b"", 0, 0, 1),
        (names[b".text"], 1, 6, text, 0, 0, 16),
        (names[b".rodata"], 1, 2, struct.pack("<QQ", 7, 40), 0, 0, 8),
        (names[b".rela"], 4, 0, b"".join(struct.pack("<QQq", *place) for place in places), 4, 1, 8),
        (0, 2, 0, b"".join(struct.pack("<IBBHQQ", *symbol) for symbol in symbols), 5, 0, 8),
        (0, 3, 0, strings, 0, 0, 1),
    ]
    body, headers = b"", b""
    for name, section, flags, content, link, info, align in parts:
        body += bytes(-len(body) % 16)
        headers += struct.pack(
            "<IIQQQQIIQQ", name, section, flags, 0, 64 + len(body), len(content), link, info, align, 0
        )
        body += content
    body += bytes(-len(body) % 16)
    start = b"\x7fELF\x02\x01\x01" + bytes(9)
    sizes = (64, 0, 0, 64, len(parts), 5)
    return start + struct.pack("<HHIQQQI6H", 1, 62, 1, 0, 0, 64 + len(body), 0, *sizes) + body + headers


@ctypes.CFUNCTYPE(ctypes.c_int64)
def two() -> int:
    return 2


OUTSIDE = {"other": ctypes.cast(two, ctypes.c_void_p).value or 0}


def test_an_image_calls_what_is_outside_and_reads_its_own_constants() -> None:
    image = image_of(object_file(), "work")
    assert image is not None
    assert [place for place, _ in image.outer] == [CALLED]
    assert [place for place, _ in image.inner] == [CONSTANT]
    for again in (image, Image.unpack(image.pack())):
        address, memory = again.place(OUTSIDE)
        assert ctypes.CFUNCTYPE(ctypes.c_int64)(address)() == 42
        assert memory is not None


def test_a_function_outside_that_is_not_known_is_refused() -> None:
    image = image_of(object_file(), "work")
    assert image is not None
    with pytest.raises(KeyError, match="other"):
        image.place({})


def test_no_image_is_made_of_what_is_not_understood() -> None:
    whole = object_file()
    assert image_of(object_file(kind=2), "work") is None  # an address relative to its place
    assert image_of(whole, "another name") is None
    assert image_of(whole.replace(b"\x7fELF", b"\x7fELG"), "work") is None
    assert image_of(whole[:18] + struct.pack("<H", 183) + whole[20:], "work") is None  # another processor
    assert image_of(object_file(text=CODE[:18]), "work") is None  # an address that ends beyond the code's end
    for length in range(len(whole)):
        assert image_of(whole[:length], "work") is None


@pytest.mark.parametrize(
    "packed", [b"", b"[]", b"{}", b"no JSON", b'{"content": "xyz"}', b'{"content": "00", "entry": 0}']
)
def test_what_is_no_image_is_an_error(packed: bytes) -> None:
    with pytest.raises(ValueError):
        Image.unpack(packed)
