"""Draws what a procedural scene holds, from its number and the parameters: which shapes, where, how large and how lit.

Every property of a shape has its own uniform numbers, so changing one parameter leaves the rest of a scene as it was.
Objects look for a free place with a few tries; the exact rule about hidden objects is applied when they are painted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapopt.data.order import sample_uniforms
from mapopt.data.outlines import CLASSES, CLUTTER, outline_points
from mapopt.data.painting import BACKGROUND_NUMBERS, Layers, backgrounds, paint, sensor_noise
from mapopt.data.shapes_config import ShapesConfig

Floats = NDArray[np.float64]

# Streams of random numbers, one for each use.
_COUNTS, _BACKGROUND, _OBJECTS, _CLUTTER, _ANNOTATOR = range(32, 37)

_TRIES = 6
_COLORS = 4
# Uniform numbers of one shape: eleven properties, then colors and places to choose among.
_KIND, _SIZE, _STRETCH, _ANGLE, _HIDDEN, _DEPTH, _LIGHT = range(7)
_STRIPES = slice(7, 11)
_COLOR = slice(11, 11 + 3 * _COLORS)
_PLACE = slice(_COLOR.stop, _COLOR.stop + 2 * _TRIES)
_NUMBERS = _PLACE.stop

_CONTRAST = 0.45
"""Smallest distance in RGB between a shape and its background, where one of its colors to choose among has it."""


_CLASS_COLORS = (
    (0.85, 0.25, 0.20),
    (0.20, 0.65, 0.30),
    (0.25, 0.40, 0.90),
    (0.90, 0.80, 0.25),
    (0.75, 0.30, 0.80),
    (0.20, 0.80, 0.80),
    (0.90, 0.50, 0.20),
    (0.55, 0.75, 0.20),
    (0.45, 0.30, 0.65),
    (0.95, 0.60, 0.70),
    (0.50, 0.35, 0.20),
    (0.75, 0.75, 0.75),
)
"""What a class's colors gather around, in RGB, in the order of the outlines."""


@dataclass(frozen=True)
class Objects:
    """Objects of several scenes: ``[n]`` scene and label, ``[n, 4]`` boxes in pixels, inside the scene."""

    scene: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: Floats


def draw_scenes(config: ShapesConfig, *, seed: int, start: int, count: int) -> tuple[NDArray[np.uint8], Objects]:
    """Returns some scenes, uint8 ``[count, 3, size, size]``, and what their annotator noted."""
    ground = sample_uniforms(seed, start, count, BACKGROUND_NUMBERS, stream=_BACKGROUND)
    picture, colors = backgrounds(ground, size=config.size)
    layers, labels, slots = _draw_layers(config, seed, start, colors)
    picture, painted = paint(picture, layers, largest=config.object_size[1])
    if config.noise:
        picture += sensor_noise(seed, start, count, size=config.size, strength=config.noise)
    picture *= 255
    picture += 0.5
    shown = painted & (labels >= 0)
    objects = Objects(layers.scene[shown], labels[shown], np.clip(layers.boxes[shown], 0, config.size))
    pixels = np.clip(picture, 0, 255, out=picture).astype(np.uint8)
    if config.label_noise:
        objects = _misannotate(config, seed, start, count, objects, slots[shown])
    return pixels, objects


