# SPDX-License-Identifier: Apache-2.0
"""Penalty images from a folder: EfficientAd's transform, one pass after the other, unreadable files passed over."""

import logging
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import CenterCrop, Compose, RandomGrayscale, Resize, ToTensor

from anomalib_scdae.errors import UserError
from anomalib_scdae.inputs.penalty import FolderImages
from anomalib_scdae.inputs.penalty.base import is_grayscale, random_generator
from anomalib_scdae.inputs.penalty.folder import _IMAGE, _permutation

GENERATOR = np.random.default_rng(0)


def save(path: Path, pixels: np.ndarray | None = None, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels is None:
        pixels = GENERATOR.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def flat(path: Path, value: int) -> Path:
    return save(path, np.full((8, 8, 3), value, np.uint8))


def values(images: FolderImages, first: int, count: int) -> list[int]:
    """Which files come, where each file is of one grey level."""
    return [round(255 * float(images[first + k][0, 0, 0])) for k in range(count)]


@pytest.mark.filterwarnings("ignore:The transform `ToTensor")
@pytest.mark.parametrize("size", [(64, 64), (48, 96), (65, 77)])
@pytest.mark.parametrize("shape", [(90, 120, 3), (300, 500, 3), (100, 100)])
def test_transform_is_that_of_efficientad(tmp_path: Path, size: tuple[int, int], shape: tuple[int, ...]) -> None:
    path = save(tmp_path / "photo.png", GENERATOR.integers(0, 256, shape, dtype=np.uint8))
    images = FolderImages(tmp_path, size)
    coins = set()
    for index in range(12):
        coin = is_grayscale(random_generator(images.seed, _IMAGE, index))
        coins.add(coin)
        reference = Compose(
            [Resize((size[0] * 2, size[1] * 2)), RandomGrayscale(p=float(coin)), CenterCrop(size), ToTensor()]
        )
        with Image.open(path) as picture:
            assert torch.equal(images[index], reference(picture.convert("RGB")))
    assert coins == {True, False}


def test_large_jpeg_looks_the_same_although_decoded_at_a_fraction(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 2000, dtype=np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp[None, :], ramp[:1500, None], np.uint8(99)), axis=-1)
    save(tmp_path / "jpeg" / "a.jpg", pixels, quality=95)
    save(tmp_path / "png" / "a.png", pixels)
    jpeg, png = (FolderImages(tmp_path / kind, (64, 64))[0] for kind in ("jpeg", "png"))
    torch.testing.assert_close(jpeg, png, atol=0.02, rtol=0)


@given(count=st.integers(1, 40), seed=st.integers(0, 2**32), epoch=st.integers(0, 10**6))
def test_every_pass_is_a_permutation(count: int, seed: int, epoch: int) -> None:
    assert sorted(_permutation(count, seed, epoch)) == list(range(count))


def test_passes_differ() -> None:
    assert len({tuple(_permutation(10, 0, epoch)) for epoch in range(50)}) > 40


@pytest.fixture(scope="module")
def greys(tmp_path_factory: pytest.TempPathFactory) -> FolderImages:
    folder = tmp_path_factory.mktemp("greys")
    for value in range(9):
        flat(folder / f"{value}.png", value)
    return FolderImages(folder, (4, 4))


@given(epoch=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_every_file_is_seen_once_before_any_repeats(greys: FolderImages, epoch: int) -> None:
    assert sorted(values(greys, 9 * epoch, 9)) == list(range(9))


def test_trees_of_any_depth_and_extensions_of_either_case(tmp_path: Path) -> None:
    names = ["a.jpg", "b.JPEG", "n01440764/c.PNG", "train/n02/deep/d.Bmp", "e.webp", "f.TIFF"]
    for name in names:
        save(tmp_path / name)
    (tmp_path / "readme.txt").write_text("no image")
    save(tmp_path / ".cache" / "thumbnail.png")
    (tmp_path / "._a.jpg").write_bytes(b"what macOS leaves beside a file")
    images = FolderImages(tmp_path, (8, 8))
    assert [Path(name).as_posix() for name in images.files] == sorted(names)
    assert images.source == f"{tmp_path} (6 images)"


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_linked_folders_are_followed(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "link").symlink_to(tmp_path / "elsewhere")
    assert FolderImages(tmp_path / "images", (8, 8)).files == [str(Path("link", "a.png"))]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16", "1", "LA"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(GENERATOR.integers(0, 256, (30, 40), dtype=np.uint8))
    picture = Image.fromarray(np.asarray(picture, np.uint16)) if mode == "I;16" else picture.convert(mode)
    picture.save(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))
    assert FolderImages(tmp_path, (8, 8))[0].shape == (3, 8, 8)


def test_unreadable_files_are_passed_over_and_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for value in (1, 2, 3):
        flat(tmp_path / f"{value}.png", value)
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not an image")
    whole = save(tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    images = FolderImages(tmp_path, (4, 4))
    for epoch in range(3):
        assert Counter(values(images, 6 * epoch, 6)).keys() == {1, 2, 3}
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert sorted(name for name in ("empty.png", "text.jpg", "cut.jpg") for line in warnings if name in line) == [
        "cut.jpg",
        "empty.png",
        "text.jpg",
    ]
    assert len(warnings) == 3


def test_unreadable_files_do_not_shift_the_others(tmp_path: Path) -> None:
    """What stands in for a file depends on the index alone, so that resumed training sees the same."""
    for value in range(5):
        flat(tmp_path / f"{value}.png", value)
    before = values(FolderImages(tmp_path, (4, 4)), 0, 20)
    (tmp_path / "3.png").write_bytes(b"damaged")
    after = values(FolderImages(tmp_path, (4, 4)), 0, 20)
    assert [a for a, b in zip(after, before, strict=True) if b != 3] == [b for b in before if b != 3]
    assert 3 not in after


def test_folder_without_a_readable_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    (tmp_path / "b.png").write_bytes(b"2")
    with pytest.raises(UserError, match=r"none of 2 files .* can be read, the last: [ab]\.png"):
        FolderImages(tmp_path)


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match="holds no images"):
        FolderImages(tmp_path)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist: pass 'auto', 'bundled', 'imagenette' or a folder"):
        FolderImages(tmp_path / "none")
