"""Reads files so that a failure names the file: missing, a folder, in a wrong encoding, or cut off.

Every reader of this package goes through `read_text` or `read_json`; its writers use `mapopt.files`.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mapopt.documents import MAX_DATA, parse_json
from mapopt.errors import DataError
from mapopt.paths import read_bytes, shown_path

_XML_ENCODING = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")


def read_text(path: str | Path) -> str:
    """Returns the text of a file.

    Raises:
        DataError: there is no such file, it is none but a folder, pipe or device, cannot be read, or is not UTF-8.
    """
    path = Path(path)
    try:
        missing = not os.path.exists(path)
    except OSError:  # too long for any file
        missing = False
    if missing:
        raise DataError(f"{shown_path(path)}: no such file. Check the path{_nearest_folder(path)}.")
    content = read_bytes(path, what="a text file", limit=MAX_DATA, error=DataError)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not UTF-8 text (byte {error.start}). Expected a text file; check that this is the right one."
        ) from None


def read_xml_text(path: str | Path) -> str:
    """Returns the text of an XML file, in the encoding that the file declares; UTF-8 where it declares none.

    The XML parser itself knows few encodings, and would take bytes of others for UTF-8 where they happen to be valid.

    Raises:
        DataError: it cannot be read, or not in the declared encoding.
    """
    if not os.path.isfile(path):  # False for what no path can be, where Path raises an error
        # Says why.
        return read_text(path)
    content = read_bytes(path, what="an XML file", limit=MAX_DATA, error=DataError)
    declared = _XML_ENCODING.match(content.removeprefix(codecs.BOM_UTF8)[:200])
    if declared is None and not content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return read_text(path)
    name = declared.group(1).decode() if declared else "utf-16"
    try:
        # GB 18030 is the present form of both older standards, and what files that declare those often hold.
        codec = "gb18030" if name.lower() in ("gb2312", "gbk") else name
        text = content.decode("utf-8-sig" if codec.lower() in ("utf-8", "utf8") else codec)
    except LookupError:
        raise DataError(f"{path}: declares the encoding {name}, which is not known. Correct it.") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not {name} text (byte {error.start}), though it declares this encoding. Correct the "
            "declaration or the file."
        ) from None
    return text.removeprefix("\ufeff")


def read_json(path: str | Path) -> Any:
    """Returns what a JSON file holds.

    Raises:
        DataError: the file cannot be read, or is not JSON that `parse_json` takes; the message names the place.
    """
    text = read_text(path)
    if not text.strip():
        raise DataError(f"{path}: is empty. Expected a JSON file; it may have been cut off while it was written.")
    return parse_json(text, str(path), error=DataError)


@contextmanager
def blame(path: str | Path) -> Iterator[None]:
    """Puts the file's name in front of every `DataError` that is raised inside."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _nearest_folder(path: Path) -> str:
    """Says which part of the path exists, as far as that helps."""
    if os.path.isdir(path.parent):
        return ""
    existing = next((parent for parent in path.parents if os.path.isdir(parent)), None)
    return "" if existing is None else f"; of its folders only {existing} exists"