def _draw_layers(
    config: ShapesConfig, seed: int, start: int, background: NDArray[np.float32]
) -> tuple[Layers, NDArray[np.int64], NDArray[np.int64]]:
    """Returns the shapes of some scenes from front to back, their labels (-1: clutter) and their slots."""
    count = len(background)
    low, high = config.objects
    distractors = int(2 * config.clutter) + 1 if config.clutter else 0
    how_many = sample_uniforms(seed, start, count, 3, stream=_COUNTS)
    numbers = np.concatenate(
        [
            sample_uniforms(seed, start, count, slots * _NUMBERS, stream=stream).reshape(count, slots, _NUMBERS)
            for slots, stream in ((high, _OBJECTS), (distractors, _CLUTTER))
        ],
        axis=1,
    )
    slots = np.arange(high + distractors)
    is_object = slots < high
    object_count = low + np.floor(how_many[:, 0] * (high - low + 1))
    clutter_count = np.floor(2 * config.clutter * how_many[:, 1] + how_many[:, 2])
    exists = np.where(is_object, slots < object_count[:, None], slots - high < clutter_count[:, None])

    labels = np.searchsorted(_class_limits(config), numbers[..., _KIND], side="right")
    labels[:, high:] = -1
    kinds = len(CLASSES) + np.floor(numbers[..., _KIND] * len(CLUTTER)).astype(np.int64)
    outline = np.where(is_object, labels, kinds)
    smallest, largest = config.object_size
    size = smallest * (largest / smallest) ** numbers[..., _SIZE]
    size[:, high:] = np.minimum(1.3 * size[:, high:], config.size)
    shape, extent_low, extent_high = _turn(outline, numbers)
    unit = size / (extent_high - extent_low).max(axis=2)
    sides = (extent_high - extent_low) * unit[..., None]

    allowed = config.occlusion * numbers[..., _HIDDEN]
    middle = _place(config, numbers, sides, exists, allowed, high)
    # The first object lies in front of all, so that a scene which is to have objects has one.
    depth = numbers[..., _DEPTH].copy()
    depth[:, :high] = np.sort(depth[:, :high], axis=1)
    depth[:, :1] = np.where(is_object[:1], -1.0, depth[:, :1])
    chosen = np.flatnonzero(exists.reshape(-1))
    scene = chosen // len(slots)
    order = np.lexsort((depth.reshape(-1)[chosen], scene))
    chosen, scene = chosen[order], scene[order]

    def flat(values: NDArray) -> NDArray:
        return values.reshape(-1, *values.shape[2:])[chosen]

    u, k, wh, center = flat(numbers), flat(unit), flat(sides), flat(middle)
    layers = Layers(
        scene=scene,
        outline=flat(outline),
        boxes=np.concatenate([center - wh / 2, center + wh / 2], axis=1),
        origin=center - k[:, None] * flat(extent_low + extent_high) / 2,
        to_unit=np.linalg.inv(flat(shape)) / k[:, None, None],
        unit=k,
        color=_colors(config, u[:, _COLOR], flat(labels), background[scene].astype(np.float64)),
        light=_light(u[:, _LIGHT], wh),
        stripes=_stripes(u[:, _STRIPES]),
        max_hidden=np.where(flat(labels) >= 0, config.occlusion, 1.0),
    )
    return layers, flat(labels), np.broadcast_to(slots, exists.shape).reshape(-1)[chosen]


def _class_limits(config: ShapesConfig) -> Floats:
    """Returns where, on 0 to 1, one class ends and the next begins; the last limit is left out."""
    frequency = config.imbalance ** (-np.arange(config.classes) / max(1, config.classes - 1))
    return np.cumsum(frequency / frequency.sum())[:-1]


def _turn(outline: NDArray[np.int64], numbers: Floats) -> tuple[Floats, Floats, Floats]:
    """Returns each shape's turn and stretch ``[..., 2, 2]``, and its extent in that position, ``[..., 2]`` twice."""
    angle = 2 * np.pi * numbers[..., _ANGLE]
    stretch = 1.3 ** (2 * numbers[..., _STRETCH] - 1)
    cosine, sine = np.cos(angle), np.sin(angle)
    first = np.stack([cosine * stretch, -sine / stretch], axis=-1)
    second = np.stack([sine * stretch, cosine / stretch], axis=-1)
    matrix = np.stack([first, second], axis=-2)
    points = outline_points()[outline] @ np.swapaxes(matrix, -1, -2)
    return matrix, points.min(axis=-2), points.max(axis=-2)


