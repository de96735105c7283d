"""JSON and YAML: what a text may hold, and that everything else is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from mapopt.documents import parse_json, parse_yaml
from mapopt.errors import ConfigError, DataError, shown
from mapopt.settings import load_yaml


def test_what_is_there_once_is_read() -> None:
    assert parse_json('{"a": [1, 2.5, null, {"b": "\u00e9"}]}', "a.json") == {"a": [1, 2.5, None, {"b": "\u00e9"}]}
    text = "base: &base {lr: 1e-3}\nown:\n  <<: *base\n  momentum: 0.5\n"
    assert parse_yaml(text, "a.yaml") == {"base": {"lr": 1e-3}, "own": {"lr": 1e-3, "momentum": 0.5}}
    assert parse_yaml("", "a.yaml") is None


def test_names_may_stay_the_texts_they_are() -> None:
    text = "[no, 007, 1.10, 12:30, null, 2020-01-01, 'a']"
    assert parse_yaml(text, "a.yaml", texts=True) == ["no", "007", "1.10", "12:30", "null", "2020-01-01", "a"]


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, after in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1', r"a\.json, line 1, column 8: is not valid JSON \(.*\). Expected a complete JSON file"),
        ('{"a": 1, "b": 2, "a": 3}', "a.json: the key 'a' is there twice in one object. Give it once."),
        ('{"' + "k" * 5000 + '": 1, "' + "k" * 5000 + '": 3}', r"the key 'k+\.\.\.k+' is there twice"),
        ("9" * 5000, r"a\.json: the number 9+\.\.\.9+ has more than 64 bits"),
        ("18446744073709551616", "has more than 64 bits. Expected a smaller one"),
        ("[" * 65 + "]" * 65, "lists and mappings are more than 64 deep in each other"),
        ("[" * 100_000, "lists and mappings are more than 64 deep in each other"),
        ('{"a":' * 70 + "1" + "}" * 70, "lists and mappings are more than 64 deep in each other"),
    ],
)
def test_json_that_is_refused_is_one_short_line(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        parse_json(text, "a.json", error=DataError)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", r"a\.yaml, line 2: is not valid YAML \('a' is there twice\)"),
        (LAUGHS, "its values are more than 1,000,000 with all aliases followed. Expected a file of settings"),
        ("a: &a [*a]", "an alias stands inside of what it means, which would be endless"),
        ("a: " + "9" * 5000, r"line 1: is not valid YAML \(the number 9+\.\.\.9+ has more than 64 bits\)"),
        ("a: 0x" + "f" * 17, "has more than 64 bits"),
        ("[" * 65 + "]" * 65, "lists and mappings are more than 64 deep in each other"),
        ("[" * 5000 + "]" * 5000, "lists and mappings are more than 64 deep in each other"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: [", "is not valid YAML"),
        ("? [1, 2]\n: 3", "is not valid YAML"),
        ("a: 1\n--- \nb: 2", "is not valid YAML"),
        ("a: \x07", "is not valid YAML"),
    ],
)
def test_yaml_that_is_refused_is_one_short_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_value_in_a_message_is_short_and_on_one_line() -> None:
    assert shown("a\nb") == r"'a\nb'"
    assert len(shown(list(range(10**6)))) <= 60
    assert len(shown({"k" * 10**6: "v" * 10**6}, 40)) <= 40
    assert shown(3.5) == "3.5"
