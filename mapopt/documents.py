"""Reads JSON and YAML so that what is wrong with a text is one line, whatever the text is.

One reader for both: a key may come once, whole numbers have 64 bits, and how deep and how large values are is bounded
before anything else walks through them. Aliases of YAML are followed as long as they do not multiply.
"""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from mapopt.errors import ConfigError, MapoptError, shown

MAX_DATA = 8 * 2**30
"""Bytes of a file of annotations or results; the largest public ones have less than half of it."""
MAX_DEPTH = 64
"""Levels of lists and mappings in each other; everything of ours has less than ten."""
MAX_YAML_VALUES = 1_000_000
"""Values in a YAML text with its aliases followed."""


def parse_json(text: str, where: str, *, error: type[MapoptError] = ConfigError) -> Any:
    """Returns what a JSON text holds.

    Args:
        text: a whole document.
        where: the file, for the messages.
        error: what to raise.

    Raises:
        MapoptError: of the kind `error`: the text is not JSON, a key comes twice in an object, a whole number has more
            than 64 bits, or lists and objects are too deep in each other.

    >>> parse_json('{"a": 1, "a": 2}', "a.json")
    Traceback (most recent call last):
    mapopt.errors.ConfigError: a.json: the key 'a' is there twice in one object. Give it once.
    """
    try:
        value = json.loads(text, object_pairs_hook=_mapping_of, parse_int=_bounded_number)
        # Annotations of many megabytes are walked through once, by readers that do not descend.
        if len(text) < _MAX_TEXT_TO_DESCEND:
            _check_depth(value)
    except json.JSONDecodeError as problem:
        place = f"{where}, line {problem.lineno}, column {problem.colno}"
        raise error(
            f"{place}: is not valid JSON ({problem.msg}). "
            "Expected a complete JSON file; it may have been cut off while it was written or copied."
        ) from None
    except _RefusedError as problem:
        raise error(f"{where}: {problem}") from None
    except RecursionError:
        raise error(f"{where}: {_TOO_DEEP}") from None
    return value


def parse_yaml(text: str, where: str, *, error: type[MapoptError] = ConfigError, texts: bool = False) -> Any:
    """Returns what a YAML text holds; nothing in it can execute code.

    Args:
        text: a whole document.
        where: the file, for the messages.
        error: what to raise.
        texts: leave every plain value the text that it is, so that ``no`` and ``007`` are names.

    Raises:
        MapoptError: of the kind `error`: the text is not YAML, a key comes twice, a number cannot be read, or values
            are too deep in each other or, with their aliases followed, too many; the message names the line.
    """
    try:
        loader = (_TextLoader if texts else StrictLoader)(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_size(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as problem:
        line = f", line {problem.problem_mark.line + 1}" if problem.problem_mark else ""
        raise error(f"{where}{line}: is not valid YAML ({problem.problem}). Correct the file.") from None
    except yaml.YAMLError as problem:
        raise error(f"{where}: is not valid YAML ({str(problem).splitlines()[0]}). Correct the file.") from None
    except _RefusedError as problem:
        raise error(f"{where}: {problem}") from None
    except RecursionError:
        raise error(f"{where}: {_TOO_DEEP}") from None
    except (ValueError, OverflowError, TypeError, AttributeError, KeyError) as problem:
        # PyYAML's constructors of numbers, dates and binary values let Python's own errors through.
        raise error(f"{where}: is not valid YAML ({shown(str(problem), 80)}). Correct the file.") from None


class _RefusedError(Exception):
    """What is wrong with a text, without its place."""


_MAX_TEXT_TO_DESCEND = 4_000_000
"""Characters of JSON up to which its depth is measured; beyond, only Python's own limit holds."""

_TOO_DEEP = f"lists and mappings are more than {MAX_DEPTH} deep in each other. Expected a file of mapopt's kind."


def _mapping_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _RefusedError(f"the key {shown(twice, 40)} is there twice in one object. Give it once.")
    return mapping


def _bounded_number(digits: str) -> int:
    # Twenty characters are a sign and the nineteen digits of 2 ** 63.
    number = int(digits) if len(digits) <= 20 else None
    if number is None or not -(2**63) <= number < 2**64:
        raise _RefusedError(f"the number {shown(digits, 40)[1:-1]} has more than 64 bits. Expected a smaller one.")
    return number


def _check_depth(value: Any) -> None:
    """Raises _RefusedError where lists and mappings are too deep in each other."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        inner = [parent.values() if isinstance(parent, dict) else parent for parent in level]
        level = [child for children in inner for child in children if isinstance(child, dict | list)]
    if level:
        raise _RefusedError(_TOO_DEEP)


def _check_size(root: yaml.Node) -> None:
    """Raises _RefusedError where values are too many or too deep with all aliases followed, or hold themselves."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node, depth: int) -> int:
        if depth >= MAX_DEPTH and not isinstance(node, yaml.ScalarNode):
            raise _RefusedError(_TOO_DEEP)
        key = id(node)
        if key in open_nodes:
            raise _RefusedError("an alias stands inside of what it means, which would be endless. Write the value out.")
        if key not in sizes:
            open_nodes.add(key)
            children = node.value if isinstance(node, yaml.SequenceNode) else []
            if isinstance(node, yaml.MappingNode):
                children = [part for pair in node.value for part in pair]
            sizes[key] = 1 + sum(size(child, depth + 1) for child in children)
            open_nodes.discard(key)
        if sizes[key] > MAX_YAML_VALUES:
            raise _RefusedError(
                f"its values are more than {MAX_YAML_VALUES:,} with all aliases followed. Expected a file of settings."
            )
        return sizes[key]

    size(root, 0)


_NUMBERS = ("int", "float", "timestamp")
"""Kinds of values that YAML 1.1 reads otherwise than they look."""


def _whole_number(text: str) -> int:
    digits = text.lstrip("+-")
    number = int(digits, 0) if digits[:2].lower() in ("0x", "0o", "0b") else int(digits)
    return -number if text.startswith("-") else number


class StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses a key that comes twice and reads numbers as what they look like.

    PyYAML follows YAML 1.1, where 010 is eight, 12:30 is 750, 1e-3 is a text and 2001-02-03 a date; here, as in YAML
    1.2, they are ten, a text, a number and a text.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, Any]]] = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in _NUMBERS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:
        """Reads an opening bracket; thousands of them would take PyYAML seconds before their depth is seen."""
        if self.flow_level > MAX_DEPTH:
            raise _RefusedError(_TOO_DEEP)
        super().fetch_flow_collection_start(TokenClass)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Returns a mapping whose keys were all different."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{shown(key_node.value, 40)} is there twice", key_node.start_mark
                )
            seen.add(key_node.value)
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(seen):
            raise yaml.constructor.ConstructorError(None, None, "two keys are the same number", node.start_mark)
        return mapping

    def construct_whole_number(self, node: yaml.ScalarNode) -> int:
        """Returns a whole number of at most 64 bits."""
        number = _whole_number(node.value.replace("_", "")) if len(node.value) <= 80 else 2**64
        if not -(2**63) <= number < 2**64:
            raise yaml.constructor.ConstructorError(
                None, None, f"the number {shown(node.value, 40)[1:-1]} has more than 64 bits", node.start_mark
            )
        return number


class _TextLoader(StrictLoader):
    """The same, of which every plain value is a text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, Any]]] = {}


StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*|0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+)$"),
    list("-+0123456789"),
)
StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|\.(?:inf|Inf|INF))$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)
StrictLoader.add_constructor("tag:yaml.org,2002:int", StrictLoader.construct_whole_number)
