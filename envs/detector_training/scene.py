"""What of an episode is drawn: its AP, its knobs beside the baseline's, and a val image with its detections."""

from __future__ import annotations

import numpy as np

from mapopt.drawing.episode import draw_scene
from mapopt.drawing.scenes import RenderedImage, RenderedKnob, RenderScene, describe_scene
from mapopt.envs.detector_training.lanes import DetectorTrainingLanes

_CROWDED = 6
"""Objects from which on boxes hide each other."""


def render(lanes: DetectorTrainingLanes, lane: int, mode: str | None) -> str | np.ndarray | None:
    """Returns a lane as a line of text ("ansi"), as a picture uint8 ``[h, w, 3]`` ("rgb_array"), or as nothing."""
    if mode == "ansi":
        return describe_scene(scene_of(lanes, lane, with_image=False))
    if mode == "rgb_array":
        return draw_scene(scene_of(lanes, lane))
    return None


def scene_of(lanes: DetectorTrainingLanes, lane: int, *, with_image: bool = True) -> RenderScene:
    """Returns what there is to see of a lane.

    Args:
        lanes: whose lane.
        lane: which.
        with_image: look at a val image, too: the boxes are detected anew for it.
    """
    instance = lanes.instance_of(lane)
    budget, history = lanes.budget_of(lane), lanes.histories[lane]
    baseline, task = lanes.action_of(lane).baseline, instance.task
    defaults = [baseline.decide(history[:count], task.info, budget).knobs for count in range(len(history))]
    return RenderScene(
        title=str(instance),
        rounds=budget.rounds,
        ap=tuple(played.val.ap for played in history),
        knobs=tuple(
            RenderedKnob(
                name=name,
                values=tuple(played.knobs.get(name) for played in history),
                range=task.ranges[name],
                baseline=tuple(knobs.get(name) for knobs in defaults),
            )
            for name in lanes.action.knobs
        ),
        categories=tuple(task.splits.val.annotations.category_names),
        image=_image(lanes, lane) if with_image else None,
    )


def _image(lanes: DetectorTrainingLanes, lane: int) -> RenderedImage | None:
    """Returns the val image with the greatest number of objects that can be distinguished, at the network's size."""
    val = lanes.instance_of(lane).task.splits.val
    notes = val.annotations
    if not len(notes.images):
        return None
    counts = np.bincount(notes.images, minlength=len(notes))
    few = np.where(counts <= _CROWDED, counts, 0)
    chosen = int(few.argmax() if few.any() else counts.argmax())
    mine, scale = notes.images == chosen, float(np.asarray(val.scale)[chosen])
    fleet, place = lanes.fleet_of(lane)
    detections = fleet.detect("val", lanes=[place])[0]
    here = detections.image_ids == chosen
    return RenderedImage(
        pixels=np.ascontiguousarray(val.pixels[chosen].permute(1, 2, 0).cpu().numpy()),
        true_boxes=notes.boxes[mine] * scale,
        true_labels=notes.labels[mine],
        boxes=detections.boxes[here] * scale,
        scores=detections.scores[here],
        labels=detections.labels[here],
    )
