"""The words of the house: no replaced word in a name or in a document, American spelling, plain signatures."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = sorted(path for folder in ("mapopt", "envs", "agents", "experiments") for path in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "experiments" / "configs").glob("*.yaml")),
]

REPLACED = {
    "tune": "val",
    "tuned": "searched",
    "film": "video",
    "films": "videos",
    "dial": "parameter",
    "dials": "parameters",
    "face": "interface or adapter",
    "faces": "interfaces",
    "world": "lanes",
    "judge": "evaluate or score",
    "judged": "evaluated or scored",
    "judges": "scorers",
    "judging": "evaluating",
    "judgement": "score",
    "claims": "predictions",
    "found": "detections, or what was found",
    "company": "padding lane",
    "share": "fraction",
    "shares": "fractions",
    "worth": "value",
    "worths": "values",
    "usual": "default",
    "most": "max",
    "least": "min",
    "notch": "step",
    "notches": "steps",
    "reach": "scale",
    "told": "given or said",
    "one": "the item's own name",
    "colour": "color",
    "colours": "colors",
    "centre": "center",
    "centres": "centers",
    "grey": "gray",
    "normalise": "normalize",
    "normalised": "normalized",
    "optimise": "optimize",
    "summarise": "summarize",
    "recognise": "recognize",
    "labelled": "labeled",
    "unlabelled": "unlabeled",
    "neighbour": "neighbor",
    "neighbours": "neighbors",
    "behaviour": "behavior",
    "localisation": "localization",
}
"""Part of a name -> what stands for it now (DESIGN, section 4)."""

ALLOWED = {
    "FileNotFoundError",
    "ModuleNotFoundError",
    "world_size",  # of torch.distributed
    "get_world_size",
    "at_least",
    "almost_one",
    "one_line",
    "log_one_minus",
    "one_hot",
}
"""Names, in lower case or as they are, in which a word has its ordinary meaning."""

MEANT_OTHERWISE = {
    "one": lambda name: name != "one",  # as a part it is the number
    "found": lambda name: name.startswith("test_"),
    "face": lambda name: name.startswith("test_"),
    "claims": lambda name: False,
}
"""Word -> whether a name that holds it means something else."""

PHRASES = {
    r"\btune (split|set|sets|AP|image|images|data)\b": "val",
    r"\bfilms?\b": "video",
    r"\bdials?\b": "parameter",
    r"\bnotch(es)?\b": "step",
    r"\b(has|have|had) no say\b": "is ignored",
    r"\bjudg(e|es|ed|ing|ement)\b": "evaluate or score",
    r"\bworlds?\b": "lanes",
    r"\bcompany\b": "padding lane",
    r"\b(a|the|its|their|what|whose|largest|smallest|such a|this|lane's) share\b|\bshares? of\b": "fraction",
    r"(?<!standard )\bdeviations?\b": "standard deviation",
    r"\busual(ly)?\b": "default",
    r"\btold\b": "given or said",
    r"\blet go\b": "evict",
    r"\bfaces?\b": "interface",
    r"\bcolours?\b": "color",
}
"""Pattern in a document -> what stands for it now."""


def names_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yields every name of a Python file that is not imported from others, with its line."""
    source = path.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], token.string


def parts_of(name: str) -> list[str]:
    """Returns the words that a name is made of, in lower case."""
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def replaced_in(name: str) -> str:
    """Returns the replaced word that a name holds; empty if it holds none."""
    if name in ALLOWED or name.lower() in ALLOWED:
        return ""
    for part in parts_of(name):
        if part in REPLACED and not MEANT_OTHERWISE.get(part, lambda name: False)(name):
            return part
    return ""


@pytest.mark.parametrize("path", [*CODE, *TESTS, *EXAMPLES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_name_holds_a_replaced_word(path: Path) -> None:
    if path.name in ("test_words.py", "former_names.py"):
        return
    meant = {"claims"} if "bench" in path.parts else set()  # what is claimed of a cost, and measured
    words = [(line, name, replaced_in(name)) for line, name in names_of(path)]
    met = [f"line {line}: {name} ({REPLACED[word]})" for line, name, word in words if word and word not in meant]
    assert not met, "\n".join(met)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_document_holds_a_replaced_word(path: Path) -> None:
    met = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        plain = re.sub(r"`[^`]*`", "", line)
        met += [f"line {number}: {line.strip()} ({now})" for then, now in PHRASES.items() if re.search(then, plain)]
    assert not met, "\n".join(met)


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_docstring_or_comment_holds_a_replaced_word(path: Path) -> None:
    if path.name == "former_names.py":
        return
    source = path.read_text(encoding="utf-8")
    met = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        prose = token.type == tokenize.COMMENT or (token.type == tokenize.STRING and '"""' in token.string)
        for then, now in PHRASES.items() if prose else ():
            for match in re.finditer(then, token.string):
                line = token.start[0] + token.string.count("\n", 0, match.start())
                met.append(f"line {line}: {match[0]} ({now})")
    assert not met, "\n".join(met)


MAX_PARAMETERS = 8


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_signature_outside_kernels_has_more_than_eight_parameters(path: Path) -> None:
    if "kernels" in path.stem:
        return
    long = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = node.args
            names = [item.arg for item in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
            count = len([name for name in names if name not in ("self", "cls")])
            if count > MAX_PARAMETERS:
                long.append(f"line {node.lineno}: {node.name} takes {count}")
    assert not long, "\n".join(long)


def test_the_words_are_recognized() -> None:
    assert replaced_in("tune_ap") == "tune"
    assert replaced_in("RewardWorth") == "worth"
    assert replaced_in("one") == "one"
    assert replaced_in("almost_one") == replaced_in("FileNotFoundError") == replaced_in("fraction") == ""
