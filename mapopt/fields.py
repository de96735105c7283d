"""Says what a class of settings tells of itself: the names, the types and the words of its fields.

Files, flags and help all read the same frozen dataclass, so whatever its fields do not say by their types is metadata
of the field or an annotation of the type, and nobody keeps a second list.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

NOT_A_SETTING = {"setting": False}
"""Metadata of a field that is an order for once, such as `resume`: files neither set nor keep it."""

LEFT_OUT_WHEN_EMPTY = {"empty": "left out"}
"""Metadata of a field that files and hashes know nothing of while it is empty, so that those from before it stand."""

LEFT_OUT_AT_DEFAULT = {"default": "left out"}
"""Metadata of a field that files and hashes know nothing of while it is at its default, for the same reason."""


def formerly(values: Mapping[Any, str]) -> dict[str, Mapping[Any, str]]:
    """Returns the metadata of a field that had other values in earlier files.

    Args:
        values: what earlier files may hold, switches and null included, and its value now.
    """
    return {"formerly": values}


PLAIN_TYPES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Path: "a path",
    type(None): "null",
}
"""The types of a single value in a file, and what is expected of one in words."""


@dataclasses.dataclass(frozen=True)
class Form:
    """Annotation of a type whose values are written in ways that its parts do not tell."""

    words: str
    """What is expected, as a file spells it."""
    flag: str
    """What is expected behind a flag."""
    metavar: str
    """The same in short, for help."""
    read: Callable[[Sequence[str]], Any]
    """Reads the words behind a flag; ValueError where they are no such value."""


@cache
def fields_of(cls: Any, *, orders: bool = False) -> list[tuple[str, Any, bool]]:
    """Returns name, type and whether it is required, of the fields that a file may set.

    Args:
        cls: a dataclass.
        orders: the fields that are orders for once too, which no file sets.
    """
    hints = get_type_hints(cls, include_extras=True)
    return [
        (
            field.name,
            hints[field.name],
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(cls)
        if field.init and (orders or field.metadata.get("setting", True))
    ]


def bare_type(hint: Any) -> Any:
    """Returns a type without its annotations."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def leaves(cls: type, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields the path and the type of every value in nested dataclasses, orders included."""
    for name, hint, _ in fields_of(cls, orders=True):
        bare = bare_type(hint)
        if dataclasses.is_dataclass(bare) and isinstance(bare, type):
            yield from leaves(bare, (*prefix, name))
        else:
            yield (*prefix, name), hint


def field_docs(cls: type) -> Iterator[tuple[str, str]]:
    """Yields the name and the docstring of every field of a dataclass as a line of text, those of its bases first.

    >>> from mapopt.commands.command import Command
    >>> dict(field_docs(Command))["seed"]
    'Every random choice of the command follows from it.'
    """
    for base in reversed(cls.__mro__):
        try:
            (body,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError):  # built in, or without its source
            continue
        assert isinstance(body, ast.ClassDef)
        for node, following in zip(body.body, body.body[1:], strict=False):
            if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
                continue
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                # The first paragraph is for everybody; a reference may follow it.
                yield node.target.id, " ".join(str(following.value.value).split("\n\n")[0].split())


def form_of(hint: Any) -> Form | None:
    """Returns the form in which a type's values are written, if it is annotated with one."""
    notes = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((note for note in notes if isinstance(note, Form)), None)


def describe(hint: Any, *, flag: bool = False) -> str:
    """Says in words what values a type has, as a file spells them or as a flag does.

    >>> describe(tuple[int, int]), describe(Literal["best", "last", "none"] | None)
    ('2 values: a whole number, a whole number', 'best, last or none, or null')
    """
    null = "None" if flag else "null"
    form = form_of(hint)
    if form is not None:
        return form.flag if flag else form.words
    hint = bare_type(hint)
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        choices = [str(choice) for choice in args]
        return " or ".join([", ".join(choices[:-1]), choices[-1]] if choices[1:] else choices)
    if origin in (Union, types.UnionType):
        members = [describe(member, flag=flag) for member in args if member is not type(None)]
        return " or ".join(members) + (f", or {null}" if type(None) in args else "")
    if origin is tuple and args[-1] is not Ellipsis:
        return f"{len(args)} values: {', '.join(describe(member, flag=flag) for member in args)}"
    if origin in (tuple, list):
        return f"a list, each of it {describe(args[0], flag=flag)}"
    if origin is dict or (isinstance(hint, type) and dataclasses.is_dataclass(hint)):
        return "keys with values"
    if hint is bool:
        return "True or False" if flag else "true or false"
    return PLAIN_TYPES.get(hint, "any value")
