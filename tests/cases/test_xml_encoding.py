"""XML files are read in the encoding that they declare."""

from __future__ import annotations

from pathlib import Path

import pytest

from mapopt.data import load_splits
from mapopt.data.files import read_xml_text
from mapopt.errors import DataError

DATA = Path(__file__).parent / "xml_encoding" / "data"


def test_the_declared_encoding_counts() -> None:
    assert load_splits(DATA, size=(48, 64)).train.annotations.category_names == ("图片",)


@pytest.mark.parametrize("encoding", ["gbk", "gb18030", "big5", "shift_jis", "utf-8", "utf-16", "windows-1252"])
def test_every_encoding_of_python_is_read(encoding: str, tmp_path: Path) -> None:
    word = "Fühler" if encoding == "windows-1252" else "日"
    text = f'<?xml version="1.0" encoding="{encoding}"?><name>{word}</name>'
    (tmp_path / "a.xml").write_bytes(text.encode(encoding))
    assert read_xml_text(tmp_path / "a.xml") == text


def test_what_is_not_in_its_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(b'<?xml version="1.0" encoding="klingon"?><a/>')
    with pytest.raises(DataError, match=r"a\.xml: declares the encoding klingon, which is not known"):
        read_xml_text(path)
    path.write_bytes(b'<?xml version="1.0" encoding="ascii"?><a>\xff</a>')
    with pytest.raises(DataError, match=r"a\.xml: is not ascii text \(byte 41\), though it declares this encoding"):
        read_xml_text(path)
    path.write_bytes(b"<a>\xff</a>")
    with pytest.raises(DataError, match=r"a\.xml: is not UTF-8 text"):
        read_xml_text(path)
