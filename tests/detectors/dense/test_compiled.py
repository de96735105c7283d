"""The tiny network's compiled loops do what torch's convolutions and norms do, and keep lanes apart to the bit."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mapopt.detectors.dense import compiled
from mapopt.detectors.dense.compiled import Block, Layers, kernels_for, run_layers
from mapopt.detectors.dense.gathering import Gather, Tiles, terms_of, tiles_of
from mapopt.detectors.dense.tiny import TinyNetwork
from mapopt.detectors.interface import normalize, scaling

pytest.importorskip("numba")


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def images_of(lanes: int, batch: int, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> Tensor:
    return (120 + 60 * random(lanes, batch, 3, *size, seed=1)).clamp(0, 255).to(dtype)


def weights_of(network: TinyNetwork, lanes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    drawn = torch.stack([network.draw(lane) for lane in range(lanes)]).to(dtype)
    return (drawn + 0.1 * random(*drawn.shape, seed=2, dtype=dtype)).requires_grad_()


def both_ways(network: TinyNetwork, weights: Tensor, images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Returns the outputs of the compiled loops and of torch's operations, each with the gradient of the weights."""
    ways = []
    for forward in (network.forward, network.forward_grouped):
        logits, deltas, _ = forward(weights, images)
        outputs = torch.cat([logits, deltas], dim=-1)
        upstream = random(*outputs.shape, seed=3, dtype=outputs.dtype)
        ways.append((outputs.detach(), torch.autograd.grad(outputs, weights, upstream)[0]))
    return ways


