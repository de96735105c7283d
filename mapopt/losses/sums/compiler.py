"""What torch's transformations of functions may do with a ranking loss: leave it alone, or be refused.

Sums over lists have shapes that depend on the data, so a compiler gains nothing; and torch 2.11 and later silently drop
the gradient of an autograd function with several outputs when they trace it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from mapopt.errors import ConfigError

_Function = TypeVar("_Function", bound=Callable[..., Any])


def not_traced(function: _Function) -> _Function:
    """Decorates a function so that `torch.compile` calls it as it is, as `torch.compiler.disable` does.

    That one would import the compiler, a second or more, in every process that uses a loss; this one waits until
    somebody else has imported it.
    """
    disabled: list[_Function] = []

    @functools.wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        if "torch._dynamo" not in sys.modules:
            return function(*given, **named)
        if not disabled:
            disabled.append(torch.compiler.disable(function, reason="ranking losses are not traced"))
        return disabled[0](*given, **named)

    call._torchdynamo_disable = True  # type: ignore[attr-defined]  # a caller that is traced does not look inside
    call._torchdynamo_disable_msg = "ranking losses are not traced"  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


def refuse_vmap(*tensors: Tensor) -> None:
    """Checks that no tensor is one of `torch.vmap`.

    Raises:
        ConfigError: one is.
    """
    if any(torch._C._functorch.is_batchedtensor(tensor) for tensor in tensors):
        raise ConfigError(
            "a ranking loss was called under torch.vmap, which cannot count the entries of a list; expected a call "
            "without it: leading dimensions are lists already, and `loss.lists` gives a value for each"
        )


@contextmanager
def torch_func_explained(scores: Tensor, name: str) -> Iterator[None]:
    """Says what to do where `torch.func` cannot differentiate what is computed inside.

    Raises:
        ConfigError: it cannot.
    """
    try:
        yield
    except RuntimeError as error:
        if not torch._C._functorch.is_functorch_wrapped_tensor(scores):
            raise
        raise ConfigError(
            f"{name} was called under torch.func, which cannot differentiate it; expected tensors that require a "
            "gradient: call the loss on them and use torch.autograd.grad or backward"
        ) from error
