"""SSIM against scikit-image, and its hand-written gradient against finite differences."""

from __future__ import annotations

import pytest
import torch
from skimage.metrics import structural_similarity

from napari_emgauss.fitting._losses import charbonnier, reconstruction_loss, ssim_map


def pair(height: int = 21, width: int = 33) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    target = torch.rand(2, 1, height, width, generator=generator, dtype=torch.float64)
    return (0.7 * target + 0.2 * torch.rand(target.shape, generator=generator, dtype=torch.float64)), target


def test_ssim_is_that_of_scikit_image_away_from_the_border() -> None:
    image, target = pair()
    _, expected = structural_similarity(
        image[0, 0].numpy(),
        target[0, 0].numpy(),
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
        truncate=5 / 1.5,
    )
    found = ssim_map(image, target)[0, 0].numpy()
    assert found[5:-5, 5:-5] == pytest.approx(expected[5:-5, 5:-5], abs=1e-9)


def test_equal_images_are_wholly_similar_up_to_the_border() -> None:
    _, target = pair()
    assert ssim_map(target, target).numpy() == pytest.approx(1.0)
    flat = torch.full((1, 1, 9, 14), 0.3, dtype=torch.float64)
    assert ssim_map(flat, flat + 0.1).std().item() < 1e-9  # the border is not darker


@pytest.mark.parametrize("size", [(9, 13), (4, 3)])
def test_gradient(size: tuple[int, int]) -> None:
    image, target = pair(*size)
    image.requires_grad_()
    confidence = torch.linspace(0, 1, size[1], dtype=torch.float64).expand_as(image)
    for epsilon in (0.05, 0.5):
        assert torch.autograd.gradcheck(
            lambda x, e=epsilon: reconstruction_loss(x, target, dssim_weight=0.3, epsilon=e, confidence=confidence),
            (image,),
        )


def test_loss_by_hand() -> None:
    image, target = torch.full((1, 1, 2, 2), 0.5), torch.tensor([[[[0.5, 0.7], [0.1, 0.5]]]])
    plain = reconstruction_loss(image, target, dssim_weight=0.0, epsilon=0.0)
    assert plain.item() == pytest.approx((0.2 + 0.4) / 4)
    trusted = torch.tensor([[[[1.0, 0.5], [0.0, 1.0]]]])
    weighted = reconstruction_loss(image, target, dssim_weight=0.0, epsilon=0.0, confidence=trusted)
    assert weighted.item() == pytest.approx(0.1 / 4)
    mixed = reconstruction_loss(image, target, dssim_weight=0.2, epsilon=0.0)
    expected = 0.8 * plain + 0.2 * (1 - ssim_map(image, target)).mean()
    assert mixed.item() == pytest.approx(expected.item())


def test_charbonnier() -> None:
    d = torch.tensor([-0.3, 0.0, 0.4])
    assert torch.equal(charbonnier(d, 0.0), d.abs())
    assert charbonnier(d, 0.3).tolist() == pytest.approx([0.3 * 2**0.5 - 0.3, 0.0, 0.2])
