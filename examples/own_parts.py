"""One part of one's own of every kind, trained and compared: `python examples/own_parts.py`."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import torch
from stable_baselines3 import SAC
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from mapopt.agents import load_agent, save_agent
from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.envs import DetectorTrainingEnv, NumberedFamily
from mapopt.experiments import compare
from mapopt.training import Budget, Decision, Range, Recipe, Task, Trainer, run


def hinge(scores, labels, where, margin: Annotated[float, Range(0.1, 4.0, log=True)] = 1.0):  # a loss with a knob
    return (scores[labels == 0].amax() - scores[labels > 0] + margin).clamp(min=0).mean()


def ssd(num_classes):  # a detector: any module with torchvision's calling convention
    return ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=num_classes)


class Halving:  # a controller
    def decide(self, history, task, budget):
        return Decision(knobs=task.knobs.replace(lr=task.knobs.lr / 2 ** len(history)))


class TwoClasses(NumberedFamily):  # instances for agents
    def instance(self, number):
        splits = make_shapes_splits(ShapesConfig(classes=2), seed=self.seed_of(number), train=16, val=8, test=8)
        return self.make_instance("two-classes", number, splits, "two classes")


def high_iou(scores):  # a reward: the value of a round's scores
    return scores.ap75


def box_loss(history, task, budget):  # a feature of the observation
    return history[-1].interval.box_loss


if __name__ == "__main__":
    budget, recipe = Budget(images=32, rounds=2), Recipe.of(loss=hinge, optimizer=torch.optim.Adagrad)
    family = TwoClasses(recipe=recipe)
    env = DetectorTrainingEnv(family, budget=budget, knobs=("lr", "margin"), reward=high_iou, features=("ap", box_loss))
    agent = save_agent(SAC("MlpPolicy", env).learn(8), "runs/sac.zip")
    for chosen, controller in ((recipe, load_agent(agent)), (Recipe.of(detector=ssd), Halving())):
        task = Task(name="own", splits=family.instance(0).task.splits, recipe=chosen)
        print(run(Trainer(task, seed=0), controller, budget).val.ap)
    methods = {"hinge": recipe, "ssd": Recipe.of(detector=ssd), "halving": Halving()}
    experiment = {"name": "own", "budget": {"images": 32, "rounds": 2}, "tasks": {"two": {"images": [16, 8, 8]}}}
    print(compare(experiment, methods=methods, agent=agent, seeds=2, workers=2).to_rows())
    flags = "train --recipe.loss own_parts:hinge --controller own_parts:Halving --images 64 --rounds 2 --overwrite"
    subprocess.run([sys.executable, "-m", "mapopt", *flags.split()], cwd=Path(__file__).parent, check=True)
