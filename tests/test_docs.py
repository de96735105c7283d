"""The pages of docs/: their Python runs, their command lines parse, and what they say of the losses is so."""

import inspect
import re
from pathlib import Path

import pytest
import torch
import yaml

from mapopt.cli import main
from mapopt.experiments import load_experiment
from mapopt.losses import LOSSES
from mapopt.training import OPTIMIZERS
from mapopt.training.optimizers.table import OPTIMIZER_TABLE

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = ["losses.md"]
LINKED = [*PAGES, "search.md", "controllers.md"]
WITH_PYTHON = ["../README.md", "losses.md", "own_parts.md", "controllers.md", "export.md", "augmentation.md"]

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTIMIZER_ROW = re.compile(r"^\| `(\w+)` \| ([\d.]+)[^|]* \| [^|]+ \| (an average|the weights) \|", re.MULTILINE)
ROW = re.compile(r"^\| \[`(\w+)`\]\(#(\w+)\) \| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \| (yes|no) \|", re.MULTILINE)


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[tuple[int, str]]:
    """The fenced blocks of a language, each with the line that its content begins on."""
    text = read(page)
    fenced = [block for block in FENCED.finditer(text) if block[1] == language]
    return [(text.count("\n", 0, block.start(2)) + 1, block[2]) for block in fenced]


def headings(text: str) -> set[str]:
    """The anchors that a page's headings have."""
    prose = FENCED.sub("", text)
    return {
        re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    }


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_python_on_a_page_runs_from_top_to_bottom(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fenced = blocks(page, "python")
    assert fenced
    namespace: dict[str, object] = {"__name__": "__main__"}
    with torch.random.fork_rng():
        for line, code in fenced:
            # Empty lines before it let a traceback name the page's own line.
            exec(compile("\n" * (line - 1) + code, str(DOCS / page), "exec"), namespace)
    if page == "../README.md":
        # Its first environment shows that something is learned, beside the return of the baseline.
        assert namespace["baseline"] == 0.0
        assert float(namespace["learned"]) > 0.1  # type: ignore[arg-type]


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_python_on_a_page_imports_no_deeper_than_one_level(page: str) -> None:
    for line, code in blocks(page, "python"):
        deep = re.findall(r"^\s*(?:from|import) (mapopt\.\w+\.\w[\w.]*)", code, re.MULTILINE)
        assert not [name for name in deep if not name.endswith(".testing")], f"{page}, line {line}: {deep}"


def test_the_readmes_environment_plays_an_episode(capsys: pytest.CaptureFixture[str]) -> None:
    section = read("../README.md").split("### The environments\n")[1]
    script = section.split("```python\n")[2].split("```")[0]
    exec(compile(script, "README.md", "exec"), {"__name__": "__main__"})
    first, *rounds, tested = capsys.readouterr().out.strip().splitlines()
    assert "mistake" in first
    assert [line.split(":")[0] for line in rounds] == [f"round {number}/6" for number in range(1, 7)]
    assert 0 <= float(tested) <= 1


@pytest.mark.parametrize(
    "page",
    [*LINKED, "augmentation.md", "agents.md", "optimizers.md", "benchmarks.md", "data.md", "export.md", "../README.md"],
)
def test_command_lines_on_a_page_are_understood(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for _, code in blocks(page, "") for line in code.splitlines() if line.startswith("mapopt ")]
    assert lines
    for line in lines:
        status = main([*line.split()[1:], "--print-config"])
        assert status == 0, f"{line}\n{capsys.readouterr().err}"


def test_every_command_among_the_advice_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    for line in re.findall(r"`(mapopt [^`]+)`", read("advice.md")):
        assert main([*line.split()[1:], "--print-config"]) == 0, f"{line}\n{capsys.readouterr().err}"


def test_the_advice_that_can_be_followed_is_counted() -> None:
    text = read("advice.md")
    counts = [len(re.findall(rf"^\|[^|]+\| {answer} \|", text, re.MULTILINE)) for answer in ("yes", "partly", "no")]
    assert sum(counts) == 70
    assert f"{counts[0]} can be followed by a command, {counts[1]} partly, {counts[2]} not" in text


def test_searches_on_a_page_are_read() -> None:
    baseline, steps, learning, tasks, equal = [yaml.safe_load(code) for _, code in blocks("search.md", "yaml")]
    experiment = {"name": "page", "budget": {"images": 12800, "rounds": 20}, "tasks": {"shapes": {}}}
    methods = {**baseline["methods"], **equal["methods"], "steps": {"search": {**steps, "settings": 4}}}
    methods["learning"] = learning["methods"]["baseline"]
    read = load_experiment({**experiment, "methods": methods})
    several = load_experiment(
        {**experiment, "budget": {"images": 12800, "rounds": 10}, **tasks, "methods": {"baseline": {}}}
    )
    assert several.budget_of("adamw_64").images == 25600
    assert read.methods["baseline"].search.halving.counts(96) == [96, 32, 12]
    assert read.methods["learning"].search.strategy_settings == {"startup": 12, "batch": 6}
    assert read.methods["focal"].search == read.methods["rank_sort"].search


@pytest.mark.parametrize("page", LINKED)
def test_links_within_a_page_lead_to_a_heading(page: str) -> None:
    text = read(page)
    links = set(re.findall(r"\]\(#([^)]+)\)", text))
    assert links
    assert links <= headings(text)


def test_every_loss_has_a_section_and_a_row_that_says_what_its_class_says() -> None:
    text = read("losses.md")
    rows = {name: (anchor, kind, gradient, iou) for name, anchor, kind, gradient, _, _, iou in ROW.findall(text)}
    assert list(rows) == list(LOSSES)
    for name, (anchor, kind, gradient, iou) in rows.items():
        loss = LOSSES[name]
        assert (anchor, kind) == (name, loss.__name__)
        assert (gradient == "pointwise") == loss.pointwise, name
        assert (iou == "yes") == loss.soft_labels, name
        assert ("or exact" in gradient) == ("gradient" in vars(loss())), name
        assert f"\n### `{name}`\n" in text


def test_every_optimizer_has_a_row_with_its_rate_and_its_settings_are_named() -> None:
    text = read("optimizers.md")
    rows = {name: (float(rate), seen) for name, rate, seen in OPTIMIZER_ROW.findall(text)}
    assert list(rows) == list(OPTIMIZER_TABLE)
    for name, entry in OPTIMIZER_TABLE.items():
        assert rows[name] == (entry.default_lr, "an average" if entry.averages else "the weights")
        settings = [*inspect.signature(OPTIMIZERS[name]).parameters][2:]
        section = text.split(f"\n- **`{name}`**")[-1].split("\n- **")[0] if settings else ""
        for setting in settings:
            assert setting == "parts" or f"`{setting}`" in section, (name, setting)


def test_formulas_are_written_without_escapes_that_markdown_takes_away() -> None:
    for page in PAGES:
        for formula in re.findall(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", FENCED.sub("", read(page))):
            assert not re.search(r"\\[^A-Za-z ]", "".join(formula)), formula
