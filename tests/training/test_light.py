"""Settings are made and checked without torch, so that a wrong flag is found at once."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "torchvision", "scipy", "matplotlib", "gymnasium", "stable_baselines3", "numba", "rich")

CODE = f"""
import sys
from mapopt.data import ShapesConfig
from mapopt.training import (
    CONTROLLERS, OPTIMIZERS, Budget, Constant, Decision, Knobs, KnobSpace, Patience, Plateau, Range, Recipe, Replay,
    Round, Schedule, Scores, Task, TaskInfo, make_controller,
)

knobs = Knobs(lr=0.1, own={{"margin": 0.5}})
KnobSpace(["lr"]).from_unit([0.5], knobs)
recipe = Recipe(loss="mine.losses:Hinge", detector="mine.nets:Net", optimizer="torch.optim:RAdam")
recipe = Recipe(loss="rank_sort", loss_settings={{"delta": 0.3}}, auxiliary={{"correlation": 0.2}}, optimizer="adamw")
assert recipe.ranges()
task = TaskInfo(name="t", classes=2, train_images=10, batch_size=4, knobs=knobs)
controller = make_controller("plateau", {{"rounds": 3}}, patience=2)
controller.decide([], task, Budget(images=80, rounds=20))
ShapesConfig()
print(*[name for name in {HEAVY} if name in sys.modules])
"""


def test_settings_and_controllers_need_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
