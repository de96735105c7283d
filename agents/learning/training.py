"""Trains an agent with stable-baselines3's PPO, resumably, and writes it as numbers and JSON.

One iteration is one episode of every lane, then one update. All random numbers of an iteration follow from (seed,
iteration), so a training that was stopped goes on from its last iteration as if nothing had happened.
"""

from __future__ import annotations

import dataclasses
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from mapopt.agents.agent import Agent
from mapopt.envs.detector_training.actions import DEFAULT_KNOBS, SCALE
from mapopt.envs.detector_training.observations import observation_names
from mapopt.envs.detector_training.settings import DEFAULT_BUDGET, EnvSettings
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import FAMILIES, InstanceFamily
from mapopt.envs.sb3 import FleetVecEnv
from mapopt.errors import AgentError, ConfigError
from mapopt.files import write_bytes, write_json
from mapopt.former_names import translate
from mapopt.settings import to_mapping
from mapopt.training import Budget, Schedule

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class AgentTraining:
    """How an agent is trained."""

    family: str | InstanceFamily = "shapes"
    """The instances: a family's name, or a dataclass, as its settings are kept with the agent."""
    budget: Budget = DEFAULT_BUDGET
    knobs: tuple[str, ...] = DEFAULT_KNOBS
    scale: float = SCALE
    features: tuple[str, ...] | None = None
    """What the agent is shown; see `mapopt.envs.detector_training.observations`. None is the environment's usual."""
    reward: str = "gain"
    """What it is paid for; see `mapopt.envs.detector_training.rewards`."""
    cost_per_image: float = 0.0
    """What it pays for every image trained on."""
    iterations: int = 40
    """Episodes per lane; each is followed by one update."""
    workers: int = 2
    """Processes."""
    lanes: int = 16
    """Episodes at once in each process."""
    learning_rate: float = 1e-3
    epochs: int = 8
    minibatches: int = 4
    clip: float = 0.2
    gae_lambda: float = 0.95
    log_std: float = -1.0
    """Logarithm of the initial standard deviation of the actions."""
    reward_scale: float = 10.0
    """The learner sees gains of AP times this."""
    hidden: tuple[int, ...] = (32, 32)
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        self.env.make_action()
        self.env.make_reward()
        observation_names(self.features, self.knobs)
        for name in ("iterations", "workers", "lanes", "epochs", "minibatches"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected 1 or more")
        try:
            json.dumps(_plain(self))
        except TypeError as error:
            raise ConfigError(
                f"family {type(self.family).__name__} cannot be stored with the agent ({error}): expected a dataclass "
                "of numbers, texts, lists and dataclasses"
            ) from None
        if self.instances.split != "train":
            raise ConfigError("the family's instances are for judging: train an agent on split='train'")

    @property
    def instances(self) -> InstanceFamily:
        """The family itself."""
        return self.env.make_family()

    @property
    def env(self) -> EnvSettings:
        """What the environments are made from."""
        return EnvSettings(
            family=self.family,
            budget=self.budget,
            knobs=self.knobs,
            scale=self.scale,
            features=self.features,
            reward=self.reward,
            cost_per_image=self.cost_per_image,
            device=self.device,
        )


@dataclass(frozen=True)
class Progress:
    """One iteration of an agent's training."""

    iteration: int
    steps: int
    """Environment steps so far."""
    episode_return: float
    """Mean over lanes: the final tune AP, with the reward "gain"."""
    test_ap: float
    """Mean over lanes; the learner never sees it."""
    diverged: int
    action_mean: tuple[float, ...]
    at_bound: float
    """Share of actions on the bound of their range."""
    seconds: float
    """Since the training began, over all its parts."""


def train_agent(
    settings: AgentTraining, out: Path, *, command: str, report: Callable[[Progress], None], name: str = "agent"
) -> Agent:
    """Trains an agent, going on where an earlier call with the same settings stopped.

    Args:
        settings: how.
        out: folder for ``NAME.json``, ``NAME.safetensors``, ``progress.json`` and the state to resume from.
        command: what a user would type to train it again; stored with the agent.
        report: called after every iteration.
        name: of the agent.
    """
    make = partial(
        DetectorTrainingVectorEnv,
        settings.lanes,
        settings=dataclasses.replace(settings.env, family=settings.instances),
        autoreset_mode="SameStep",
    )
    env = _Watched(FleetVecEnv(make, workers=settings.workers), settings.reward_scale)
    rounds, count = settings.budget.rounds, env.num_envs
    model = PPO(
        "MlpPolicy",
        env,
        n_steps=rounds,
        batch_size=max(2, rounds * count // settings.minibatches),
        n_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        gamma=1.0,
        gae_lambda=settings.gae_lambda,
        clip_range=settings.clip,
        policy_kwargs={"net_arch": list(settings.hidden), "log_std_init": settings.log_std},
        seed=settings.seed,
        device="cpu",
    )
    model.set_logger(Logger(folder=None, output_formats=[]))
    names = env.get_attr("observation_names", [0])[0]
    try:
        log = _resume(model, out / "training.pt", settings)
        spent = log[-1].seconds if log else 0.0
        began = time.perf_counter()
        for iteration in range(len(log), settings.iterations):
            _iterate(model, env, settings, iteration)
            log.append(env.progress(iteration, count * rounds, spent + time.perf_counter() - began))
            _save(model, out, settings, log)
            report(log[-1])
        env.begin()
        open_loop = _open_loop(model, env, settings)
    finally:
        env.close()
    cost = {
        "environment_steps": settings.iterations * count * rounds,
        "images": settings.iterations * count * settings.budget.images,
        "seconds": round(log[-1].seconds, 1),
        "processes": settings.workers,
    }
    agent = Agent(
        _layers(model),
        settings.knobs,
        settings.scale,
        dataclasses.asdict(Schedule()),
        names,
        open_loop,
        {
            "command": command,
            "settings": _plain(settings),
            "cost": cost,
            "first_return": log[0].episode_return,
            "last_return": log[-1].episode_return,
        },
    )
    agent.save(out / name)
    return agent


class _Watched(VecEnvWrapper):
    """Scales the rewards for the learner and keeps what an iteration's report needs."""

    def __init__(self, venv: FleetVecEnv, scale: float) -> None:
        super().__init__(venv)
        self._scale = scale
        self.begin()

    def begin(self) -> None:
        """Forgets the last iteration."""
        self.actions: list[np.ndarray] = []
        self.returns = np.zeros(self.num_envs)
        self.tests: list[float] = []
        self.lost = 0

    def reset(self) -> VecEnvObs:
        """Begins an episode in every lane."""
        return self.venv.reset()

    def step_async(self, actions: np.ndarray) -> None:
        """Notes the actions and sends them on."""
        self.actions.append(np.array(actions))
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Notes the rewards and scales them."""
        observations, rewards, dones, infos = self.venv.step_wait()
        self.returns += rewards
        for done, info in zip(dones, infos, strict=True):
            if done:
                self.tests.append(float(info["test_ap"]))
                self.lost += int(info["diverged"])
        return observations, rewards * self._scale, dones, infos

    def progress(self, iteration: int, steps: int, seconds: float) -> Progress:
        """Returns the iteration's report."""
        actions = np.stack(self.actions)
        return Progress(
            iteration=iteration,
            steps=(iteration + 1) * steps,
            episode_return=float(self.returns.mean()),
            test_ap=float(np.mean(self.tests)) if self.tests else 0.0,
            diverged=self.lost,
            action_mean=tuple(float(value) for value in actions.mean((0, 1))),
            at_bound=float((np.abs(actions) >= 1).mean()),
            seconds=seconds,
        )


def _iterate(model: PPO, env: _Watched, settings: AgentTraining, iteration: int) -> None:
    """Plays one episode in every lane and updates the policy."""
    env.begin()
    env.seed(settings.seed + 1_000_003 * (iteration + 1))
    model._last_obs = None  # makes `learn` reset the environment with the seeds just given
    torch.manual_seed(settings.seed + 7919 * (iteration + 1))
    np.random.seed((settings.seed + 7919 * (iteration + 1)) % 2**32)  # noqa: NPY002 - the learner's minibatches
    model.learn(settings.budget.rounds * env.num_envs, reset_num_timesteps=False)


def _open_loop(model: PPO, env: _Watched, settings: AgentTraining) -> tuple[tuple[float, ...], ...]:
    """Plays one episode without exploration on instances of the training set and averages the actions."""
    env.seed(settings.seed + 500_009)
    seen = env.reset()
    means = []
    for _ in range(settings.budget.rounds):
        actions, _ = model.predict(np.asarray(seen), deterministic=True)
        means.append(tuple(round(float(value), 6) for value in np.clip(actions, -1, 1).mean(0)))
        seen = env.step(actions)[0]
    return tuple(means)


def _layers(model: PPO) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Takes the policy's layers out of the learner."""
    linear = [layer for layer in model.policy.mlp_extractor.policy_net if isinstance(layer, torch.nn.Linear)]
    assert isinstance(model.policy.action_net, torch.nn.Linear)
    linear.append(model.policy.action_net)
    return tuple((layer.weight.detach().cpu().numpy(), layer.bias.detach().cpu().numpy()) for layer in linear)


def _save(model: PPO, out: Path, settings: AgentTraining, log: list[Progress]) -> None:
    buffer = io.BytesIO()
    state = {
        "version": VERSION,
        "settings": json.dumps(_plain(settings)),
        "policy": model.policy.state_dict(),
        "optimizer": model.policy.optimizer.state_dict(),
        "log": [dataclasses.asdict(one) for one in log],
    }
    torch.save(state, buffer)
    write_bytes(out / "training.pt", buffer.getvalue())
    write_json(out / "progress.json", [dataclasses.asdict(one) for one in log])


def _resume(model: PPO, path: Path, settings: AgentTraining) -> list[Progress]:
    """Takes up an earlier training; returns its iterations."""
    if not path.is_file():
        return []
    state = torch.load(path, weights_only=True)
    kept = translate(json.loads(state["settings"]), "agent training")
    if state.get("version") != VERSION or not _same_but_length(kept, _plain(settings)):
        raise AgentError(f"{path} is of a training with other settings: give the same ones, or another --out")
    model.policy.load_state_dict(state["policy"])
    model.policy.optimizer.load_state_dict(state["optimizer"])
    return [Progress(**{**one, "action_mean": tuple(one["action_mean"])}) for one in state["log"]]


def _same_but_length(one: dict[str, Any], other: dict[str, Any]) -> bool:
    free = {"iterations"}
    return {k: v for k, v in one.items() if k not in free} == {k: v for k, v in other.items() if k not in free}


def _plain(settings: AgentTraining) -> dict[str, Any]:
    """Returns the settings as plain values; the family's have its name beside them."""
    values: dict[str, Any] = to_mapping(settings)
    cls = type(settings.instances)
    names = [name for name, known in FAMILIES.items() if known is cls]
    family = to_mapping(settings.instances)
    named = {"name": names[0] if names else f"{cls.__module__}.{cls.__qualname__}"}
    return {**values, "family": {**named, **family} if isinstance(family, dict) else family}
