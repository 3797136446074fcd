"""Augmentation: one by one equals batched, and each part does what its name says."""

import numpy as np
import scipy.ndimage
import torch

from mris.training.augmentation import Augmentation, AugmentationDraw, apply_augmentation, draw_augmentation

STILL = {"rotation": 0.0, "translation": 0.0, "contrast": 0.0, "noise": 0.0}


def images(n: int = 5, h: int = 24, w: int = 24) -> torch.Tensor:
    return torch.rand(n, 1, h, w, generator=torch.Generator().manual_seed(0))


def rows_of(draw: AugmentationDraw, i: int) -> AugmentationDraw:
    return AugmentationDraw(draw.angles[i, None], draw.shifts[i, None], draw.contrasts[i, None], draw.noise[i, None])


def test_a_batch_is_augmented_as_its_images_one_by_one() -> None:
    batch = images()
    draw = draw_augmentation(tuple(batch.shape), Augmentation(), torch.Generator().manual_seed(1))
    together = apply_augmentation(batch, draw)
    alone = torch.cat([apply_augmentation(batch[i, None], rows_of(draw, i)) for i in range(len(batch))])
    torch.testing.assert_close(together, alone)


def test_each_image_of_a_batch_gets_its_own_angle() -> None:
    draw = draw_augmentation((64, 1, 4, 4), Augmentation(rotation=15), torch.Generator().manual_seed(0))
    degrees = draw.angles.numpy() * 180 / np.pi
    assert len(np.unique(degrees)) == 64
    assert np.abs(degrees).max() <= 15
    assert degrees.std() > 5


def test_rotation_agrees_with_scipy_on_a_smooth_image_that_is_not_square() -> None:
    h, w = 40, 64
    y, x = np.mgrid[:h, :w]
    smooth = np.exp(-((x - 40) ** 2 + (y - 16) ** 2) / 60).astype(np.float32)
    draw = AugmentationDraw(
        torch.tensor([np.deg2rad(12.0)], dtype=torch.float32), torch.zeros(1, 2), torch.ones(1), torch.zeros(1, 1, h, w)
    )
    turned = apply_augmentation(torch.from_numpy(smooth)[None, None], draw)[0, 0].numpy()
    oracles = [scipy.ndimage.rotate(smooth, angle, reshape=False, order=1) for angle in (12, -12)]
    assert min(np.abs(turned - oracle).max() for oracle in oracles) < 0.02


def test_a_shift_moves_an_image_by_at_most_the_asked_share_of_its_side() -> None:
    h, w = 40, 64
    spots = torch.zeros(200, 1, h, w)
    spots[:, 0, 20, 32] = 1
    moving = draw_augmentation((200, 1, h, w), Augmentation(**{**STILL, "translation": 0.25}), torch.Generator())
    moved = apply_augmentation(spots, moving)[:, 0]
    rows = (moved.sum(dim=2) @ torch.arange(h, dtype=torch.float32)) / moved.sum(dim=(1, 2)) - 20
    columns = (moved.sum(dim=1) @ torch.arange(w, dtype=torch.float32)) / moved.sum(dim=(1, 2)) - 32
    for found, side in ((rows, h), (columns, w)):
        assert found.abs().max() <= 0.25 * side + 0.01
        assert found.min() < -0.2 * side and found.max() > 0.2 * side


def test_contrast_keeps_the_mean_and_noise_has_the_asked_size() -> None:
    batch = images(64)
    contrast = draw_augmentation(tuple(batch.shape), Augmentation(**{**STILL, "contrast": 0.5}), torch.Generator())
    changed = apply_augmentation(batch, contrast)
    torch.testing.assert_close(changed.mean(dim=(1, 2, 3)), batch.mean(dim=(1, 2, 3)), rtol=1e-4, atol=1e-5)
    assert (changed.std(dim=(1, 2, 3)) / batch.std(dim=(1, 2, 3)) - contrast.contrasts).abs().max() < 1e-3
    noisy = draw_augmentation(tuple(batch.shape), Augmentation(**{**STILL, "noise": 0.1}), torch.Generator())
    added = (apply_augmentation(batch, noisy) - batch).std(dim=(1, 2, 3))
    assert added.max() < 0.12
    assert added.max() > 0.05


