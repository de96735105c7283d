"""Tests that our families and environments pass, for anybody's: what fails is said with the numbers.

`check_family` is for a family of your own; `check_env` for an environment of ours with your own parts or wrappers.
"""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env as check_with_gymnasium

from mapopt.envs.families.base import Instance, InstanceFamily
from mapopt.envs.families.cache import HELD
from mapopt.envs.families.registry import make_family
from mapopt.envs.numbering import InstanceSplit
from mapopt.envs.wrappers.inside import attribute, baseline_action
from mapopt.errors import ConfigError, MapoptError
from mapopt.training.controllers.fixed import Schedule


def check_family(
    family: Any,
    settings: Mapping[str, Any] | None = None,
    *,
    other: InstanceFamily | None = None,
    numbers: Sequence[int] = (0, 1, 2),
) -> None:
    """Checks that a family keeps what `InstanceFamily` promises; a few instances are made for it.

    Args:
        family: whatever `make_family` takes: a name, ``module:attribute``, a class, or a family.
        settings: keyword arguments of a class or a function.
        other: the same family with its other split, for evaluating agents; a dataclass makes it by itself.
        numbers: of the instances to look at; those that the family has not are left out.

    Raises:
        AssertionError: a promise is broken; the message names it.
        ConfigError: what was given is no family, or cannot make its other split.

    >>> check_family("shapes", {"images": (8, 4, 4)}, numbers=(0, 1))
    """
    made = make_family(family, **(settings or {}))
    name = type(made).__name__
    _require(made.split in get_args(InstanceSplit), f"{name}: split is {made.split!r}, expected 'train' or 'eval'")
    count = made.count
    _require(isinstance(count, int) and count >= 1, f"{name}: count is {count!r}, expected a whole number from 1")
    chosen = [number for number in numbers if number < count]
    instances = {number: _instance(made, number, name) for number in chosen}
    _check_same_bits(made, instances, name)
    _check_numbers(made, name)
    _check_descriptions(instances, name)
    try:
        for instance in instances.values():
            if instance.budget is not None:
                instance.budget.check(instance.task.recipe.batch_size)
    except MapoptError as error:
        raise AssertionError(f"{name}: its instances cannot be lanes of an environment: {error}") from error
    others = _other_split(made, name) if other is None else other
    _require(others.split != made.split, f"{name}: `other` is of the split {made.split!r}, too")
    theirs = [_instance(others, number, name) for number in chosen if number < others.count]
    _check_disjoint(instances, theirs, name)


def check_env(env: gymnasium.Env, *, seed: int = 0, options: dict[str, Any] | None = None) -> None:
    """Checks an environment: Gymnasium's own checks, those of stable-baselines3, and what ours promise besides.

    A seed determines an episode; an episode goes on from a copied state as it went on; and an episode of nothing but
    the `baseline_action` is the baseline's run, bit for bit.

    Args:
        env: one of ours, with parts of your own or not, under wrappers or not. Its episodes are played to their ends,
            so give it a small family and a small budget.
        seed: of the episodes.
        options: of every reset here.

    Raises:
        AssertionError: a check fails; the message names it.

    >>> from mapopt.envs import PostProcessingEnv
    >>> check_env(PostProcessingEnv(family={"name": "synthetic", "images": (4, 4)}, length=3))
    """
    from stable_baselines3.common.env_checker import check_env as check_with_sb3

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=r".*is different from the unwrapped version")
        try:
            check_with_gymnasium(env, skip_render_check=True)
            check_with_sb3(env)
        except Warning as warning:
            raise AssertionError(f"a checker warns: {warning}") from warning
    actions = _sampled(env, seed)
    first, again = ([_plain(env.reset(seed=seed, options=options)), *_play(env, actions)] for _ in range(2))
    _require(first == again, f"{env}: the same seed and actions gave two different episodes")
    _check_names(env)
    if hasattr(env.unwrapped, "get_state"):
        _check_states(env, actions, seed, options)
    baseline = baseline_action(env)
    if baseline is not None:
        _check_baseline(env, baseline, seed, options)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def _instance(family: InstanceFamily, number: int, name: str) -> Instance:
    instance = family.instance(number)
    _require(isinstance(instance, Instance), f"{name}: instance({number}) is {instance!r}, expected an Instance")
    return instance


def _bits(instance: Instance) -> tuple[object, ...]:
    """Returns all that an instance is."""
    prints = tuple(images.fingerprint for _, images in instance.task.splits.named())
    task = instance.task
    shift = instance.shift and (instance.shift.fraction, instance.shift.train.fingerprint)
    return (*prints, task.name, task.knobs, task.recipe, str(instance), instance.budget, instance.baseline, shift)


def _images(instance: Instance) -> list[str]:
    return [identity for _, images in instance.task.splits.named() for identity in images.identities(by_path=False)]


def _all_images(instance: Instance) -> set[str]:
    """Returns the images of an instance, with those that it has later."""
    later = [] if instance.shift is None else instance.shift.train.identities(by_path=False)
    return {*_images(instance), *later}


