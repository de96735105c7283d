import pytest
import torch
from torchvision.ops import batched_nms

from mapopt.postprocessing import suppression as module
from mapopt.postprocessing.suppression import postprocess

SIZE = (40, 64)


def random_outputs(seed: int, *, lanes: int = 2, batch: int = 3, locations: int = 60, classes: int = 3):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(lanes, batch, locations, 2, generator=generator) * 50 - 5
    boxes = torch.cat([corner, corner + 2 + torch.rand(corner.shape, generator=generator) * 25], dim=-1)
    return boxes, torch.rand(lanes, batch, locations, classes, generator=generator) ** 2


def report(boxes, scores, score_threshold, nms_iou, *, limit):
    every = torch.ones(len(scores))
    return postprocess(
        boxes, scores, score_threshold, nms_iou, soft_nms_sigma=0 * every, detections=limit * every, size=SIZE
    )


def brute_force(boxes, scores, score_threshold, nms_iou, *, limit):
    """One image at a time, every pair of a location and a class, torchvision's own suppression."""
    rows = []
    for lane in range(scores.shape[0]):
        for image in range(scores.shape[1]):
            location, label = (scores[lane, image] >= score_threshold[lane]).nonzero(as_tuple=True)
            score = scores[lane, image][location, label]
            box = boxes[lane, image][location].clamp(min=0)
            box = torch.minimum(box, torch.tensor([SIZE[1], SIZE[0], SIZE[1], SIZE[0]]))
            kept = batched_nms(box, score, label, float(nms_iou[lane]))[:limit]
            for place in kept.tolist():
                rows.append((lane, image, int(label[place]), float(score[place]), *box[place].tolist()))
    return rows


def as_rows(result):
    columns = (result.lanes, result.images, result.labels, result.scores, *result.boxes.unbind(1))
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("limit", [5, 100])
@pytest.mark.parametrize("way", ["compiled", "plain", "device, one block", "device, blocks"])
@pytest.mark.parametrize("seed", range(4))
def test_the_result_is_that_of_torchvision_on_one_image_after_the_other(seed, way, limit, monkeypatch):
    if way == "compiled":
        assert module.load_kernels("mapopt.postprocessing.suppression_kernels") is not None
    elif way == "plain":
        monkeypatch.setattr(module, "load_kernels", lambda name: None)
    else:
        monkeypatch.setattr(module, "_LOOPS", ())
        monkeypatch.setattr(module, "_BLOCK", 30 if way == "device, blocks" else 1000)
    boxes, scores = random_outputs(seed)
    thresholds, overlaps = torch.tensor([0.05, 0.3]), torch.tensor([0.6, 0.35])
    result = report(boxes, scores, thresholds, overlaps, limit=limit)
    expected = brute_force(boxes, scores, thresholds, overlaps, limit=limit)
    assert as_rows(result) == expected
    assert len(expected) > 20


def test_boxes_are_clipped_to_the_image_and_stand_strongest_first_within_it():
    boxes, scores = random_outputs(9)
    result = report(boxes, scores, torch.zeros(2), torch.full((2,), 0.5), limit=100)
    assert result.boxes.min() >= 0
    assert result.boxes[:, 2].max() <= SIZE[1]
    assert result.boxes[:, 3].max() <= SIZE[0]
    place = result.lanes * 3 + result.images
    assert (place.diff() >= 0).all()
    assert (result.scores.diff()[place.diff() == 0] <= 0).all()


def test_a_higher_score_threshold_only_removes_boxes():
    boxes, scores = random_outputs(10)
    overlaps = torch.full((2,), 0.5)
    every, few = (as_rows(report(boxes, scores, torch.full((2,), value), overlaps, limit=1000)) for value in (0.1, 0.5))
    assert few == [row for row in every if row[3] >= 0.5]


def test_only_the_strongest_pairs_are_candidates(monkeypatch):
    monkeypatch.setattr(module, "CANDIDATES", 10)
    boxes, scores = random_outputs(11, lanes=1, batch=1)
    result = report(boxes, scores, torch.zeros(1), torch.ones(1), limit=100)
    assert result.scores.tolist() == scores.flatten().sort(descending=True).values[:10].tolist()


def test_a_score_that_is_no_number_is_not_reported():
    boxes, scores = random_outputs(12)
    scores[0, 0] = torch.nan
    result = report(boxes, scores, torch.zeros(2), torch.full((2,), 0.5), limit=100)
    assert torch.isfinite(result.scores).all()
    assert not ((result.lanes == 0) & (result.images == 0)).any()
    assert ((result.lanes == 0) & (result.images == 1)).any()


def test_nothing_above_the_threshold_is_an_empty_result():
    boxes, scores = random_outputs(13)
    result = report(boxes, scores * 0.5, torch.full((2,), 0.9), torch.full((2,), 0.5), limit=100)
    assert result.boxes.shape == (0, 4)
    assert result.scores.shape == result.labels.shape == result.lanes.shape == result.images.shape == (0,)


def test_classes_may_have_thresholds_of_their_own():
    boxes, scores = random_outputs(14)
    overlaps, thresholds = torch.full((2,), 0.5), torch.tensor([[0.1, 0.5, 0.9], [0.3, 0.0, 0.2]])
    result = as_rows(report(boxes, scores, thresholds, overlaps, limit=1000))
    every = as_rows(report(boxes, scores, torch.zeros(2), overlaps, limit=1000))
    assert result == [row for row in every if row[3] >= float(thresholds[row[0], row[2]])]


def test_every_lane_has_its_own_limit():
    boxes, scores = random_outputs(15)
    limits, none = torch.tensor([2.0, 4.5]), torch.zeros(2)
    result = postprocess(boxes, scores, none, none + 0.5, soft_nms_sigma=none, detections=limits, size=SIZE)
    assert (result.lanes * 3 + result.images).bincount().tolist() == [2, 2, 2, 4, 4, 4]
