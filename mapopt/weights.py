"""Files with weights and what they mean: written with a checksum over all of it, read without executing anything.

They are what `torch.save` writes. What a file says of itself is held against its size before anything is read, so that
a small file cannot ask for a large memory, and only tensors and plain values are ever built from it.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mapopt.errors import MapoptError, shown
from mapopt.files import CHECKSUM, checked, sealed, write_bytes
from mapopt.paths import file_size

if TYPE_CHECKING:
    from torch import Tensor

MAX_RECORDS = 100_000
"""Tensors in a file."""
MAX_DESCRIPTION = 64 * 2**20
"""Bytes of everything in a file but the numbers of its tensors."""
MAX_VALUES = 2_000_000
"""Plain values in a file."""
MAX_DEPTH = 32
"""Levels of lists and mappings in each other."""


def write_weights(path: str | Path, content: Mapping[str, Any]) -> None:
    """Writes tensors and plain values with their checksum, in one step.

    Args:
        path: of the file.
        content: texts to tensors, numbers, texts, booleans, None, and lists and mappings of these.

    Raises:
        StoreError: the file cannot be written.
    """
    import torch

    buffer = io.BytesIO()
    torch.save({**content, CHECKSUM: sealed(_plain(content))[CHECKSUM]}, buffer)
    write_bytes(path, buffer.getvalue())


def read_weights(
    path: str | Path,
    *,
    what: str,
    version: int,
    unsealed: Sequence[int] = (),
    format: str = "",
    remedy: str,
    error: type[MapoptError],
) -> dict[str, Any]:
    """Returns what `write_weights` was given: tensors on the CPU and plain values, and nothing else.

    Args:
        path: of the file.
        what: it should be, and who writes it.
        version: which this mapopt writes.
        unsealed: earlier versions that are still read and had no checksum.
        format: the value of the key "format"; empty where files have no such key.
        remedy: what to do about another version or a damaged file, as a sentence.
        error: what to raise.

    Raises:
        MapoptError: of the kind `error`: the file is missing, damaged, larger inside than it is, of something else or
            of another version, or its content is not what its checksum says.
    """
    size = file_size(path, what=what, error=error)
    damaged = f"{path}: cannot be read as {what}; it is damaged, or something else wrote it"
    try:
        content = _read_archive(path, size)
        plain = _plain(content)
    except _RefusedError as problem:
        raise error(f"{damaged} ({problem}). {remedy}") from None
    except MemoryError:
        raise error(f"{damaged} (it asks for more memory than there is). {remedy}") from None
    except Exception as problem:
        # Whatever bytes a damaged file has, zipfile's, pickle's and torch's errors are many, and their words long.
        raise error(f"{damaged} ({type(problem).__name__}). {remedy}") from problem
    if content.get("format", "") != format:
        raise error(f"{path}: is something else; expected {what}. {remedy}")
    written = content.get("version")
    # True and 1.0 equal 1, and are versions of nothing.
    if type(written) is not int or (written != version and written not in unsealed):
        given = "none" if written is None else shown(written)
        raise error(f"{path}: is of version {given}; expected {what} in version {version}. {remedy}")
    checked(plain, path, required=written not in unsealed, remedy=remedy, error=error)
    return {name: value for name, value in content.items() if name != CHECKSUM}


def check_like(tensors: Any, like: Mapping[str, Tensor], what: str, *, error: type[MapoptError]) -> None:
    """Raises an error unless tensors have the names, shapes and types of others.

    Args:
        tensors: name to tensor, as a file has them.
        like: what they are for.
        what: they are, for the messages.
        error: what to raise.
    """
    given = tensors if isinstance(tensors, Mapping) else {}
    for name in dict.fromkeys([*like, *given]):
        expected, there = _form(like.get(name)), _form(given.get(name))
        if expected != there:
            raise error(f"{what}: {shown(name)} is {there}, expected {expected}")


def _form(value: Any) -> str:
    """Returns type and shape of a tensor in words."""
    if value is None:
        return "missing"
    if not hasattr(value, "dtype"):
        return f"a {type(value).__name__}"
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"


class _RefusedError(Exception):
    """What is wrong with a file, without its name."""


def _read_archive(path: str | Path, size: int) -> dict[Any, Any]:
    """Returns what an archive of stored records holds, none of which is larger than it says."""
    with open(path, "rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise _RefusedError("it is no archive of torch.save")
    with zipfile.ZipFile(path) as archive:
        records = {record.filename: record for record in archive.infolist()}
        if len(records) > MAX_RECORDS or len(records) < len(archive.infolist()):
            raise _RefusedError(f"it has more than {MAX_RECORDS:,} records, or one twice")
        if any(record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1 for record in records.values()):
            raise _RefusedError("a record is compressed or encrypted")
        if sum(record.file_size for record in records.values()) > size:
            raise _RefusedError("its records are larger than the file")
        described = [name for name in records if name.endswith("/data.pkl")]
        if len(described) != 1 or records[described[0]].file_size > MAX_DESCRIPTION:
            raise _RefusedError("it has no description, or one that is too large")
        folder = described[0].removesuffix("data.pkl")
        if records.get(f"{folder}byteorder") and archive.read(f"{folder}byteorder") != b"little":
            raise _RefusedError("its numbers are in another order of bytes")
        description = archive.read(described[0])
        _check_pickle(description)
        # What zipfile reads it also holds against the archive's own checksums, which older files have, too.
        content = _Unpickler(io.BytesIO(description), lambda key: archive.read(f"{folder}data/{key}")).load()
    if not isinstance(content, dict):
        raise _RefusedError("it holds no mapping")
    return content


def _check_pickle(content: bytes) -> None:
    """Raises _RefusedError where a pickle has what plain values and tensors never need."""
    for operation, argument, _ in pickletools.genops(content):
        if operation.name in _NEVER_NEEDED:
            raise _RefusedError(f"it has the operation {operation.name}")
        # Pickle makes room for as many values as the highest number says.
        if "PUT" in operation.name and int(argument or 0) > len(content):
            raise _RefusedError("a value has a number that is too high")


_NEVER_NEEDED = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID"}


@dataclass(frozen=True, slots=True)
class _Storage:
    """A kind of storage, in the place of torch's class."""

    dtype: str