@pytest.mark.parametrize(
    ("lanes", "batch", "size"),
    [
        (1, 1, (32, 32)),
        (2, 16, (48, 48)),
        (3, 7, (64, 64)),
        (2, 3, (96, 128)),
        (17, 2, (48, 48)),
        (2, 9, (36, 44)),
        (2, 17, (8, 4)),
    ],
    ids=str,
)
def test_outputs_and_gradients_are_those_of_torchs_operations(lanes: int, batch: int, size: tuple[int, int]) -> None:
    network = TinyNetwork(3)
    weights = weights_of(network, lanes, torch.float64)
    # What normalizes pixels is float32 there, too.
    (outputs, gradient), (plain, expected) = both_ways(network, weights, images_of(lanes, batch, size, torch.float64))
    torch.testing.assert_close(outputs, plain, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


@pytest.mark.parametrize(("lanes", "batch", "size"), [(2, 1, (32, 32)), (3, 16, (48, 48)), (2, 5, (64, 96))], ids=str)
def test_in_single_precision_they_agree_to_rounding(lanes: int, batch: int, size: tuple[int, int]) -> None:
    network = TinyNetwork(3)
    (outputs, gradient), (plain, expected) = both_ways(
        network, weights_of(network, lanes), images_of(lanes, batch, size)
    )
    torch.testing.assert_close(outputs, plain, rtol=1e-5, atol=1e-5)
    # Of many numbers one is rounded to the other side of the rectifier's corner, which moves the gradient further.
    allowed = 1e-5 if batch == 1 else 2e-3
    assert float((gradient - expected).norm() / expected.norm()) < allowed


GROUP = 2


def small_layers(blocks: list[tuple[int, int, int, int, bool]]) -> tuple[Layers, int]:
    """Returns a network of patches and blocks (channels, outputs, kernel, stride, bias), and how many weights it has.

    The patches are of two channels.
    """
    first = blocks[0][0]
    sizes = [first * 2 * 16]
    for channels, outputs, kernel, _, _ in blocks:
        sizes += [channels, channels, outputs * channels * kernel * kernel, outputs]
    at = list(accumulate([0, *sizes]))
    made = [
        Block(channels, outputs, kernel, stride, *at[4 * place + 1 : 4 * place + 4], at[4 * place + 4] if bias else -1)
        for place, (channels, outputs, kernel, stride, bias) in enumerate(blocks)
    ]
    return Layers(4, first, 0, tuple(made), GROUP), at[-1]


def plainly(layers: Layers, weights: Tensor, images: Tensor, scale: Tensor) -> Tensor:
    """Does what `run_layers` does, with torch's operations, lane by lane."""
    outcome = []
    for own, pixels in zip(weights, images, strict=True):
        maps = pixels * scale[0][:, None, None] + scale[1][:, None, None]
        size = layers.outputs * maps.shape[1] * layers.patch**2
        kernel = own[layers.weight : layers.weight + size].view(layers.outputs, -1, layers.patch, layers.patch)
        maps = functional.conv2d(maps, kernel, stride=layers.patch)
        for block in layers.blocks:
            scales, shifts = (own[at : at + block.channels] for at in (block.scale, block.shift))
            maps = functional.group_norm(maps, block.channels // layers.group, scales, shifts, layers.epsilon).relu()
            shape = (block.outputs, block.channels, block.kernel, block.kernel)
            kernel = own[block.weight : block.weight + shape[0] * shape[1] * shape[2] ** 2].view(shape)
            bias = own[block.bias : block.bias + block.outputs] if block.bias >= 0 else None
            maps = functional.conv2d(maps, kernel, bias, stride=block.stride, padding=block.kernel // 2)
        outcome.append(maps.permute(1, 2, 3, 0))
    return torch.stack(outcome)


BLOCKS = [
    [(2, 1, 3, 1, False)],
    [(4, 5, 3, 2, True)],
    [(6, 4, 1, 1, True)],
    [(6, 5, 3, 1, True)],
    [(2, 6, 3, 2, False), (6, 4, 3, 1, True), (4, 3, 1, 2, False)],
]


@pytest.mark.parametrize("blocks", BLOCKS, ids=str)
@pytest.mark.parametrize("size", [(4, 4), (12, 8), (20, 28)], ids=str)
@pytest.mark.parametrize("batch", [1, 8, 11])
def test_blocks_of_any_shape_are_those_of_torchs_operations(
    blocks: list[tuple[int, int, int, int, bool]], size: tuple[int, int], batch: int
) -> None:
    layers, count = small_layers(blocks)
    weights, scale = random(2, count, dtype=torch.float64).requires_grad_(), random(2, 2, dtype=torch.float64, seed=4)
    images = random(2, batch, 2, *size, dtype=torch.float64, seed=1)
    kernels = kernels_for(weights)
    assert kernels is not None
    outcome, expected = (
        run_layers(kernels, layers, weights, images, scale),
        plainly(layers, weights, images, scale),
    )
    torch.testing.assert_close(outcome, expected, rtol=1e-9, atol=1e-9)
    upstream = random(*expected.shape, seed=3, dtype=torch.float64)
    (mine,), (theirs,) = (torch.autograd.grad(made, weights, upstream) for made in (outcome, expected))
    torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-9 * float(theirs.abs().max()))


def test_convolutions_of_every_pixel_are_computed_tile_by_tile_and_others_are_not() -> None:
    layers, _ = small_layers([(2, 4, 3, 1, False), (4, 4, 1, 1, False), (4, 2, 3, 2, False)])
    terms = compiled._Plan(layers, (8, 2, 20, 28)).terms
    assert [isinstance(term, Tiles) for term in terms] == [True, False, False]


@pytest.mark.parametrize("size", [(24, 24), (20, 28)], ids=str)
def test_tiles_are_about_as_exact_as_the_definition_of_a_convolution(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    layers, count = small_layers([(40, 40, 3, 1, False), (40, 32, 3, 1, True)])
    weights, scale = 0.2 * random(2, count, dtype=torch.float64), random(2, 2, dtype=torch.float64, seed=4)
    images, outcome = random(2, 16, 2, *size, dtype=torch.float64, seed=1), []
    for dtype, tiled in ((torch.float64, False), (torch.float32, False), (torch.float32, True)):
        with monkeypatch.context() as patch:
            if not tiled:
                patch.setattr(compiled, "tiles_of", terms_of)
            own = weights.to(dtype).requires_grad_()
            kernels = kernels_for(own)
            assert kernels is not None
            made = run_layers(kernels, layers, own, images.to(dtype), scale.to(dtype))
            upstream = random(*made.shape, seed=3, dtype=dtype)
            outcome.append((made.detach().double(), torch.autograd.grad(made, own, upstream)[0].double()))
    exact, direct, tiles = outcome
    for place in range(2):
        error, allowed = ((way[place] - exact[place]).norm() / exact[place].norm() for way in (tiles, direct))
        assert 0 < float(error) < 3 * float(allowed) < 3e-3


def test_the_gradient_is_that_of_finite_differences() -> None:
    layers, count = small_layers(BLOCKS[-1])
    weights, images = random(2, count, dtype=torch.float64).requires_grad_(), random(2, 3, 2, 8, 12, seed=1)
    scale = random(2, 2, dtype=torch.float64, seed=4)
    kernels = kernels_for(weights)
    assert kernels is not None
    assert torch.autograd.gradcheck(
        lambda own: run_layers(kernels, layers, own, images.double(), scale), weights, fast_mode=True
    )


@pytest.mark.parametrize("batch", [1, 16])
def test_a_lane_has_the_same_bits_alone_and_among_others_wherever_it_stands(batch: int) -> None:
    network = TinyNetwork(3)
    weights, images = weights_of(network, 4).detach(), images_of(4, batch, (48, 48))
    outcome = []
    for lanes in ([2], [0, 2], [2, 1, 0, 3]):
        own = weights[lanes].requires_grad_()
        logits, deltas, _ = network.forward(own, images[lanes])
        outputs = torch.cat([logits, deltas], dim=-1)
        gradient = torch.autograd.grad(outputs.square().sum(), own)[0]
        place = lanes.index(2)
        outcome.append((outputs[place].detach(), gradient[place]))
    for later in outcome[1:]:
        for mine, theirs in zip(outcome[0], later, strict=True):
            assert torch.equal(mine, theirs)


def test_what_is_not_a_number_stays_in_its_lane_and_is_not_hidden_there() -> None:
    network = TinyNetwork(3)
    weights = weights_of(network, 3).detach()
    weights[1, 5] = torch.nan
    weights.requires_grad_()
    logits, _, _ = network.forward(weights, images_of(3, 2, (32, 32)))
    logits.sum().backward()
    assert weights.grad is not None
    for values in (logits, weights.grad):
        assert values[1].isnan().any()
        assert values[[0, 2]].isfinite().all()


def test_images_may_be_bytes() -> None:
    network = TinyNetwork(2)
    weights, images = weights_of(network, 2).detach(), images_of(2, 3, (32, 32)).round()
    assert torch.equal(network.forward(weights, images)[0], network.forward(weights, images.byte())[0])


def test_images_get_no_gradient() -> None:
    network = TinyNetwork(2)
    images = images_of(2, 3, (32, 32)).requires_grad_()
    network.forward(weights_of(network, 2), images)[0].sum().backward()
    assert images.grad is None


def test_off_the_cpu_and_where_nothing_is_compiled_torchs_operations_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernels_for(torch.empty(1, device="meta")) is None
    network = TinyNetwork(3)
    weights, images = weights_of(network, 2).detach(), images_of(2, 3, (48, 48))
    fast = network.forward(weights, images)
    monkeypatch.setattr(compiled, "load_kernels", lambda module: None)
    plain = network.forward(weights, images)
    assert fast[2] == plain[2]
    for mine, theirs, grouped in zip(fast[:2], plain[:2], network.forward_grouped(weights, images)[:2], strict=True):
        assert torch.equal(theirs, grouped)
        assert not torch.equal(mine, theirs)
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4), (7, 7)], ids=str)
def test_every_number_that_a_convolution_touches_is_in_its_map_and_every_pixel_is_written_once(
    size: tuple[int, int], kernel: int, stride: int
) -> None:
    channels, outputs, batch = 3, 2, 16
    terms = terms_of(channels, outputs, size, batch=batch, kernel=kernel, stride=stride)
    pixels = -(-size[0] // stride) * -(-size[1] // stride)
    weights = outputs * channels * kernel**2
    check(terms.forward, channels * terms.padded, outputs, pixels, batch, weights)
    check(terms.backward, outputs * terms.padded_gradient, channels, size[0] * size[1], batch, weights)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4), (7, 7)], ids=str)
