"""Compiled functions that are kept on disk as machine code, and loaded without numba.

numba takes a second to start, nearly all of it for what a finished function never uses. What it makes of a function
that allocates nothing is plain machine code: that is kept beside the compiled files of Python, and loaded by llvmlite
alone, in a tenth of the time, or where `mapopt.machine_code` understands it, without even that, in a hundredth. numba
itself is imported where a function has to be compiled, once on a machine. Floating point stays strict, as in
`mapopt.compiling`.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import importlib.util
import inspect
import os
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from mapopt.machine_code import Image, here, image_of

_DTYPES = {"f8": np.dtype(np.float64), "i8": np.dtype(np.int64), "u8": np.dtype(np.uint64), "b1": np.dtype(np.bool_)}

_OUTSIDE = ("llvm.", "memcpy", "memmove", "memset", "NRT_MemInfo_call_dtor")
"""What machine code may call that it does not contain; the last one, of numba's, is for arrays that numba allocated."""

_nothing = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)


def native(arguments: str, *, helpers: Sequence[Any] = ()) -> Callable[[Any], Native]:
    """Makes a function native.

    Args:
        arguments: The type of every argument, as "f8[:,:] i8": ``f8``, ``i8``, ``u8`` and ``b1`` are float64, int64,
            uint64 and bool; arrays are contiguous, numbers int64.
        helpers: Functions that it calls; they are compiled with it, and each may call those before it.
    """
    return lambda function: Native(function, tuple(arguments.split()), tuple(helpers))


class Native:
    """A function of arrays and whole numbers that returns a whole number; it must not allocate.

    Args:
        function: What is compiled.
        arguments: See `native`.
        helpers: See `native`.
    """

    def __init__(self, function: FunctionType, arguments: tuple[str, ...], helpers: tuple[FunctionType, ...]) -> None:
        self.function = function
        self._kinds = [(_DTYPES[kind[:2]], kind.count(":")) for kind in arguments]
        self._helpers = helpers
        self._call: Callable[..., int] | None = None
        self._alive: tuple[Any, ...] = ()

    def __call__(self, *values: Any) -> int:
        """Calls it; an array of another type or order is copied, so it cannot be written to."""
        self.load()
        assert self._call is not None
        flat: list[int] = []
        kept = []
        for value, (dtype, dimensions) in zip(values, self._kinds, strict=True):
            if not dimensions:
                flat.append(int(value))
                continue
            if value.dtype != dtype or not value.flags.c_contiguous:
                value = np.ascontiguousarray(value, dtype)
                kept.append(value)
            # As numba passes an array: no owner, size, bytes of a number, address, shape, strides.
            address = value.__array_interface__["data"][0]
            flat += (0, 0, value.size, value.itemsize, address, *value.shape, *value.strides)
        result, error = ctypes.c_int64(), ctypes.c_void_p()
        if self._call(ctypes.addressof(result), ctypes.addressof(error), *flat):
            raise RuntimeError(f"{self.function.__name__} failed")
        return result.value

    def load(self) -> None:
        """Loads it from disk, or compiles it and keeps it there.

        Raises:
            ImportError: llvmlite is missing, or numba where it has to be compiled.
        """
        if self._call is not None:
            return
        address = self._place()
        if not address:
            binding = importlib.import_module("llvmlite.binding")
            file = _file(self.function, binding)
            with suppress(AttributeError, RuntimeError):  # an llvmlite that does it otherwise
                address = self._read(file, binding)
            address = address or self._compile(file)
        numbers = [item for dtype, size in self._kinds for item in [ctypes.c_int64] * (5 + 2 * size if size else 1)]
        self._call = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *numbers)(address)

    def _place(self) -> int:
        """Returns the address of the image that is on disk, 0 where there is none that works here."""
        if not here():
            return 0
        try:
            check, packed = _image_file(self.function).read_bytes().split(b"\n", 1)
            if hashlib.sha256(packed).hexdigest().encode() != check:
                return 0
            address, memory = Image.unpack(packed).place(_outside())
        except (OSError, ValueError, KeyError):
            return 0
        self._alive = (memory,)
        return address

    def _keep_image(self, name: bytes, code: bytes) -> None:
        """Keeps an image of an object file on disk, where one can be made."""
        image = image_of(code, name.decode()) if here() else None
        if image is None:
            return
        packed = image.pack()
        with suppress(OSError):  # no folder to write to
            file, source = _image_file(self.function), Path(inspect.getfile(self.function))
            _write(file, source, hashlib.sha256(packed).hexdigest().encode(), packed)

    def _read(self, file: Path, binding: ModuleType) -> int:
        """Returns the address of what is on disk, 0 where there is nothing or something broken."""
        try:
            check, name, code = file.read_bytes().split(b"\n", 2)
        except (OSError, ValueError):
            return 0
        if hashlib.sha256(name + code).hexdigest().encode() != check:
            return 0
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        binding.add_symbol("NRT_MemInfo_call_dtor", ctypes.cast(_nothing, ctypes.c_void_p).value)
        machine = binding.Target.from_default_triple().create_target_machine()
        engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
        engine.add_object_file(binding.ObjectFileRef.from_data(code))
        engine.finalize_object()
        self._alive = (engine, machine)
        self._keep_image(name, code)
        return int(engine.get_function_address(name.decode()))

    def _compile(self, file: Path) -> int:
        numba = importlib.import_module("numba")
        names = dict(self.function.__globals__)
        for helper in (*self._helpers, self.function):
            copy = FunctionType(helper.__code__, names, helper.__name__)
            names[helper.__name__] = numba.njit(nogil=True, error_model="numpy", **_BARE)(copy)
        dispatcher = names[self.function.__name__]
        dispatcher.compile(
            tuple(
                numba.types.Array(numba.from_dtype(dtype), size, "C") if size else numba.from_dtype(dtype)
                for dtype, size in self._kinds
            )
        )
        (compiled,) = dispatcher.overloads.values()
        name, library = compiled.fndesc.llvm_func_name, compiled.library
        self._alive = (dispatcher, library)
        with suppress(OSError, AttributeError):  # no folder to write to, or a numba that keeps it elsewhere
            called = [function.name for function in library._final_module.functions if function.is_declaration]
            if all(function.startswith(_OUTSIDE) for function in called):
                code = name.encode(), library.serialize_using_object_code()[2][0]
                _write(
                    file,
                    Path(inspect.getfile(self.function)),
                    hashlib.sha256(b"".join(code)).hexdigest().encode(),
                    *code,
                )
                self._keep_image(*code)
        return int(library.get_pointer_to_function(name))


