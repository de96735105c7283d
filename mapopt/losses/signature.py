"""What keeps a part of a user's own from being a loss: it cannot be called, or not with what a loss is called with.

It is said when a loss is named, in words that a registry puts behind the part's name, not in the middle of a run.
"""

from __future__ import annotations

import inspect
from typing import Any


def loss_problem(part: Any) -> str:
    """Says what keeps a part of a user's own from being a loss; empty if nothing does."""
    abstract = sorted(getattr(part, "__abstractmethods__", ()))
    if abstract:
        return f"has no {' and no '.join(abstract)}: expected a method evaluate(lists) as ListLoss describes it"
    return _call_problem(part, ("scores", "labels", "where"))


def box_loss_problem(part: Any) -> str:
    """Says what keeps a part of a user's own from being a box loss; empty if nothing does."""
    return _call_problem(part, ("boxes", "targets"))


def _call_problem(part: Any, arguments: tuple[str, ...]) -> str:
    """Says what keeps a function, an object or the instances of a class from being called with some arguments."""
    expected = f"expected a function or an object that is called with ({', '.join(arguments)})"
    called: Any = part
    if inspect.isclass(part):
        # A class of torch defines forward; what every type has is the __call__ that makes instances.
        methods = [name for name in ("forward", "__call__") if any(name in vars(kind) for kind in part.__mro__)]
        if not methods:
            return f"makes objects that cannot be called: {expected}"
        called, arguments = getattr(part, methods[0]), ("self", *arguments)
    elif not callable(part):
        return f"cannot be called: {expected}"
    elif hasattr(part, "forward"):
        called = part.forward
    try:
        signature = inspect.signature(called)
        # What else a function needs may come from settings.
        (signature.bind_partial if inspect.isroutine(part) else signature.bind)(*arguments)
    except TypeError:
        return f"takes other arguments {signature}: {expected}"
    except ValueError:  # built in, without a signature
        return ""
    return ""
