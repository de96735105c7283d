import pytest
import torch
from torch import nn
from torch.func import functional_call

from mapopt.detectors.dense.rows import Row, seeded


@pytest.fixture
def module():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(4, 8), nn.Flatten(), nn.LazyLinear(5))


def test_a_module_called_with_its_own_row_is_the_module(module):
    images = torch.rand(2, 3, 6, 6)
    expected = module(images)
    row = Row(module)
    assert torch.equal(functional_call(module, row.split(row.join(module)), (images,)), expected)


def test_joining_and_splitting_are_inverse(module):
    module(torch.rand(1, 3, 6, 6))
    row = Row(module)
    assert row.parameters == sum(parameter.numel() for parameter in module.parameters())
    for name, part in row.split(row.join(module)).items():
        assert torch.equal(part, module.get_parameter(name))


def test_the_gradient_of_every_parameter_arrives_in_the_row(module):
    images = torch.rand(2, 3, 6, 6)
    module(images).square().sum().backward()
    row = Row(module)
    weights = row.join(module).requires_grad_()
    functional_call(module, row.split(weights), (images,)).square().sum().backward()
    expected = torch.cat([parameter.grad.flatten() for parameter in module.parameters()])
    assert torch.allclose(weights.grad, expected)


def test_norms_and_biases_do_not_decay(module):
    module(torch.rand(1, 3, 6, 6))
    row = Row(module)
    decaying = [name for name, part in row.split(row.decay_mask()).items() if part.all()]
    assert decaying == ["0.weight", "3.weight"]
    assert row.decay_mask().sum() == module[0].weight.numel() + module[3].weight.numel()


def test_a_seeded_block_repeats_itself_and_leaves_the_stream_where_it_was():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    blocks = []
    for seed in (1, 1, 2):
        with seeded(seed):
            blocks.append(torch.rand(3))
    assert torch.equal(blocks[0], blocks[1])
    assert not torch.equal(blocks[0], blocks[2])
    assert torch.equal(torch.rand(3), expected)


def test_the_stream_is_put_back_after_an_error():
    def fail() -> None:
        with seeded(3):
            torch.rand(1)
            raise KeyError

    state = torch.random.get_rng_state()
    with pytest.raises(KeyError):
        fail()
    assert torch.equal(torch.random.get_rng_state(), state)