_BARE = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""numba's options that leave out what Python would call it by."""


def folder_of(source: Path) -> Path:
    """Returns where machine code of a module is kept: where numba is to keep its own, or beside Python's."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        return Path(chosen)
    if os.access(source.parent, os.W_OK):
        return source.parent / "__pycache__"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mapopt"


def _file(function: FunctionType, binding: ModuleType) -> Path:
    """Returns the file of a function: its name says of which source, by which packages and for which processor."""
    metadata = importlib.import_module("importlib.metadata")
    source = Path(inspect.getfile(function))
    features = binding.get_host_cpu_features().flatten()
    versions = [f"{package} {metadata.version(package)}" for package in ("numba", "llvmlite", "numpy")]
    what = [*versions, binding.get_process_triple(), binding.get_host_cpu_name(), features, str(source)]
    digest = hashlib.sha256("\n".join(what).encode() + source.read_bytes()).hexdigest()
    return folder_of(source) / f"{source.stem}.{function.__name__}-{digest[:20]}.o"


def _image_file(function: FunctionType) -> Path:
    """Returns the file of a function's image; its name says the same, without asking llvmlite, which takes too long."""
    source = Path(inspect.getfile(function))
    digest = hashlib.sha256("\n".join((*_made_by(), str(source))).encode() + source.read_bytes()).hexdigest()
    return folder_of(source) / f"{source.stem}.{function.__name__}-{digest[:20]}.image"


@cache
def _made_by() -> tuple[str, ...]:
    """Returns which packages make machine code here, by the times of their files, and for which processor."""
    packages = [importlib.util.find_spec(package) for package in ("numba", "llvmlite")]
    files = [Path(spec.origin).with_name("_version.py") for spec in packages if spec is not None and spec.origin]
    versions = [f"{file} {file.stat().st_mtime_ns} {file.stat().st_size}" for file in files if file.exists()]
    with open("/proc/cpuinfo", encoding="utf-8") as processors:
        lines = processors.read(16384).split("\n\n")[0].splitlines()
    kinds = [line for line in lines if line.startswith(("model", "flags"))]
    return np.__version__, *versions, platform.machine(), *kinds


def _outside() -> dict[str, int]:
    """Returns the addresses of the functions that machine code may call."""
    library = ctypes.CDLL(None)
    names = ("memcpy", "memmove", "memset")
    addresses = {name: ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 for name in names}
    return {**addresses, "NRT_MemInfo_call_dtor": ctypes.cast(_nothing, ctypes.c_void_p).value or 0}


def _write(file: Path, source: Path, *parts: bytes) -> None:
    """Writes a file in one step, and removes what was made of older versions of the source."""
    file.parent.mkdir(parents=True, exist_ok=True)
    for old in file.parent.glob(f"{file.name.rpartition('-')[0]}-*{file.suffix}"):
        if old.stat().st_mtime < source.stat().st_mtime:
            old.unlink(missing_ok=True)
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(b"\n".join(parts))
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
