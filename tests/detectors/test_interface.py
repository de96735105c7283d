import pytest
import torch

from mapopt.detectors.interface import normalize, prior_logit


def test_normalizing_is_affine_and_maps_imagenets_mean_to_zero():
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None] * 255
    assert torch.allclose(normalize(mean.expand(2, 3, 4, 5)), torch.zeros(2, 3, 4, 5), atol=1e-6)
    step = normalize(mean + 255 * torch.tensor([0.229, 0.224, 0.225])[:, None, None])
    assert torch.allclose(step, torch.ones(3, 1, 1), atol=1e-6)


@pytest.mark.parametrize("probability", [0.001, 0.01, 0.5, 0.9])
def test_the_prior_logit_has_the_probability_it_is_named_for(probability):
    assert torch.tensor(prior_logit(probability), dtype=torch.float64).sigmoid().item() == pytest.approx(probability)