def _check_same_bits(family: InstanceFamily, instances: Mapping[int, Instance], name: str) -> None:
    """Asks for the instances again, in another order and of a copy that has nothing kept."""
    HELD.clear()
    fresh = copy.deepcopy(family)
    for number in reversed(list(instances)):
        _require(
            _bits(_instance(fresh, number, name)) == _bits(instances[number]),
            f"{name}: instance {number} is another one when it is made again: it has to be a function of its number",
        )


def _check_numbers(family: InstanceFamily, name: str) -> None:
    last = family.count - 1
    _require(isinstance(family.instance(np.int64(last)), Instance), f"{name}: instance({last}) is missing")  # type: ignore[arg-type]
    for number in (-1, family.count):
        try:
            family.instance(number)
        except MapoptError:
            continue
        raise AssertionError(f"{name}: instance({number}) is there, expected a ConfigError: it has {family.count}")


def _check_descriptions(instances: Mapping[int, Instance], name: str) -> None:
    lines = [str(instance) for instance in instances.values()]
    for line in lines:
        _require(len(line.splitlines()) == 1, f"{name}: the description {line!r} has more lines than one, or none")
    _require(
        len(set(lines)) == len(lines), f"{name}: two instances have the description {max(lines, key=lines.count)!r}"
    )


def _other_split(family: InstanceFamily, name: str) -> InstanceFamily:
    if not dataclasses.is_dataclass(family):
        raise ConfigError(f"{name} is no dataclass, so its other split is unknown: give the family of it as other=...")
    split = "eval" if family.split == "train" else "train"
    made: Any = dataclasses.replace(family, split=split)  # type: ignore[type-var]
    return made  # type: ignore[no-any-return]


def _check_disjoint(instances: Mapping[int, Instance], others: Sequence[Instance], name: str) -> None:
    for number, instance in instances.items():
        images = _images(instance)
        _require(
            len(set(images)) == len(images), f"{name}: an image is twice in train, val and test of instance {number}"
        )
    seen = {identity for instance in instances.values() for identity in _all_images(instance)}
    for instance in others:
        _require(
            not seen & _all_images(instance),
            f"{name}: {instance.task.name} has images that instances of the other split have, too",
        )


def _sampled(env: gymnasium.Env, seed: int, limit: int = 1000) -> list[Any]:
    """Returns actions for an episode; those behind its end are not played."""
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(limit)]


def _play(env: gymnasium.Env, actions: Sequence[Any]) -> list[Any]:
    """Plays to the end; returns all that was given, but for seconds, which no seed determines."""
    rows = []
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        rows.append(_plain((observation, float(reward), terminated, truncated, info)))
        if terminated or truncated:
            break
    return rows


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items() if name != "seconds"}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return (value.dtype.str, value.tobytes()) if isinstance(value, np.ndarray | np.generic) else repr(value)


def _check_names(env: gymnasium.Env) -> None:
    names = attribute(env, "observation_names")
    shape = env.unwrapped.observation_space.shape
    _require(shape == (len(names),), f"{env}: {len(names)} names of observations of shape {shape}")


def _check_states(env: gymnasium.Env, actions: Sequence[Any], seed: int, options: dict[str, Any] | None) -> None:
    """Copies the state after the first step and goes on from it twice; wrappers have no part in a state."""
    inner: Any = env.unwrapped
    inner_actions = _sampled(inner, seed, len(actions))
    inner.reset(seed=seed, options=options)
    inner.step(inner_actions[0])
    state = inner.get_state()
    went_on = _play(inner, inner_actions[1:])
    inner.set_state(state)
    goes_on = _play(inner, inner_actions[1:])
    _require(went_on == goes_on, f"{inner}: an episode goes on otherwise from a copied state")


def _check_baseline(env: gymnasium.Env, baseline: Any, seed: int, options: dict[str, Any] | None) -> None:
    env.reset(seed=seed, options=options)
    over, infos = False, []
    while not over:
        *_, terminated, truncated, info = env.step(baseline)
        infos.append(info)
        over = terminated or truncated
    lanes = getattr(env.unwrapped, "lanes", None)
    if lanes is None:
        knobs = [info["knobs"] for info in infos]
        _require(all(setting == knobs[0] for setting in knobs), f"{env}: the baseline action moved the setting")
        return
    from mapopt.training.fleet import Trainer
    from mapopt.training.loop import run

    instance, start = lanes.instance_of(0), lanes.start_of(0)
    controller = instance.baseline or getattr(lanes.action, "baseline", Schedule())
    result = run(Trainer(instance.task, seed=start.seed), controller, lanes.budget_of(0), select="last")
    ours = [(played.knobs, played.val.ap) for played in lanes.histories[0]]
    theirs = [(played.knobs, played.val.ap) for played in result.history][: len(ours)]
    _require(ours == theirs, f"{env}: an episode of the baseline action is not the baseline's run")