_STORAGES = {
    "DoubleStorage": _Storage("float64"),
    "FloatStorage": _Storage("float32"),
    "HalfStorage": _Storage("float16"),
    "BFloat16Storage": _Storage("bfloat16"),
    "LongStorage": _Storage("int64"),
    "IntStorage": _Storage("int32"),
    "ShortStorage": _Storage("int16"),
    "CharStorage": _Storage("int8"),
    "ByteStorage": _Storage("uint8"),
    "BoolStorage": _Storage("bool"),
}


class _Unpickler(pickle.Unpickler):
    """Builds plain values and tensors; a pickle that names anything else is refused before that is looked up.

    Args:
        file: with the pickle.
        read: gives the numbers of a storage by its key.
    """

    def __init__(self, file: io.BytesIO, read: Callable[[str], bytes]) -> None:
        super().__init__(file)
        self._read = read
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands for the few names that files of ours hold."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor_of
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise _RefusedError(f"it names {shown(f'{module}.{name}')}, which is no tensor")

    def persistent_load(self, pid: Any) -> Tensor:
        """Returns a storage as a tensor of one dimension."""
        import torch

        kind, storage, key, _, length = pid
        if kind != "storage" or not isinstance(storage, _Storage) or type(key) is not str or type(length) is not int:
            raise _RefusedError("a tensor's numbers are described wrongly")
        if key not in self._storages:
            numbers, dtype = bytearray(self._read(key)), getattr(torch, storage.dtype)
            if len(numbers) != length * dtype.itemsize:
                raise _RefusedError("a tensor has more or fewer numbers than it says")
            self._storages[key] = torch.frombuffer(numbers, dtype=dtype) if numbers else torch.empty(0, dtype=dtype)
        return self._storages[key]


def _tensor_of(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """Returns the tensor that a part of a storage is."""
    count = math.prod(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) if count else 0
    if min(offset, *size, *stride, 0) < 0 or count > storage.numel() or last > max(storage.numel() - 1, 0):
        raise _RefusedError("a tensor is larger than its numbers")
    return storage.as_strided(size, stride, offset)


def _plain(content: Mapping[Any, Any]) -> dict[str, Any]:
    """Returns tensors and plain values with a text in every tensor's place, which says type, shape and numbers."""
    walk = _Walk()
    return {walk.key(name): walk.plain(value, 0) for name, value in content.items()}


class _Walk:
    """Goes through tensors and plain values, and refuses others, or too many or too large ones."""

    def __init__(self) -> None:
        self._values = MAX_VALUES

    def plain(self, value: Any, depth: int) -> Any:
        """Returns a value with texts in the places of tensors."""
        import torch

        self._values -= 1
        if self._values < 0 or depth > MAX_DEPTH:
            raise _RefusedError("it has too many values, or values too deep in each other")
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if isinstance(value, Mapping):
            return {self.key(name): self.plain(item, depth + 1) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.plain(item, depth + 1) for item in value]
        if type(value) is int and not -(2**63) <= value < 2**64:
            raise _RefusedError("a number has more than 64 bits")
        if value is not None and type(value) not in (bool, int, float, str):
            raise _RefusedError(f"a value is of type {shown(type(value).__name__)}")
        return value

    def key(self, name: Any) -> str:
        """Returns a key; an optimizer's state has positions for keys."""
        if type(name) is int:
            return f"#{name}"
        if type(name) is not str:
            raise _RefusedError(f"a key is of type {shown(type(name).__name__)}")
        return name

    def _tensor(self, tensor: Tensor) -> str:
        import torch

        dtype = str(tensor.dtype).removeprefix("torch.")
        if (
            all(dtype != storage.dtype for storage in _STORAGES.values())
            or tensor.layout != torch.strided
            or tensor.is_quantized
        ):
            raise _RefusedError(f"a tensor is of type {dtype}")
        numbers = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        return f"{dtype} {list(tensor.shape)} {hashlib.sha256(numbers.data).hexdigest()}"