def test_so_is_every_number_that_tiles_touch(size: tuple[int, int]) -> None:
    channels, outputs, batch = 3, 2, 16
    tiles = tiles_of(channels, outputs, size, batch=batch)
    area, weights = tiles.down * tiles.across, 16 * outputs * channels
    assert tiles.down == -(-size[0] // 2)
    assert tiles.across == -(-size[1] // 2)
    for gather, read, rows in ((tiles.forward, channels, outputs), (tiles.backward, outputs, channels)):
        places = (gather.places[:, None] + gather.plane * torch.arange(rows).numpy()).reshape(-1)
        assert sorted(places.tolist()) == list(range(0, 16 * rows * area * batch, 8))
        check(gather, 16 * read * area * batch, rows, None, batch, weights)
    assert len(set(tiles.inside.tolist())) == size[0] * size[1]
    assert int(tiles.inside.max()) + batch <= tiles.padded


def check(gather: Gather, read: int, rows: int, written: int | None, batch: int, weights: int) -> None:
    """Checks that a gather stays within what it reads, its weights and, where it is one map, what it writes."""
    if written is not None:
        assert sorted(gather.places.tolist()) == list(range(0, written * batch, 8))
        assert gather.plane == written * batch
    bounds = [*zip(pairwise([0, *gather.tap_ends]), pairwise([0, *gather.column_ends]), strict=True)]
    for (first_tap, last_tap), (first, last) in bounds:
        places = gather.taps[first_tap:last_tap, None] + gather.columns[first:last]
        assert places.size == 0 or (places.min() >= 0 and places.max() + 8 <= read)
        used = gather.weights[first_tap:last_tap, None] + gather.row * torch.arange(rows).numpy()
        assert used.size == 0 or (used.min() >= 0 and used.max() < weights)


def test_scaling_is_what_normalizing_does() -> None:
    images = images_of(1, 2, (4, 4))
    scale, shift = scaling()[:, :, None, None]
    assert torch.allclose(images * scale + shift, normalize(images), atol=1e-6)
    assert float(normalize(images[..., :1, :1] * 0 + 123.675)[0, 0, 0]) == pytest.approx(0, abs=1e-5)
