"""What a class of settings says of its fields: their types, their words and their docstrings."""

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated

from mapopt.fields import NOT_A_SETTING, describe, field_docs, leaves


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: Annotated[float, "a range"] = 0.5


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    many: dict[str, Inner] = field(default_factory=dict)
    order: bool = field(default=False, metadata=NOT_A_SETTING)
    _cache: dict[str, int] = field(default_factory=dict, init=False, compare=False)


def test_every_value_has_a_path_and_a_type() -> None:
    paths = {".".join(path): describe(hint) for path, hint in leaves(Outer)}
    assert paths["inner.rate"] == "a number"
    assert paths["order"] == "true or false"
    assert paths["many"] == "keys with values"
    assert "_cache" not in paths


@dataclass(frozen=True, kw_only=True)
class Documented(Inner):
    first: int = 1
    """What a field says goes over
    several lines.

    A second paragraph is for readers of the code.
    """
    second: int = 2
    third: int = 3
    """The last one."""


def test_a_fields_docstring_is_its_first_paragraph_on_one_line() -> None:
    assert list(field_docs(Documented)) == [
        ("first", "What a field says goes over several lines."),
        ("third", "The last one."),
    ]
    made = dataclasses.make_dataclass("Made", ["a"], bases=(Documented,), frozen=True, kw_only=True)
    assert dict(field_docs(made))["third"] == "The last one.", "a class without its source has its bases' docstrings"
