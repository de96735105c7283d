"""A GPU that is only pretended: numbers are computed on the CPU, and what would mix devices raises as on a GPU.

`torch._subclasses.FakeTensorMode` pretends as well, but has no numbers: what reads some (`.item()`, `nonzero`, numpy,
the loops of a backward pass) it cannot follow. Here every storage has a device of its own in a ledger, whatever tensor
looks at it. A torch function mode answers for it (`.device`, `.to`, factories, `.numpy()`), and a dispatch mode sees
every operation, those of backward passes and of torchvision among them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Ledger:
    """Which storage is where. What nobody has put anywhere goes with whatever it meets."""

    def __init__(self) -> None:
        # The weak reference keeps a storage's address from being given to another one.
        self._places: dict[int, tuple[StorageWeakRef, torch.device]] = {}

    def of(self, tensor: Tensor) -> torch.device | None:
        return self._places.get(tensor.untyped_storage()._cdata, (None, None))[1]

    def put(self, tensor: Tensor, device: torch.device) -> None:
        storage = tensor.untyped_storage()
        self._places[storage._cdata] = (StorageWeakRef(storage), device)

    def place_new(self, values: Any, device: torch.device | None) -> None:
        for value in tensors_of(values):
            if device is not None and self.of(value) is None:
                self.put(value, device)

    def common(self, tensors: list[Tensor], what: str) -> torch.device | None:
        """Returns the device that all tensors are on; raises where they are on several."""
        devices = {device for tensor in tensors if (device := self.of(tensor)) is not None}
        if len(devices) > 1:
            shapes = ", ".join(f"{self.of(tensor)} {list(tensor.shape)}" for tensor in tensors)
            raise RuntimeError(f"{what}: expected all tensors to be on the same device, but found {shapes}")
        return next(iter(devices), None)


class Operations(TorchDispatchMode):
    """Sees every operation: raises where it mixes devices, and says where its results are."""

    copies = ("copy_", "_to_copy", "_foreach_copy_", "set_", "resize_")
    indexing = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put")
    scalars = ("fill_", "fill", "masked_fill", "masked_fill_")

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunction():
            kwargs = kwargs or {}
            device = self._device(func, args, kwargs)
            result = func(*args, **kwargs)
            self.ledger.place_new(result, device)
            return result

    def _device(self, func: Any, args: Any, kwargs: Any) -> torch.device | None:
        name = func._schema.name.partition("::")[2]
        tensors = tensors_of((args, kwargs))
        if name in self.copies:
            return self.ledger.of(tensors[0])
        if name in self.indexing and self.ledger.of(args[0]) != CPU:
            # A GPU takes places from the host, and a single number.
            indices = {id(index) for index in args[1]} if isinstance(args[1], list | tuple) else set()
            tensors = [tensor for tensor in tensors if id(tensor) not in indices and tensor.dim()] or tensors[:1]
        elif name in self.scalars or (torch.Tag.pointwise in func.tags and (len(tensors) < 3 or name == "where")):
            # A single number on the host goes with anything.
            numbers = [tensor for tensor in tensors if not tensor.dim() and self.ledger.of(tensor) == CPU]
            tensors = [tensor for tensor in tensors if not any(tensor is number for number in numbers)] or tensors
        return self.ledger.common(tensors, str(func))


class Answers(TorchFunctionMode):
    """Answers for the device of a tensor, and puts tensors where they are asked for."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if func is Tensor.backward:
            # What somebody wrote of a backward pass in Python is to be seen as all else is.
            with self:
                return torch.autograd.backward(args, kwargs.pop("gradient"), **kwargs)
        if func == Tensor.device.__get__:
            return self._at(args[0])
        if func == Tensor.is_cuda.__get__:
            return self._at(args[0]) == GPU
        if name in ("to", "cuda", "cpu") and isinstance(args[0], Tensor):
            return self._moved(name, *args, **kwargs)
        if name in ("numpy", "__array__", "__dlpack__") and self._at(args[0]) == GPU and not kwargs.get("force"):
            raise TypeError("can't convert cuda:0 device type tensor to numpy: use Tensor.cpu() first")
        return self._made(func, args, kwargs)

    def _at(self, tensor: Tensor) -> torch.device:
        return self.ledger.of(tensor) or CPU

    def _moved(self, name: str, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        wanted: Any = {"cuda": GPU, "cpu": CPU}.get(name, kwargs.pop("device", None))
        dtype = kwargs.pop("dtype", None) or tensor.dtype
        for value in args:
            if isinstance(value, Tensor):
                wanted, dtype = self._at(value), value.dtype
            elif isinstance(value, torch.dtype):
                dtype = value
            elif isinstance(value, torch.device | str):
                wanted = value
        here = self._at(tensor)
        device = here if wanted is None else kind_of(wanted)
        moved = tensor.to(dtype, **{**kwargs, "copy": kwargs.get("copy", False) or here != device})
        self.ledger.put(moved, device)
        return moved

    def _made(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Calls a function; what it makes is on the device that was asked for, or that of its tensors."""
        given = kwargs.get("device")
        before = tensors_of((args, kwargs))
        device = kind_of(given) if given is not None else None
        if device is None:
            where = {self._at(tensor) for tensor in before}
            device = GPU if GPU in where else CPU
        elif given is not None:
            kwargs["device"] = CPU
        if kwargs.get("generator") is not None and device == GPU:
            raise RuntimeError("expected a 'cuda' device type for generator but found 'cpu'")
        result = func(*args, **kwargs)
        if given is not None and before and func is torch.as_tensor:
            return self._moved("to", result, device)
        fresh = before[:0] if given is None and before else [*tensors_of(result)]
        for tensor in fresh:
            self.ledger.put(tensor, device)
        self.ledger.place_new(result, device)
        return result


def tensors_of(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def kind_of(device: Any) -> torch.device:
    return torch.device(torch.device(device).type)


class Pretended:
    """The two modes, and what there is of a GPU beside its tensors."""

    device = "cuda"

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ledger = Ledger()
        self.answers, self.operations = Answers(self.ledger), Operations(self.ledger)
        real = torch.autocast
        monkeypatch.setattr(torch, "autocast", lambda kind, *args, **kwargs: real("cpu", *args, **kwargs))
        monkeypatch.setattr("torch.autograd.has_torch_function", lambda tensors: False)
        for name, stand_in in {
            "get_rng_state": lambda device=None: torch.zeros(1),
            "set_rng_state": lambda state, device=None: None,
            "manual_seed": lambda seed: None,
            "device": lambda device: contextlib.nullcontext(),
        }.items():
            monkeypatch.setattr(torch.cuda, name, stand_in)

    def __enter__(self) -> Pretended:
        self.operations.__enter__()
        self.answers.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.answers.__exit__(*error)
        self.operations.__exit__(*error)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretended]:
    """A machine with a GPU, as far as devices go."""
    with Pretended(monkeypatch) as machine:
        yield machine
