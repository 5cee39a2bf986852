"""Style transfer: against definitions and scikit-image, geometry unchanged."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import color, exposure
from torch import Tensor

from trocar.contract.errors import ArgumentError, ConfigError, DataError
from trocar.contract.media.pictures import write_picture
from trocar.train.data import style
from trocar.train.data.readers.folder import scan
from trocar.train.data.sample import FrameSet


def images(seed: int, count: int = 2, height: int = 40, width: int = 50) -> Tensor:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        made.append(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("kind", ["fourier", "reinhard", "histogram", "none"])
def test_every_style_keeps_shape_range_and_gives_itself_back(kind: str) -> None:
    transfer = style.make_style(kind, beta=0.05)
    source, target = images(0), images(1, 3, 30, 70)
    out = transfer(source, target)
    assert out.shape == source.shape
    assert out.dtype == torch.float32
    assert float(out.min()) >= 0
    assert float(out.max()) <= 255
    assert torch.isfinite(out).all()
    same = transfer(source, source)
    assert torch.allclose(same, source, atol=0.5)
    assert not out.requires_grad


def test_fourier_equals_its_definition() -> None:
    source, target = images(2, 1)[0].numpy(), images(3, 1)[0].numpy()
    spectrum = np.fft.fftshift(np.fft.fft2(source), axes=(1, 2))
    other = np.fft.fftshift(np.fft.fft2(target), axes=(1, 2))
    amplitude, phase = np.abs(spectrum), np.angle(spectrum)
    b, cy, cx = int(0.1 * 40), 20, 25
    window = np.s_[:, cy - b : cy + b + 1, cx - b : cx + b + 1]
    amplitude[window] = np.abs(other)[window]
    back = np.fft.ifft2(np.fft.ifftshift(amplitude * np.exp(1j * phase), axes=(1, 2))).real
    got = style.fourier(torch.from_numpy(source)[None], torch.from_numpy(target)[None], beta=0.1)
    assert np.allclose(got[0].numpy(), back.clip(0, 255), atol=1e-2)


def test_fourier_with_no_reach_exchanges_the_mean() -> None:
    source = images(4, 1) * 0.2 + 100
    target = images(5, 1) * 0.1 + 90
    out = style.fourier(source, target, beta=0.0)
    assert torch.allclose(out.mean((2, 3)), target.mean((2, 3)), atol=1e-2)
    assert torch.allclose(
        out - out.mean((2, 3), True), source - source.mean((2, 3), True), atol=1e-2
    )


def test_lab_equals_scikit_image_both_ways() -> None:
    source = images(6, 1)
    rgb = source[0].permute(1, 2, 0).numpy() / 255
    lab = style.lab_from_rgb(source)
    assert np.allclose(lab[0].permute(1, 2, 0).numpy(), color.rgb2lab(rgb), atol=2e-2)
    assert torch.allclose(style.rgb_from_lab(lab), source, atol=2e-2)


def test_reinhard_gives_the_targets_statistics() -> None:
    source = images(7) * 0.3 + 90  # far from the ends of the range: nothing is clipped
    target = images(8) * 0.2 + 100
    lab = style.lab_from_rgb(style.reinhard(source, target, max_ratio=9, keep_grey=False))
    wanted = style.lab_from_rgb(target)
    assert torch.allclose(lab.mean((2, 3)), wanted.mean((2, 3)), atol=0.3)
    assert torch.allclose(lab.std((2, 3)), wanted.std((2, 3)), atol=0.3)


def round_view(image: Tensor) -> Tensor:
    """The image with black corners, as an endoscope shows it."""
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(50), indexing="ij")
    outside = (rows - 20) ** 2 + (columns - 25) ** 2 > 18**2
    return image.masked_fill(outside, 0)


def test_reinhard_leaves_black_out_of_the_statistics_and_as_it_was() -> None:
    source, target = images(7) * 0.3 + 90, images(8) * 0.2 + 100
    whole = style.reinhard(source, target, max_ratio=9, keep_grey=False)
    out = style.reinhard(round_view(source), round_view(target), max_ratio=9, keep_grey=False)
    assert torch.equal(out == 0, round_view(source) == 0)
    lit = (out > 0).all(1)
    lab, wanted = style.lab_from_rgb(out), style.lab_from_rgb(round_view(target))
    for own, other, shown in zip(lab, wanted, lit, strict=True):
        assert torch.allclose(own[:, shown].mean(1), other[:, shown].mean(1), atol=0.3)
        assert torch.allclose(own[:, shown].std(1), other[:, shown].std(1), atol=0.3)
    assert not torch.allclose(whole, source, atol=5)
    # Without a lit pixel there is nothing to transfer.
    assert torch.equal(style.reinhard(source, target * 0), source)
    assert torch.equal(style.reinhard(source * 0, target), source * 0)


def test_the_ratio_of_reinhard_is_bounded() -> None:
    source, target = images(7) * 0.02 + 120, images(8) * 0.5 + 60

    def ratio(before: Tensor, look: Tensor, **how: float) -> Tensor:
        after = style.reinhard(before, look, keep_grey=False, **how)
        own, other = style.lab_from_rgb(after), style.lab_from_rgb(before)
        return own.std((2, 3)) / other.std((2, 3))

    assert float(ratio(source, target).max()) < style.MAX_RATIO + 0.05
    assert float(ratio(source, target, max_ratio=1e9).max()) > 4
    assert float(ratio(target, source).min()) > 1 / style.MAX_RATIO - 0.05


def test_a_grey_shaft_stays_grey_beside_tissue_of_another_hue() -> None:
    source, target = torch.empty(1, 3, 40, 50), torch.empty(1, 3, 40, 50)
    noise = torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(0)) * 20
    source[:] = torch.tensor([180.0, 90.0, 80.0])[None, :, None, None]
    target[:] = torch.tensor([150.0, 130.0, 110.0])[None, :, None, None]
    source[..., 15:25, :] = 120  # the shaft
    source, target = source + noise, target + noise
    shaft = (slice(None), slice(1, None), slice(15, 25))

    def greyness(image: Tensor) -> float:
        return float(style.lab_from_rgb(image)[shaft].square().sum(1).sqrt().mean())

    plain, ours = style.reinhard(source, target, keep_grey=False), style.reinhard(source, target)
    assert greyness(plain) > greyness(source) + 8
    assert greyness(ours) < greyness(source) + 4
    tissue = (slice(None), slice(1, None), slice(0, 15))
    wanted = style.lab_from_rgb(target)[tissue].mean((2, 3))
    before = (style.lab_from_rgb(source)[tissue].mean((2, 3)) - wanted).abs().max()
    assert (style.lab_from_rgb(ours)[tissue].mean((2, 3)) - wanted).abs().max() < 0.6 * before


def test_strength_makes_a_share_of_the_change() -> None:
    source, target = images(7), images(8)
    whole = style.make_style("reinhard")(source, target)
    half = style.make_style("reinhard", strength=0.5)(source, target)
    assert torch.allclose(half, (source + whole) / 2, atol=1e-3)
    assert torch.equal(style.make_style("reinhard", strength=0.0)(source, target), source)


@pytest.mark.parametrize("kind", ["fourier", "reinhard", "histogram"])
def test_autocast_does_not_reach_a_style(kind: str) -> None:
    source, target = images(7), images(8)
    transfer = style.make_style(kind)
    with torch.autocast("cpu", torch.bfloat16):
        cast = transfer(source, target)
    assert torch.equal(cast, transfer(source, target))


def test_histogram_equals_scikit_image() -> None:
    source, target = images(9, 1), images(10, 1, 32, 44)
    target[:, 1] = target[:, 1].clamp(40, 90)
    same_size = torch.nn.functional.interpolate(target, size=(40, 50), mode="nearest")
    got = style.histogram(source, same_size)[0].permute(1, 2, 0).numpy()
    expected = exposure.match_histograms(
        source[0].permute(1, 2, 0).numpy().astype(np.uint8),
        same_size[0].permute(1, 2, 0).numpy().astype(np.uint8),
        channel_axis=-1,
    )
    assert np.abs(got - expected).max() <= 1.0  # scikit-image rounds to whole levels
    assert np.abs(got - expected).mean() < 0.6


def test_histogram_of_one_level_is_finite() -> None:
    flat = torch.full((1, 3, 8, 8), 10.0)
    assert torch.allclose(style.histogram(flat, flat * 3), flat * 3)
    assert torch.isfinite(style.reinhard(flat, images(0, 1))).all()


def test_sources_pair_with_targets_in_turn() -> None:
    source, target = images(0, 3), images(1, 2)
    out = style.reinhard(source, target)
    assert torch.allclose(out[2:], style.reinhard(source[2:], target[:1]), atol=1e-3)


def test_wrong_calls_say_what_was_expected() -> None:
    with pytest.raises(ConfigError, match="did you mean fourier"):
        style.make_style("furier")
    with pytest.raises(ConfigError, match="beta"):
        style.make_style("fourier", beta=0.7)
    with pytest.raises(ArgumentError, match=r"expected \[B, 3, H, W\]"):
        style.reinhard(images(0)[0], images(1))
    with pytest.raises(ArgumentError, match="no target"):
        style.histogram(images(0), images(1)[:0])


def source_set(root: Path) -> FrameSet:
    for name in ("a", "b", "c"):
        write_picture(root / "images" / f"{name}.png", np.zeros((6, 8, 3), np.uint8))
    return scan(root).frames


def test_a_folder_of_transferred_pictures(tmp_path: Path) -> None:
    frames = source_set(tmp_path / "source")
    styled = tmp_path / "styled"
    for name in ("a", "b"):
        write_picture(styled / f"{name}.png", np.full((6, 8, 3), 200, np.uint8))
    with pytest.raises(DataError, match=r"1 fault\n.*c\.png: is missing"):
        style.transferred_frames(frames, styled)
    write_picture(styled / "c.png", np.full((7, 8, 3), 200, np.uint8))
    swapped = style.transferred_frames(frames, styled)
    assert int(swapped.read(swapped.items[0]).image.min()) == 200
    with pytest.raises(DataError, match="is 8x7, its source"):
        swapped.read(swapped.items[2])
