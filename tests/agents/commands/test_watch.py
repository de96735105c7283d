"""`mapopt watch`: the video shows the episode that the environment plays, and nothing half-made is left."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from PIL import Image

from mapopt.agents.agent import Agent
from mapopt.agents.commands import watch
from mapopt.cli import main
from mapopt.drawing import video
from mapopt.envs.detector_training.env import DetectorTrainingEnv
from mapopt.envs.families import ShapesFamily, make_family
from mapopt.envs.wrappers import RecordSchedule
from mapopt.training import Budget, Recipe

IMAGES = (16, 8, 8)
BUDGET = Budget(images=64, rounds=2)


@pytest.fixture(autouse=True)
def small_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"images": IMAGES, "recipe": Recipe(batch_size=4)}
    monkeypatch.setattr(watch, "family_settings", lambda data: {"split": "eval", **small})


def play(*flags: str, out: Path) -> int:
    return main(["watch", *flags, "--out", str(out), "--images", "64", "--rounds", "2", "--device", "cpu"])


def eval_family() -> ShapesFamily:
    return ShapesFamily(split="eval", images=IMAGES, recipe=Recipe(batch_size=4))


def test_the_video_of_an_agent_is_the_episode_that_the_environment_plays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert play("ppo-shapes", "--instance", "3", "--seed", "5", "--size", "480", out=tmp_path / "video.gif") == 0
    out, error = capsys.readouterr()
    assert re.match(r"this takes about \d", error)
    said = out.splitlines()
    assert re.search(r"  about .* left$", said[1])
    agent = Agent.load("ppo-shapes")
    env = DetectorTrainingEnv(
        eval_family(), budget=BUDGET, action=agent.form, features=agent.observation, render_mode="ansi"
    )
    seen, _ = env.reset(options={"instance": 3, "training_seed": 5})
    expected = [env.render()]
    for _ in range(2):
        seen, _, _, _, info = env.step(agent.act(seen))
        expected.append(env.render())
    assert [line.split("  about ")[0] for line in said[:3]] == expected
    assert said[3] == f"final val AP {info['val_ap']:.4f}, test AP {info['test_ap']:.4f}"
    with Image.open(tmp_path / "video.gif") as opened:
        assert (opened.n_frames, opened.size) == (3, (480, 270))  # type: ignore[attr-defined]


def test_the_baseline_is_the_zero_action_also_where_the_instance_brings_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    family = make_family("rescue", split="eval", images=IMAGES, recipe=Recipe(batch_size=4))
    number = next(number for number in range(48) if family.instance(number).baseline is not None)
    flags = ("--policy", "baseline", "--family", "rescue", "--instance", str(number), "--size", "320")
    assert play(*flags, out=tmp_path / "video.gif") == 0
    env = DetectorTrainingEnv(family, budget=BUDGET, knobs=("lr",), render_mode="ansi")
    env.reset(options={"instance": number, "training_seed": 0})
    expected = [env.render()]
    for _ in range(2):
        env.step(np.zeros(1))
        expected.append(env.render())
    said = capsys.readouterr().out.splitlines()
    assert [line.split("  about ")[0] for line in said[:3]] == expected


def test_a_recording_is_replayed_with_its_budget_and_the_knobs_it_turned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = RecordSchedule(
        DetectorTrainingEnv(eval_family(), budget=BUDGET, knobs=("augment",), action="absolute"), tmp_path / "recorded"
    )
    env.reset(options={"instance": 1, "training_seed": 2})
    aps = [env.step(np.array([unit]))[4]["val_ap"] for unit in (0.5, -0.5)]
    file = str(tmp_path / "recorded" / "episode-000000.json")
    words = ["--policy", "replay", "--replay", file, "--seed", "2", "--device", "cpu"]
    assert main(["watch", *words, "--size", "320", "--out", str(tmp_path / "video.gif")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("round 0/2: shapes-eval-1: ")
    assert said[1].startswith(f"round 1/2: val AP {aps[0]:.3f}; ")
    assert said[2].startswith(f"round 2/2: val AP {aps[1]:.3f}; ")
    assert "augment 0.25" in said[2]
    assert main(["watch", *words, "--images", "96", "--rounds", "3", "--out", str(tmp_path / "more.gif")]) == 2
    assert "rounds is 3: expected 2 at most" in capsys.readouterr().err


def test_a_recording_that_was_cut_short_is_replayed_as_far_as_it_went(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = DetectorTrainingEnv(eval_family(), budget=Budget(images=96, rounds=3), knobs=("lr",))
    env = RecordSchedule(gymnasium.wrappers.TimeLimit(whole, 2), tmp_path / "recorded")
    env.reset(options={"instance": 0, "training_seed": 2})
    aps = [env.step(np.array([unit]))[4]["val_ap"] for unit in (0.5, -0.5)]
    file = str(tmp_path / "recorded" / "episode-000000.json")
    words = ["watch", "--policy", "replay", "--replay", file, "--seed", "2", "--device", "cpu", "--size", "320"]
    assert main([*words, "--out", str(tmp_path / "video.gif")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line[:23] for line in said[1:3]] == [f"round {n}/3: val AP {ap:.3f}" for n, ap in enumerate(aps, 1)]
    assert said[3].startswith(f"final val AP {aps[1]:.4f}, test AP ")
    assert main([*words, "--rounds", "3", "--out", str(tmp_path / "more.gif")]) == 2
    assert "rounds is 3: expected 2 at most" in capsys.readouterr().err


def test_a_recording_that_is_replayed_in_another_episode_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = RecordSchedule(DetectorTrainingEnv(eval_family(), budget=BUDGET, knobs=("lr",)), tmp_path / "recorded")
    env.reset(options={"instance": 1, "training_seed": 2})
    for _ in range(2):
        env.step(np.zeros(1))
    file = str(tmp_path / "recorded" / "episode-000000.json")

    def first(*flags: str) -> str:
        out = ["--out", str(tmp_path / "video.gif"), "--overwrite", "--size", "320", "--device", "cpu"]
        assert main(["watch", "--policy", "replay", "--replay", file, *out, *flags]) == 0
        return capsys.readouterr().out.splitlines()[0]

    assert first("--seed", "2").startswith("round 0/2: shapes-eval-1: ")
    assert first() == "replayed in another episode than was recorded: seed 0 (recorded: 2)"
    other = first("--seed", "2", "--instance", "3")
    assert other.startswith("replayed in another episode than was recorded: instance shapes-eval-3: ")
    assert "(recorded: shapes-eval-1: " in other
    assert "instance rescue-eval-0: " in first("--seed", "2", "--family", "rescue")
    assert "images 32 (recorded: 64); rounds 1 (recorded: 2)" in first("--seed", "2", "--images", "32", "--rounds", "1")


def test_a_recording_of_somebodys_own_family_needs_a_family_to_be_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Own(ShapesFamily):
        pass

    family = Own(split="eval", images=IMAGES, recipe=Recipe(batch_size=4))
    env = RecordSchedule(DetectorTrainingEnv(family, budget=BUDGET, knobs=("lr",)), tmp_path / "recorded")
    env.reset(options={"instance": 1, "training_seed": 0})
    for _ in range(2):
        env.step(np.zeros(1))
    words = ["watch", "--policy", "replay", "--replay", str(tmp_path / "recorded" / "episode-000000.json")]
    words += ["--out", str(tmp_path / "video.gif"), "--size", "320", "--device", "cpu"]
    assert main(words) == 2
    assert "recorded on an instance of Own, which is none of shapes, " in capsys.readouterr().err
    assert main([*words, "--family", "shapes", "--instance", "1"]) == 0
    assert capsys.readouterr().out.startswith("round 0/2: shapes-eval-1: ")


def test_without_a_budget_an_episode_has_the_default_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "DEFAULT_BUDGET", Budget(images=32, rounds=1))
    words = ["--policy", "baseline", "--size", "320", "--device", "cpu", "--out", str(tmp_path / "video.gif")]
    assert main(["watch", *words]) == 0
    with Image.open(tmp_path / "video.gif") as opened:
        assert opened.n_frames == 2  # type: ignore[attr-defined]


def test_any_controller_is_watched_by_its_name_or_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_watched.py").write_text(
        "from mapopt.training import Decision\n"
        "def fixed(history, task, budget):\n"
        "    return Decision(knobs=task.knobs.replace(lr=0.05 / (1 + len(history))))\n"
    )
    monkeypatch.chdir(tmp_path)
    flags = ("--policy", "my_watched:fixed", "--size", "320", "--overwrite")
    assert play(*flags, out=tmp_path / "video.gif") == 0
    said = capsys.readouterr().out.splitlines()
    assert "lr 0.05" in said[1]
    assert "lr 0.025" in said[2]
    flags = ("--policy", "plateau", "--policy-settings", "warmup", "0", "rounds", "1", "--size", "320", "--overwrite")
    assert play(*flags, out=tmp_path / "video.gif") == 0
    assert "lr 0.08" in capsys.readouterr().out.splitlines()[1]


def test_constant_knobs_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--policy", "constant", "--knobs", "lr", "augment", "--size", "320")
    assert play(*flags, out=tmp_path / "video.gif") == 0
    assert capsys.readouterr().out.count("lr 0.08, augment 0.3") == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["nobody"], "unknown agent 'nobody'"),
        (["--policy", "replay"], "belong together, give both"),
        (["--replay", "x.json"], "belong together, give both"),
        (["--family", "from-data"], "--family from-data and --data PATH belong together"),
        (["--family", "shape"], "did you mean 'shapes'"),
        (["--instance", "99"], "instance 99 was asked of a family of 48"),
        (["--fps", "0"], "fps is 0: expected 0.5 to 50"),
        (["--size", "100"], "size is 100: expected a multiple of 32 from 320 to 3840"),
        (["--rounds", "7"], "images that divide by the rounds"),
        (["--knobs", "lrr"], "did you mean 'lr'"),
        (["--policy", "platau"], "unknown controller 'platau': did you mean 'plateau'"),
        (["--policy", "no_such_module:Mine"], "there is no module 'no_such_module'"),
        (["--policy-settings", "rounds", "3"], "--policy-settings is given, but --policy agent has none"),
        (["--policy", "plateau", "--policy-settings", "round", "3"], "unknown key 'round': did you mean 'rounds'"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["no_such_module:agent"], "there is no module 'no_such_module'"),
        (["--out", "video.avi"], "expected a file that ends in .gif or .mp4"),
        (["ppo-shapes", "more"], "expected"),
    ],
)
def test_what_cannot_be_watched_is_said_in_a_line(
    flags: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        main(["watch", "--out", "video.gif", "--device", "cpu", *flags] if flags[0][0] == "-" else ["watch", *flags])
        == 2
    )
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("mapopt watch: error: ")
    assert said.count("\n") <= 2
    assert not list(tmp_path.iterdir())


def test_a_video_is_replaced_only_if_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "video.gif"
    out.write_text("mine")
    assert play("--policy", "constant", "--size", "320", out=out) == 2
    assert "is there already. Give --overwrite to replace it" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert play("--policy", "constant", "--size", "320", "--overwrite", out=out) == 0
    assert out.read_bytes()[:3] == b"GIF"


def test_an_interrupt_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(video, "_gif", stop)
    assert play("--policy", "constant", "--size", "320", out=tmp_path / "video.gif") == 130
    assert "No video was written." in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
