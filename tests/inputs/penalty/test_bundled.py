# SPDX-License-Identifier: Apache-2.0
"""Penalty images without files: natural in their statistics, without repetition, and without a network."""

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anomalib_scdae.inputs.penalty import BundledImages, bundled
from anomalib_scdae.inputs.penalty.base import random_generator
from anomalib_scdae.inputs.penalty.natural_textures import dead_leaves, spectral_noise
from anomalib_scdae.inputs.penalty.photographs import PHOTOGRAPHS, ImagePyramid, installed_photographs


@pytest.fixture(scope="module")
def images() -> BundledImages:
    return BundledImages((128, 128), seed=5)


def test_photographs_come_with_scikit_image() -> None:
    photographs = installed_photographs()
    assert photographs.keys() == PHOTOGRAPHS.keys()
    assert min(min(picture.levels[0].size) for picture in photographs.values()) > 150


def test_no_connection_is_ever_attempted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", lambda *args, **kwargs: pytest.fail("opens a connection"))
    BundledImages((64, 64))[0]


def test_pictures_do_not_repeat(images: BundledImages) -> None:
    """No two of a hundred are alike, not even when reduced to 8 x 8 pixels."""
    small = torch.stack([torch.nn.functional.adaptive_avg_pool2d(images[k], 8).flatten() for k in range(100)])
    distance = torch.cdist(small, small) + torch.eye(100) * 99
    assert distance.min() > 0.1


def test_statistics_are_those_of_natural_images(images: BundledImages) -> None:
    """The mean amplitude spectrum falls about like 1/f, and contrast is that of photographs."""
    gray = torch.stack([images[k].mean(dim=0) for k in range(150)]).double()
    amplitude = torch.fft.fft2(gray - gray.mean(dim=(1, 2), keepdim=True)).abs().mean(dim=0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    band = (frequency > 0.02) & (frequency < 0.35)
    slope = np.polyfit(np.log(frequency[band]), np.log(amplitude.numpy()[band]), 1)[0]
    assert -1.6 < slope < -0.8
    assert 0.12 < float(gray.std(dim=(1, 2)).mean()) < 0.3
    assert 0.3 < float(gray.mean()) < 0.6


def test_textures_stand_in_where_scikit_image_has_no_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some distributions leave them out."""
    monkeypatch.setattr(bundled, "installed_photographs", dict)
    images = BundledImages((64, 64))
    assert images.source.startswith("bundled (0 photographs")
    assert all(0.01 < images[k].std() < 0.6 for k in range(20))
    assert all(torch.isfinite(images[k]).all() for k in range(20))


@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    picture=st.tuples(st.integers(64, 300), st.integers(64, 300)),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_views_never_reach_over_the_edge(size: tuple[int, int], picture: tuple[int, int], seed: int) -> None:
    white = ImagePyramid.from_image(Image.new("L", picture, 255), is_gray=True)
    view = white.view(size, random_generator(seed))
    assert view.shape == (*size, 3)
    assert view.min() == 255


@given(count=st.integers(1, 255), seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_leaves(count: int, seed: int) -> None:
    leaf = dead_leaves(random_generator(seed), (60, 80), count)
    assert leaf.shape == (60, 80)
    assert leaf.max() <= count
    assert len(np.unique(leaf)) > 1


@pytest.mark.parametrize("exponent", [0.8, 1.0, 1.8])
def test_spectrum_of_noise(exponent: float) -> None:
    noise = spectral_noise(random_generator(1), 128, exponent)
    np.testing.assert_allclose(noise.mean(axis=(0, 1)), 0, atol=1e-4)
    np.testing.assert_allclose(noise.std(axis=(0, 1)), 1, atol=1e-4)
    amplitude = np.abs(np.fft.fft2(noise, axes=(0, 1))).mean(axis=2)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    band = (frequency > 0.02) & (frequency < 0.4)
    slope = np.polyfit(np.log(frequency[band]), np.log(amplitude[band]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.05)


@pytest.mark.slow
def test_same_images_in_another_process(images: BundledImages, tmp_path: Path) -> None:
    """Nothing depends on hash randomisation or on the order of a folder."""
    path = tmp_path / "images.pt"
    code = (
        "import sys, torch; from anomalib_scdae.inputs.penalty import BundledImages;"
        "images = BundledImages((128, 128), seed=5); torch.save([images[k] for k in range(20)], sys.argv[1])"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, path], check=True)
    assert all(torch.equal(image, images[k]) for k, image in enumerate(torch.load(path, weights_only=True)))