def _place(
    config: ShapesConfig, numbers: Floats, sides: Floats, exists: NDArray[np.bool_], allowed: Floats, objects: int
) -> Floats:
    """Returns the middles of all boxes, ``[scenes, slots, 2]``; objects avoid those in front of them."""
    scenes, slots, _ = sides.shape
    tries = numbers[..., _PLACE].reshape(scenes, slots, _TRIES, 2)
    # An object may reach out by half of what may be hidden of it, in each direction.
    inset = sides * (0.5 - 0.5 * allowed[..., None])
    inset[:, objects:] = 0
    tries = inset[:, :, None] + tries * (config.size - 2 * inset)[:, :, None]
    middle = tries[:, :, 0].copy()
    everyone = np.arange(scenes)
    for slot in range(objects):
        half = sides[:, slot, None] / 2
        low, high = tries[:, slot] - half, tries[:, slot] + half
        area = sides[:, slot].prod(axis=1)[:, None]
        inside = np.prod(np.minimum(high, config.size) - np.maximum(low, 0), axis=2)
        hidden = area - inside
        front = slice(0, slot)
        front_low = (middle[:, front] - sides[:, front] / 2)[:, None]
        front_high = (middle[:, front] + sides[:, front] / 2)[:, None]
        overlap = np.minimum(high[:, :, None], front_high) - np.maximum(low[:, :, None], front_low)
        hidden += (np.clip(overlap, 0, None).prod(axis=3) * exists[:, None, front]).sum(axis=2)
        excess = np.maximum(hidden / area - allowed[:, slot, None], 0)
        # argmin takes the first of equals: the first place that is free enough, else the freest.
        middle[:, slot] = tries[everyone, slot, excess.argmin(axis=1)]
    return middle


def _colors(config: ShapesConfig, numbers: Floats, labels: NDArray[np.int64], background: Floats) -> Floats:
    """Returns colors ``[n, 3]``: the first of a few that stands out from the background, else the farthest."""
    candidates = 0.08 + 0.84 * numbers.reshape(len(numbers), _COLORS, 3)
    own = np.array(_CLASS_COLORS)[labels][:, None]
    pull = np.where(labels >= 0, config.color, 0.0)[:, None, None]
    candidates = candidates + pull * (own - candidates)
    lacking = _CONTRAST - np.linalg.norm(candidates - background[:, None], axis=2)
    return candidates[np.arange(len(numbers)), np.maximum(lacking, 0).argmin(axis=1)]


def _light(numbers: Floats, sides: Floats) -> Floats:
    """Returns how brightness changes per pixel, ``[n, 2]``: up to a third over the shape, from any side."""
    angle, strength = 2 * np.pi * numbers, 0.35 / sides.max(axis=1)
    return np.stack([np.cos(angle) * strength, np.sin(angle) * strength], axis=1)


def _stripes(numbers: Floats) -> Floats:
    """Returns amplitude, phase and cycles per pixel ``[n, 4]``; two shapes in three have no stripes."""
    amplitude = -0.75 * np.maximum(numbers[:, 0] - 2 / 3, 0) - np.where(numbers[:, 0] > 2 / 3, 0.15, 0.0)
    angle, cycles = np.pi * numbers[:, 2], 0.12 + 0.18 * numbers[:, 3]
    return np.stack([amplitude, numbers[:, 1], np.cos(angle) * cycles, np.sin(angle) * cycles], axis=1)


def _misannotate(
    config: ShapesConfig, seed: int, start: int, count: int, objects: Objects, slots: NDArray[np.int64]
) -> Objects:
    """Returns the objects as a careless annotator notes them: some missing, some as another class, some shifted."""
    numbers = sample_uniforms(seed, start, count, config.objects[1] * 6, stream=_ANNOTATOR)
    u = numbers.reshape(count, -1, 6)[objects.scene, slots]
    fault = np.where(u[:, 0] < config.label_noise, np.floor(u[:, 0] / config.label_noise * 3), -1)
    if config.classes == 1:
        fault = np.where(fault == 1, 2, fault)
    step = 1 + np.floor(u[:, 1] * (config.classes - 1)).astype(np.int64)
    labels = np.where(fault == 1, (objects.labels + step) % config.classes, objects.labels)
    middle, sides = (objects.boxes[:, :2] + objects.boxes[:, 2:]) / 2, objects.boxes[:, 2:] - objects.boxes[:, :2]
    middle = middle + 0.6 * (u[:, 2:4] - 0.5) * sides
    half = 0.5 * sides * 1.35 ** (2 * u[:, 4:6] - 1)
    shifted = np.clip(np.concatenate([middle - half, middle + half], axis=1), 0, config.size)
    boxes = np.where(fault[:, None] == 2, shifted, objects.boxes)
    kept = fault != 0
    return Objects(objects.scene[kept], labels[kept], boxes[kept])