def test_the_same_generator_state_gives_the_same_draw() -> None:
    first, second = (
        draw_augmentation((3, 1, 8, 8), Augmentation(), torch.Generator().manual_seed(9)) for _ in range(2)
    )
    assert torch.equal(first.angles, second.angles)
    assert torch.equal(first.noise, second.noise)


def test_a_later_kind_of_variation_leaves_the_draws_of_the_others_alone() -> None:
    more = Augmentation(scale=0.1, stretch=0.1, gamma=0.3, equalization=0.5, shading=0.1, blur=1.0)
    draws = [draw_augmentation((4, 1, 8, 8), s, torch.Generator().manual_seed(5)) for s in (Augmentation(), more)]
    for name in ("angles", "shifts", "contrasts", "noise"):
        torch.testing.assert_close(getattr(draws[0], name), getattr(draws[1], name), rtol=0, atol=0)


def test_a_batch_varied_in_every_way_is_that_of_its_images_one_by_one() -> None:
    batch = images()
    settings = Augmentation(scale=0.1, stretch=0.1, gamma=0.3, equalization=0.5, shading=0.1, blur=1.0)
    draw = draw_augmentation(tuple(batch.shape), settings, torch.Generator().manual_seed(1))
    together = apply_augmentation(batch, draw)
    own = [AugmentationDraw(*(part[i, None] for part in vars(draw).values())) for i in range(len(batch))]
    alone = torch.cat([apply_augmentation(batch[i, None], one) for i, one in enumerate(own)])
    torch.testing.assert_close(together, alone)


def test_a_disk_grows_by_the_square_of_its_scale() -> None:
    y, x = np.mgrid[:64, :64] - 31.5
    disk = torch.from_numpy((np.hypot(x, y) < 12).astype(np.float32)).expand(50, 1, 64, 64)
    settings = Augmentation(**STILL, scale=0.3)
    draw = draw_augmentation((50, 1, 64, 64), settings, torch.Generator().manual_seed(0))
    assert draw.scales is not None
    areas = apply_augmentation(disk, draw).sum(dim=(1, 2, 3)) / disk[0].sum()
    torch.testing.assert_close(areas, draw.scales.prod(dim=1), rtol=0.02, atol=0)
    assert draw.scales.log().abs().max() <= 0.3
    assert draw.scales.log().std() > 0.1


def test_blur_agrees_with_scipy() -> None:
    batch = images(3, 40, 40)
    draw = draw_augmentation(tuple(batch.shape), Augmentation(**STILL, blur=2.0), torch.Generator().manual_seed(0))
    assert draw.blurs is not None
    blurred = apply_augmentation(batch, draw)[:, 0]
    for image, found, width in zip(batch[:, 0], blurred, draw.blurs, strict=True):
        oracle = scipy.ndimage.gaussian_filter(image.numpy(), float(width), mode="nearest", truncate=5)
        assert np.abs(found.numpy() - oracle).max() < 0.02


def test_an_equalized_image_forgets_its_brightness_and_contrast() -> None:
    batch = images(1).expand(200, 1, 24, 24)
    settings = Augmentation(**STILL, equalization=1.0)
    draw = draw_augmentation(tuple(batch.shape), settings, torch.Generator().manual_seed(0))
    assert draw.equalization is not None
    most = int(draw.equalization.argmax())
    shown, darker = (apply_augmentation(images, draw)[most] for images in (batch, 0.2 + 0.5 * batch))
    assert (shown - darker).abs().mean() < 0.02


def test_shading_is_smooth_and_gamma_keeps_black_and_white() -> None:
    flat = torch.full((20, 1, 32, 32), 0.5)
    shaded = apply_augmentation(
        flat, draw_augmentation((20, 1, 32, 32), Augmentation(**STILL, shading=0.1), torch.Generator().manual_seed(0))
    )
    assert shaded.std(dim=(1, 2, 3)).max() > 0.03
    assert shaded.diff(dim=3).abs().max() < 0.1
    ends = torch.tensor([0.0, 1.0]).repeat(20, 1, 8, 4)
    bent = apply_augmentation(
        ends, draw_augmentation((20, 1, 8, 8), Augmentation(**STILL, gamma=0.5), torch.Generator().manual_seed(0))
    )
    assert (bent - ends).abs().max() < 0.01
