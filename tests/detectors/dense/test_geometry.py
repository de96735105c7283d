import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from mapopt.detectors.dense import geometry
from mapopt.detectors.dense.geometry import (
    assign,
    assign_together,
    decode,
    in_crowd,
    make_priors,
    pairwise_iou,
    prior_boxes,
)

SEEDS = st.integers(0, 2**31)


def random_boxes(*shape: int, side: float, generator: torch.Generator) -> torch.Tensor:
    corner = torch.rand(*shape, 2, generator=generator) * side * 0.8
    return torch.cat([corner, corner + 1 + torch.rand(*shape, 2, generator=generator) * side * 0.5], dim=-1)


def random_problem(seed: int, *, lanes: int = 2, batch: int = 3, objects: int = 5, cells: int = 6):
    """Predicted boxes near the priors of two levels, and objects of which some pad and some are crowds."""
    generator = torch.Generator().manual_seed(seed)
    priors = make_priors([(cells, cells), (cells // 2, cells // 2)], (8, 16), (16.0, 32.0))
    deltas = torch.randn(lanes, batch, len(priors.sizes), 4, generator=generator) * 0.3
    truth = random_boxes(lanes, batch, objects, side=8.0 * cells, generator=generator)
    labels = torch.randint(-1, 3, (lanes, batch, objects), generator=generator)
    crowd = torch.rand(lanes, batch, objects, generator=generator) < 0.2
    return decode(deltas, priors), priors, truth, labels, crowd


def test_zero_deltas_are_the_priors_themselves():
    priors = make_priors([(2, 3)], (8,), (16.0,))
    boxes = decode(torch.zeros(6, 4), priors)
    assert boxes[0].tolist() == [-4, -4, 12, 12]
    assert boxes[5].tolist() == [12, 4, 28, 20]


def test_locations_stand_in_the_middle_of_their_cells_level_after_level():
    priors = make_priors([(1, 2), (1, 1)], (8, 16), (16.0, 64.0))
    assert priors.centers.tolist() == [[4, 4], [12, 4], [8, 8]]
    assert priors.sizes.tolist() == [16, 16, 64]
    assert priors.strides.tolist() == [8, 8, 16]


@pytest.mark.parametrize("value", [-1e4, 1e4])
def test_extreme_deltas_give_finite_boxes(value):
    boxes = decode(torch.full((4, 4), value), make_priors([(2, 2)], (8,), (16.0,)))
    assert torch.isfinite(boxes).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_the_overlap_is_torchvisions(seed):
    generator = torch.Generator().manual_seed(seed)
    first, second = (random_boxes(7, side=20.0, generator=generator) for _ in range(2))
    assert torch.allclose(pairwise_iou(first, second), box_iou(first, second), atol=1e-6)


def test_empty_boxes_overlap_with_nothing():
    empty = torch.tensor([[3.0, 3.0, 3.0, 3.0], [5.0, 5.0, 2.0, 9.0]])
    assert pairwise_iou(empty, empty).abs().sum() == 0


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.floats(0.05, 0.9))
def test_every_object_keeps_a_location_and_nothing_else_has_any(seed, threshold):
    boxes, priors, truth, labels, crowd = random_problem(seed)
    assigned = assign(boxes, priors, truth, labels, crowd, torch.full((2,), threshold))
    for lane in range(2):
        for image in range(3):
            real = ((labels[lane, image] >= 0) & ~crowd[lane, image]).nonzero().squeeze(1)
            given_out = assigned.objects[lane, image]
            assert set(given_out[given_out >= 0].tolist()) == set(real.tolist())


def test_objects_on_top_of_each_other_each_keep_a_location():
    priors = make_priors([(4, 4)], (8,), (16.0,))
    boxes = decode(torch.zeros(1, 1, 16, 4), priors)
    truth = torch.tensor([[9.0, 9.0, 15.0, 15.0]]).expand(1, 1, 5, 4)
    assigned = assign(
        boxes, priors, truth, torch.zeros(1, 1, 5).long(), torch.zeros(1, 1, 5, dtype=torch.bool), torch.tensor([0.9])
    )
    assert sorted(assigned.objects[assigned.objects >= 0].tolist()) == [0, 1, 2, 3, 4]


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.floats(0.05, 0.9), st.floats(0.05, 0.9))
def test_a_higher_threshold_never_makes_a_background_location_positive(seed, first, second):
    boxes, priors, truth, labels, crowd = random_problem(seed)
    low, high = (
        assign(boxes, priors, truth, labels, crowd, torch.full((2,), value)).objects >= 0
        for value in sorted((first, second))
    )
    assert (high <= low).all()


def test_the_threshold_of_a_lane_concerns_that_lane_only():
    boxes, priors, truth, labels, crowd = random_problem(3)
    boxes, truth, labels, crowd = (values[:1].expand(2, *values.shape[1:]) for values in (boxes, truth, labels, crowd))
    assigned = assign(boxes, priors, truth, labels, crowd, torch.tensor([0.05, 0.9])).objects
    assert (assigned[0] >= 0).sum() > (assigned[1] >= 0).sum()
    alone = assign(boxes[1:], priors, truth[1:], labels[1:], crowd[1:], torch.tensor([0.9])).objects
    assert torch.equal(assigned[1], alone[0])


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_padding_changes_nothing(seed):
    boxes, priors, truth, labels, crowd = random_problem(seed)
    threshold = torch.full((2,), 0.3)
    assigned = assign(boxes, priors, truth, labels, crowd, threshold)
    longer = assign(
        boxes,
        priors,
        torch.nn.functional.pad(truth, (0, 0, 0, 3)),
        torch.nn.functional.pad(labels, (0, 3), value=-1),
        torch.nn.functional.pad(crowd, (0, 3)),
        threshold,
    )
    assert torch.equal(assigned.objects, longer.objects)
    assert torch.equal(assigned.ignored, longer.ignored)


def test_a_perfect_prediction_in_the_middle_of_an_object_is_a_positive_and_one_far_from_it_is_not():
    priors = make_priors([(8, 8)], (8,), (16.0,))
    truth = torch.tensor([[[[4.0, 4.0, 60.0, 60.0]]]])
    boxes = truth.expand(1, 1, 64, 4)
    assigned = assign(
        boxes, priors, truth, torch.zeros(1, 1, 1).long(), torch.zeros(1, 1, 1, dtype=torch.bool), torch.tensor([0.5])
    )
    positive = (assigned.objects[0, 0] >= 0).view(8, 8)
    # The centre region is 1.5 strides to each side of (32, 32): the four cells around it, not the rim of the object.
    assert positive[3:5, 3:5].all()
    assert not positive[0].any()
    assert not positive[:, 7].any()


def test_of_two_objects_the_better_overlapped_one_wins_a_location():
    priors = make_priors([(4, 4)], (8,), (16.0,))
    truth = torch.tensor([[[[0.0, 0.0, 30.0, 30.0], [0.0, 0.0, 32.0, 32.0]]]])
    boxes = torch.tensor([0.0, 0.0, 32.0, 32.0]).expand(1, 1, 16, 4)
    assigned = assign(
        boxes, priors, truth, torch.zeros(1, 1, 2).long(), torch.zeros(1, 1, 2, dtype=torch.bool), torch.tensor([0.5])
    )
    # The centre regions share the four cells in the middle; both objects overlap there enough, the second better.
    assert (assigned.objects.view(4, 4)[1:3, 1:3] == 1).all()
    assert assigned.objects.view(4, 4)[0, 0] == 0


def test_crowd_regions_are_neither_objects_nor_background():
    boxes, priors, truth, labels, _ = random_problem(5)
    labels = labels.clamp(min=0)
    crowd = torch.zeros_like(labels, dtype=torch.bool)
    crowd[..., 0] = True
    assigned = assign(boxes, priors, truth, labels, crowd, torch.full((2,), 0.3))
    assert (assigned.objects != 0).all()
    assert not (assigned.ignored & (assigned.objects >= 0)).any()
    x, y = priors.centers[:, 0], priors.centers[:, 1]
    low, high = truth[..., 0, :2], truth[..., 0, 2:]
    covered = (x >= low[..., :1]) & (x <= high[..., :1]) & (y >= low[..., 1:]) & (y <= high[..., 1:])
    assert torch.equal(assigned.ignored, covered & (assigned.objects < 0))
    assert assigned.ignored.any()


def test_a_padded_crowd_ignores_nothing():
    boxes, priors, truth, labels, crowd = random_problem(6)
    assigned = assign(boxes, priors, truth, torch.full_like(labels, -1), torch.ones_like(crowd), torch.full((2,), 0.3))
    assert not assigned.ignored.any()
    assert (assigned.objects == -1).all()


def test_locations_that_differ_from_image_to_image_find_the_crowds_of_their_own_image():
    objects = torch.tensor([[[[0.0, 0.0, 10.0, 10.0]], [[20.0, 20.0, 30.0, 30.0]]]])
    centers = torch.tensor([[[[5.0, 5.0], [25.0, 25.0]], [[5.0, 5.0], [25.0, 25.0]]]])
    assert in_crowd(centers, objects, torch.ones(1, 2, 1, dtype=torch.bool)).tolist() == [
        [[True, False], [False, True]]
    ]


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.floats(0.0, 0.9), st.sampled_from(["predicted", "priors"]), st.integers(1, 40))
def test_the_compiled_loop_assigns_what_torchs_operations_do(seed, threshold, kind, objects):
    pytest.importorskip("numba")
    boxes, priors, truth, labels, crowd = random_problem(seed, objects=objects, cells=4)
    if kind == "priors":
        boxes = prior_boxes(priors).expand_as(boxes)
    # On whole pixels there are ties, and more objects than locations leave some without a free one.
    truth = truth.round()
    thresholds = torch.tensor([threshold, 0.4])
    compiled = assign(boxes, priors, truth, labels, crowd, thresholds)
    plain = assign_together(boxes, priors, truth, labels, crowd, thresholds)
    assert torch.equal(compiled.objects, plain.objects)
    assert torch.equal(compiled.ignored, plain.ignored)


def test_where_nothing_is_compiled_and_in_double_precision_torchs_operations_assign(monkeypatch):
    boxes, priors, truth, labels, crowd = random_problem(7)
    threshold = torch.full((2,), 0.4)
    expected = assign(boxes, priors, truth, labels, crowd, threshold)
    asked = []
    monkeypatch.setattr(geometry, "assign_together", lambda *given, **more: asked.append(given) or expected)
    assign(boxes.double(), priors, truth, labels, crowd, threshold)
    monkeypatch.setattr(geometry, "load_kernels", lambda module: None)
    assign(boxes, priors, truth, labels, crowd, threshold)
    assert len(asked) == 2
