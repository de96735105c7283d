import math

import pytest
import torch

from mapopt.metrics.overlaps import pair_iou
from mapopt.postprocessing import suppression
from mapopt.postprocessing.boxes import Boxes
from mapopt.postprocessing.suppression import FLOOR, choose, postprocess, take_candidates

SIZE = (40, 64)
LOOPS = ["compiled", "plain"]


@pytest.fixture(params=LOOPS)
def loop(request, monkeypatch):
    """Runs a test with either of the two loops."""
    if request.param == "plain":
        monkeypatch.setattr(suppression, "load_kernels", lambda name: None)
    else:
        assert suppression.load_kernels("mapopt.postprocessing.suppression_kernels") is not None
    return request.param


def soften(boxes, scores, groups, sigma):
    """The scores after Soft-NMS, -1 for what is dropped; every group is a lane with one image and one class."""
    order = scores.argsort(descending=True, stable=True)
    order = order[groups[order].argsort(stable=True)]
    names, lanes = groups[order].unique(return_inverse=True)
    widths = torch.stack([sigma[groups == name][0] for name in names]) if len(names) else sigma[:0]
    none = torch.zeros(len(names))
    candidates = Boxes(boxes[order], scores[order], 0 * lanes, lanes, 0 * lanes)
    rows, final = choose(candidates, none, none, soft_nms_sigma=widths, detections=none + torch.inf, side=64)
    return torch.full_like(scores, -1.0).index_copy(0, order[rows], final)


def random_boxes(seed, count=40, groups=4):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 30
    boxes = torch.cat([corner, corner + 4 + torch.rand(count, 2, generator=generator) * 20], dim=1)
    group = torch.randint(0, groups, (count,), generator=generator).sort().values
    return boxes, torch.rand(count, generator=generator) ** 2, group


def plain_soft_nms(boxes, scores, sigma):
    """The paper's figure 2, on one class of one image: takes the best, lets the others decay, and so on."""
    waiting = dict(enumerate(scores))
    final = {}
    while waiting:
        best = min(waiting, key=lambda place: (-waiting[place], place))
        score = waiting.pop(best)
        if score < FLOOR * scores[best]:
            continue
        final[best] = score
        for other in waiting:
            iou = float(pair_iou(boxes[best : best + 1], boxes[other : other + 1])[0])
            waiting[other] *= math.exp(-(iou**2) / sigma)
    return final


