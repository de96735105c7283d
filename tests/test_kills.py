"""Runs that are killed at random moments, writes included, end with the bits of the unbroken ones.

As a script, `python tests/test_kills.py --kills 40 --seed 0`, it kills as often as it is asked to.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
import yaml

from mapopt.agents import Agent
from mapopt.training.checkpoint import Checkpoint

SCENES = ["--scenes.size", "32", "--scene-counts", "16", "8", "8"]
EXPERIMENT = """
name: small
budget: {images: 160, rounds: 5}
tasks: {shapes: {images: [16, 8, 8]}}
methods: {baseline: {}, plateau: {controller: {kind: plateau}}}
seeds: 4
lanes: 2
"""
SEARCH = """
name: small
budget: {images: 160, rounds: 5}
tasks: {shapes: {images: [16, 8, 8]}}
methods:
  baseline:
    search:
      settings: 6
      space: {recipe.optimizer: [sgd, adamw], knobs.lr: {low: 0.01, high: 0.1}}
      halving: {rungs: [{seeds: 1}, {settings: 2, seeds: 3}]}
lanes: 2
"""
SLOW_WRITES = """
import os, sys, time
replace = os.replace
def slow(source, place):
    time.sleep(0.01)
    replace(source, place)
    time.sleep(0.01)
os.replace = slow
from mapopt.cli import main
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""
"""A command whose writes take long, so that many kills fall into them."""


KINDS = ["train", "compare", "search", "train-agent"]


def command_of(kind: str, folder: Path) -> list[str]:
    out = ["--out", str(folder / "out"), "--device", "cpu"]
    if kind == "train":
        flags = [*SCENES, "--recipe.batch-size", "8", "--images", "320", "--rounds", "20", "--figures", "False"]
        return ["train", *flags, *out, "--resume"]
    if kind in ("compare", "search"):
        (folder / "small.yaml").write_text(EXPERIMENT if kind == "compare" else SEARCH)
        return [kind, "--config", str(folder / "small.yaml"), "--workers", "2", *out]
    flags = ["--budget.images", "32", "--budget.rounds", "2", "--iterations", "6", "--workers", "1", "--lanes", "2"]
    return ["train-agent", *flags, *out, "--resume"]


def start(kind: str, folder: Path) -> subprocess.Popen[bytes]:
    script = folder / "slow_writes.py"
    script.write_text(SLOW_WRITES)
    words = [sys.executable, str(script), *command_of(kind, folder)]
    quiet = {"OMP_NUM_THREADS": "1", **os.environ}
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=quiet)


def outcome(kind: str, folder: Path) -> object:
    """Returns all that is the same in the end, whatever happened on the way."""
    out = folder / "out"
    if kind == "train":
        states = [Checkpoint.load(out / name) for name in ("best.pt", "last.pt")]
        tensors = [
            {name: value.numpy().tobytes() for name, value in state.snapshot.tensors.items()} for state in states
        ]
        result = json.loads((out / "result.json").read_text())
        names = sorted(path.name for path in out.iterdir())
        return (
            names,
            tensors,
            [len(state.history) for state in states],
            {**result, "seconds": 0, "processor_seconds": 0},
        )
    if kind == "compare":
        runs = {}
        for path in sorted((out / "small").rglob("run.json")):
            record = json.loads(path.read_text())
            runs[str(path.relative_to(out))] = (record["key"], record["test"], record["val"], record["selected"])
        return runs
    if kind == "search":
        runs = {}
        for path in sorted((out / "small" / "searches").iterdir()):
            record = json.loads(path.read_text())
            runs[path.name] = (record["curve"], record["val_ap"], record["knobs"], record["recipe"])
        searched = yaml.safe_load((out / "small" / "searched.yaml").read_text())["searched"]["shapes"]["baseline"]
        return runs, {**searched, "seconds": 0, "processor_seconds": 0}
    state = torch.load(out / "training.pt", weights_only=True)
    policy = {name: value.numpy().tobytes() for name, value in state["policy"].items()}
    returns = [entry["episode_return"] for entry in json.loads((out / "progress.json").read_text())]
    return Agent.load(out / "agent").fingerprint, policy, returns, sorted(path.name for path in out.iterdir())


def finish(kind: str, folder: Path) -> float:
    began = time.perf_counter()
    process = start(kind, folder)
    said = process.communicate(timeout=900)[1].decode()
    assert process.returncode == 0, said
    return time.perf_counter() - began


def kill_often(kind: str, kills: int, seed: int, folder: Path) -> None:
    """Kills one command again and again, lets it end, and compares it with the unbroken one."""
    generator = random.Random(f"{seed} {kind}")
    (folder / "whole").mkdir()
    seconds = finish(kind, folder / "whole")
    for number in range(kills):
        place = folder / f"killed {number}"
        place.mkdir()
        for _ in range(generator.randint(1, 2)):
            process = start(kind, place)
            try:
                process.wait(timeout=generator.uniform(0.3, 1.0) * seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(generator.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            said = process.communicate(timeout=60)[1].decode()
            assert process.returncode in (0, -9, 143, -15), said
        finish(kind, place)
        assert outcome(kind, place) == outcome(kind, folder / "whole"), f"{kind}, kill {number} of seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_command_ends_with_the_bits_of_the_unbroken_one(kind: str, tmp_path: Path) -> None:
    kill_often(kind, 1, 0, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_of_two_processes_on_one_folder_the_second_is_refused(kind: str, tmp_path: Path) -> None:
    first = start(kind, tmp_path)
    locked = tmp_path / "out" / ("small" if kind in ("compare", "search") else "")
    while not locked.is_dir():
        assert first.poll() is None
        time.sleep(0.02)
    # Started again while the first one has the lock, however long the imports take.
    os.kill(first.pid, signal.SIGSTOP)
    said = start(kind, tmp_path).communicate(timeout=120)[1].decode()
    os.kill(first.pid, signal.SIGCONT)
    first.communicate(timeout=300)
    assert first.returncode == 0
    assert "another process of mapopt writes here. Wait until it has ended" in said
    assert said.count("\n") == 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40, help="of all commands together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for position, kind in enumerate(KINDS):
        count = len(range(position, options.kills, len(KINDS)))
        with tempfile.TemporaryDirectory() as folder:
            kill_often(kind, count, options.seed, Path(folder))
        print(f"{kind}: killed in {count} runs, all with the bits of the unbroken one", flush=True)


if __name__ == "__main__":
    main()
