"""Settings from files: what fits is taken exactly, what does not fit is named with its place."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mapopt.errors import ConfigError
from mapopt.fields import LEFT_OUT_AT_DEFAULT, NOT_A_SETTING, formerly
from mapopt.settings import check_values, flatten, from_mapping, load_yaml, to_mapping, to_yaml


@dataclass(frozen=True, kw_only=True)
class Inner:
    number: int = 3
    rate: Annotated[float, "a range"] = 0.5
    choice: Literal["left", "right"] | None = None

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ConfigError(f"number is {self.number}: expected 0 or more")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    many: dict[str, Inner] = field(default_factory=dict)
    pair: tuple[int, float] = (1, 2.0)
    several: tuple[str, ...] = ()
    listed: list[float] = field(default_factory=list)
    folder: Path | None = None
    wide: int | str = 0
    flag: bool = False
    free: Any = None
    order: bool = field(default=False, metadata=NOT_A_SETTING)
    _cache: dict[str, int] = field(default_factory=dict, init=False, compare=False)


inners = st.builds(
    Inner,
    number=st.integers(0, 10**6),
    rate=st.floats(allow_nan=False),
    choice=st.sampled_from([None, "left", "right"]),
)
outers = st.builds(
    Outer,
    name=st.text(),
    inner=inners,
    many=st.dictionaries(st.text(), inners, max_size=3),
    pair=st.tuples(st.integers(), st.floats(allow_nan=False)),
    several=st.lists(st.text(), max_size=3).map(tuple),
    listed=st.lists(st.floats(allow_nan=False), max_size=3),
    folder=st.sampled_from([None, Path("a/b")]),
    wide=st.one_of(st.integers(), st.text()),
    flag=st.booleans(),
    free=st.sampled_from([None, 1, "x", [1, 2]]),
)


@given(outers)
def test_settings_survive_the_way_through_a_mapping(settings: Outer) -> None:
    assert from_mapping(Outer, to_mapping(settings), "x") == settings


@given(outers)
def test_settings_survive_the_way_through_a_file(settings: Outer) -> None:
    assert from_mapping(Outer, yaml.safe_load(to_yaml(settings)), "x") == settings


def test_what_is_not_given_keeps_its_default() -> None:
    assert from_mapping(Outer, {"name": "a"}, "x") == Outer(name="a")
    assert from_mapping(Outer, {"name": "a", "inner": None}, "x") == Outer(name="a")
    assert from_mapping(Inner, None, "x") == Inner()


def test_a_whole_number_is_taken_as_a_number_and_not_the_other_way_round() -> None:
    rate = from_mapping(Inner, {"rate": 1}, "x").rate
    assert rate == 1.0
    assert isinstance(rate, float)
    with pytest.raises(ConfigError, match=r"number is 1\.0: expected a whole number"):
        from_mapping(Inner, {"number": 1.0}, "x")


def test_hyphens_in_keys_are_underscores() -> None:
    @dataclass(frozen=True)
    class Hyphenated:
        batch_size: int = 1

    assert from_mapping(Hyphenated, {"batch-size": 4}, "x") == Hyphenated(4)
    with pytest.raises(ConfigError, match="x: batch_size is given twice"):
        from_mapping(Hyphenated, {"batch-size": 4, "batch_size": 5}, "x")


def test_an_order_is_neither_read_nor_written() -> None:
    assert "order" not in to_mapping(Outer(name="a", order=True))
    with pytest.raises(ConfigError, match="unknown key 'order'"):
        from_mapping(Outer, {"name": "a", "order": True}, "x")


def test_a_value_of_an_earlier_version_is_read_as_that_of_today() -> None:
    @dataclass(frozen=True)
    class Renamed:
        side: Literal["left", "right"] = field(default="left", metadata=formerly({True: "right", None: "left"}))
        flag: bool = False

    for then, now in ((True, "right"), (None, "left"), ("right", "right")):
        assert from_mapping(Renamed, {"side": then, "flag": True}, "x") == Renamed(now, True)
        assert check_values(Renamed, {"side": then}, "x") == {"side": now}
    for wrong in (False, 1, "up", [True]):
        with pytest.raises(ConfigError, match="expected left or right"):
            from_mapping(Renamed, {"side": wrong}, "x")


def test_a_setting_at_its_default_can_be_left_out_of_files() -> None:
    @dataclass(frozen=True)
    class Later:
        ratio: float = field(default=1.5, metadata=LEFT_OUT_AT_DEFAULT)
        other: float = 1.5

    assert to_mapping(Later()) == {"other": 1.5}
    assert to_mapping(Later(ratio=0.0)) == {"ratio": 0.0, "other": 1.5}
    assert from_mapping(Later, {}, "x") == Later()


def test_required_settings_may_be_left_for_later() -> None:
    later = object()
    assert from_mapping(Outer, {"flag": True}, "x", missing=later).name is later

    @dataclass(frozen=True)
    class Nesting:
        outer: Outer

    built = from_mapping(Nesting, {}, "x", missing=later)
    assert built.outer.name is later


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "f.yaml: name is missing: give it. Expected a text."),
        ({"name": 3}, "f.yaml: name is 3: expected a text."),
        ({"name": None}, "f.yaml: name is null: expected a text."),
        ([1], "f.yaml is [1]: expected keys with values."),
        ({"nam": "a"}, "f.yaml: unknown key 'nam': did you mean 'name'? Known: flag, "),
        ({"name": "a", "inner": {"numbr": 1}}, "f.yaml: unknown key in inner 'numbr': did you mean 'number'?"),
        ({"name": "a", "inner": 3}, "f.yaml: inner is 3: expected keys with values."),
        ({"name": "a", "inner": {"number": True}}, "f.yaml: inner.number is True: expected a whole number."),
        ({"name": "a", "inner": {"number": -1}}, "f.yaml: inner: number is -1: expected 0 or more"),
        ({"name": "a", "inner": {"choice": "up"}}, "f.yaml: inner.choice is 'up': expected left or right, or null."),
        ({"name": "a", "many": {"one": {"rate": "x"}}}, "f.yaml: many.one.rate is 'x': expected a number."),
        ({"name": "a", "many": {1: {}}}, "f.yaml: many has the key 1: expected a text. Put it in quotes."),
        ({"name": "a", "pair": [1]}, "f.yaml: pair is [1]: expected 2 values: a whole number, a number."),
        ({"name": "a", "pair": [1, "b"]}, "f.yaml: pair.1 is 'b': expected a number."),
        ({"name": "a", "several": "b"}, "f.yaml: several is 'b': expected a list, each of it a text."),
        ({"name": "a", "listed": [True]}, "f.yaml: listed.0 is True: expected a number."),
        ({"name": "a", "folder": 4}, "f.yaml: folder is 4: expected a path, or null."),
        ({"name": "a", "wide": 1.5}, "f.yaml: wide is 1.5: expected a whole number or a text."),
        ({"name": "a", "flag": "x" * 99}, "f.yaml: flag is 'xxx"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(mapping: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(Outer, mapping, "f.yaml")
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 200


def test_a_type_that_no_file_can_hold_is_our_mistake_and_not_the_users() -> None:
    odd = dataclasses.make_dataclass("Odd", [("value", bytes)])
    with pytest.raises(TypeError, match="value: a setting cannot be of type"):
        from_mapping(odd, {"value": "x"}, "x")


def write(folder: Path, text: str) -> Path:
    path = folder / "f.yaml"
    path.write_text(text)
    return path


def test_numbers_in_a_file_are_read_as_they_look(tmp_path: Path) -> None:
    path = write(tmp_path, "a: 1e-3\nb: -2E5\nc: 1.5e3\nd: 7\ne: e3\nf: .5\n")
    assert load_yaml(path) == {"a": 1e-3, "b": -2e5, "c": 1.5e3, "d": 7, "e": "e3", "f": 0.5}


def test_merged_sections_are_not_taken_for_repeated_keys(tmp_path: Path) -> None:
    path = write(tmp_path, "a: &a {x: 1}\nb: {<<: *a, x: 2}\n")
    assert load_yaml(path) == {"a": {"x": 1}, "b": {"x": 2}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1, 2\n", r"f.yaml, line 3: is not valid YAML \(expected ',' or ']'"),
        ("a: 1\nb:\n  c: 2\n  c: 3\n", r"f.yaml, line 4: is not valid YAML \('c' is there twice\)"),
        ("a: !!python/object/apply:os.system [ls]\n", r"f.yaml, line 1: is not valid YAML \(could not determine"),
        ("a: \x01\n", r"f.yaml: is not valid YAML \(unacceptable character"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_yaml(write(tmp_path, text))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.yaml: no such file; expected a YAML file"):
        load_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"is a folder; expected a YAML file"):
        load_yaml(tmp_path)
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"a: \xe4\xff\n")
    with pytest.raises(ConfigError, match=r"latin.yaml: is not UTF-8 text"):
        load_yaml(path)


def test_nested_names_are_joined_by_points() -> None:
    nested = {"a": 1, "b": {"c": {"d": 2}, "e": [3]}, "f": {}}
    assert flatten(nested) == {"a": 1, "b.c.d": 2, "b.e": [3]}