@pytest.mark.parametrize("sigma", [0.03, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_scores_decay_as_in_the_paper(seed, sigma, loop):
    boxes, scores, groups = random_boxes(seed)
    softened = soften(boxes, scores, groups, torch.full_like(scores, sigma))
    sigma = float(torch.tensor(sigma))
    for group in groups.unique():
        members = (groups == group).nonzero().squeeze(1)
        expected = plain_soft_nms(boxes[members].double().numpy(), scores[members].double().tolist(), sigma)
        values = [expected.get(place, -1.0) for place in range(len(members))]
        assert torch.allclose(softened[members], torch.tensor(values), rtol=1e-6, atol=0)
    assert (softened < scores).any()
    assert sigma > 0.1 or (softened == -1).any()


def test_groups_do_not_meet_and_each_has_its_own_width(loop):
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(4, 1)
    softened = soften(
        boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([0, 0, 5, 5]), torch.tensor([1.0, 1, 0.5, 0.5])
    )
    assert softened.tolist() == pytest.approx([0.9, 0.8 * math.exp(-1), 0.7, 0.6 * math.exp(-2)], rel=1e-6)


def test_empty_boxes_and_no_boxes_are_no_trouble(loop):
    boxes = torch.tensor([[3.0, 3, 3, 3], [3, 3, 3, 3], [0, 0, 8, 8]])
    scores = torch.tensor([0.3, 0.2, 0.1])
    assert torch.equal(soften(boxes, scores, torch.zeros(3), torch.ones(3)), scores)
    assert soften(boxes[:0], scores[:0], torch.zeros(0), torch.ones(0)).shape == (0,)


def random_outputs(seed, lanes=3, batch=2, locations=40, classes=3):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(lanes, batch, locations, 2, generator=generator) * 50 - 5
    boxes = torch.cat([corner, corner + 2 + torch.rand(corner.shape, generator=generator) * 25], dim=-1)
    return boxes, torch.rand(lanes, batch, locations, classes, generator=generator) ** 2


@pytest.mark.parametrize("seed", range(3))
def test_lanes_are_suppressed_softly_or_hard_as_their_own_knobs_say(seed):
    boxes, scores = random_outputs(seed)
    thresholds, overlaps = torch.tensor([0.05, 0.1, 0.2]), torch.tensor([0.5, 0.5, 0.6])
    sigma, detections = torch.tensor([0.0, 0.2, 0.7]), torch.tensor([100.0, 12.4, 100.0])
    result = postprocess(boxes, scores, thresholds, overlaps, soft_nms_sigma=sigma, detections=detections, size=SIZE)
    for lane in range(3):
        mine = slice(lane, lane + 1)
        alone = postprocess(
            boxes[mine], scores[mine], thresholds[mine], overlaps[mine], soft_nms_sigma=sigma[mine],
            detections=detections[mine], size=SIZE,
        )  # fmt: skip
        here = result.lanes == lane
        for name in ("boxes", "scores", "labels", "images"):
            assert torch.equal(getattr(result, name)[here], getattr(alone, name))
        assert result.scores[here].min() >= thresholds[lane]
    assert result.images[result.lanes == 1].bincount().tolist() == [12, 12]
    assert (result.images.diff()[result.lanes.diff() == 0] >= 0).all()
    same = (result.images.diff() == 0) & (result.lanes.diff() == 0)
    assert (result.scores.diff()[same] <= 0).all()


def test_soft_suppression_is_that_of_every_image_and_class_by_itself():
    boxes, scores = random_outputs(5, lanes=1)
    threshold = torch.tensor([0.1])
    result = postprocess(
        boxes, scores, threshold, torch.tensor([0.5]), soft_nms_sigma=torch.tensor([0.4]),
        detections=torch.tensor([300.0]), size=SIZE,
    )  # fmt: skip
    rows = take_candidates(boxes, scores, threshold, size=SIZE)
    reported = 0
    for image in range(2):
        for label in range(3):
            members = (rows.images == image) & (rows.labels == label)
            expected = plain_soft_nms(
                rows.boxes[members].double().numpy(), rows.scores[members].double().tolist(), float(torch.tensor(0.4))
            )
            kept = sorted((score for score in expected.values() if score >= 0.1), reverse=True)
            here = (result.images == image) & (result.labels == label)
            assert result.scores[here].tolist() == pytest.approx(kept, rel=1e-6)
            reported += len(kept)
    assert 0 < reported == len(result.scores) < len(rows.scores)


def test_a_width_near_zero_is_hard_suppression_of_whatever_overlaps():
    boxes, scores = random_outputs(6, lanes=1)
    rows = [
        postprocess(boxes, scores, torch.zeros(1), torch.tensor([0.1]), soft_nms_sigma=torch.tensor([sigma]),
                    detections=torch.tensor([300.0]), size=SIZE)
        for sigma in (0.0, 0.01 / math.log(1000))
    ]  # fmt: skip
    # At this width a box falls under the floor at an overlap of .1; several smaller overlaps may sink it as well.
    hard, soft = (set(zip(boxes.images.tolist(), map(tuple, boxes.boxes.tolist()), strict=True)) for boxes in rows)
    assert len(hard & soft) > 0.8 * len(hard)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_reports_what_the_host_reports():
    boxes, scores = random_outputs(7)
    settings = [torch.full((3,), value) for value in (0.05, 0.5, 0.3, 50.0)]
    host, device = (
        postprocess(
            *(values.to(name) for values in (boxes, scores, *settings[:2])), soft_nms_sigma=settings[2].to(name),
            detections=settings[3].to(name), size=SIZE,
        )
        for name in ("cpu", "cuda")
    )  # fmt: skip
    assert torch.equal(host.scores, device.scores.cpu())
    assert torch.equal(host.boxes, device.boxes.cpu())
