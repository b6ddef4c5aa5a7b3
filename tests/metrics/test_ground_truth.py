# SPDX-License-Identifier: Apache-2.0
"""The same mask files and the same pixels as Anomalib's, wherever it has an answer."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from anomalib.data.datasets.image.folder import make_folder_dataset
from anomalib.data.datasets.image.mvtec_loco import make_dataset as make_mvtec_loco_dataset
from anomalib.data.datasets.image.mvtecad import make_mvtec_ad_dataset
from anomalib.data.errors import MisMatchError
from anomalib.data.utils import read_mask as anomalibs_read_mask
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from anomalib_scdae.errors import UserError
from anomalib_scdae.image_files import IMAGE_SUFFIXES
from anomalib_scdae.metrics.ground_truth import (
    Saturation,
    mask_files,
    read_defects_config,
    read_ground_truth,
    read_mask,
)
from anomalib_scdae.metrics.map_files import find_map, map_file

#: Modes of Pillow that a file format of the suffix can hold.
MODES = {
    ".png": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    ".tif": ["1", "L", "P", "RGB", "I", "I;16", "F"],
    ".bmp": ["1", "L", "P", "RGB"],
    ".jpg": ["L", "RGB", "CMYK"],
    ".webp": ["L", "RGB", "RGBA"],
}


@st.composite
def masks(draw):
    """A mask of any size and mode that a suffix allows, and the suffix in either case."""
    suffix = draw(st.sampled_from(sorted(MODES)))
    mode = draw(st.sampled_from(MODES[suffix]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.tuples(st.integers(2, 40), st.integers(2, 40)))
    gray = random.integers(0, 256, shape) * (random.random(shape) < 0.5)
    if mode in {"I", "I;16", "F"}:
        image = Image.fromarray(
            (gray * draw(st.sampled_from([1, 100]))).astype({"I": "i4", "I;16": "u2", "F": "f4"}[mode])
        )
    elif mode == "P":
        image = Image.fromarray((gray % 7).astype(np.uint8))
        image.putpalette(random.integers(0, 256, 21, dtype=np.uint8).tobytes())
    else:
        image = Image.fromarray(gray.astype(np.uint8)).convert(mode)
    return image, draw(st.sampled_from([suffix, suffix.upper()]))


@given(masks())
@settings(max_examples=100)
def test_pixels_are_anomalibs(drawn):
    image, suffix = drawn
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"mask{suffix}"
        image.save(file)
        ours = read_mask(file)
        np.testing.assert_array_equal(ours, anomalibs_read_mask(file))
        np.testing.assert_array_equal(ours > 0, anomalibs_read_mask(file, as_tensor=True).numpy())


def test_suffixes_are_anomalibs():
    assert set(IMAGE_SUFFIXES) == set(IMG_EXTENSIONS)


# Digits and dots only: Anomalib finds a mask whose name contains the image's, and "m" is part of "_mask".
STEMS = st.from_regex(r"[0-2]{1,3}(\.[0-2]{1,3}){0,2}", fullmatch=True)
NAMES = st.lists(STEMS, min_size=1, max_size=5, unique=True)


def touch(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


def chosen(make, *args, **kwargs):
    """Image and mask paths of the anomalous images of one of Anomalib's data sets."""
    try:
        samples = make(*args, **kwargs)
    except MisMatchError:
        assume(False)  # Anomalib has no answer
    samples = samples[samples.label_index == 1]
    return [(Path(image), mask) for image, mask in zip(samples.image_path, samples.mask_path, strict=True)]


@settings(max_examples=50)
@given(NAMES, st.sampled_from([".png", ".PNG"]), st.sampled_from(["_mask", ""]), st.sampled_from([".png", ".PNG"]))
def test_files_are_those_of_mvtec_ad(names, suffix, ending, mask_suffix):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        touch(root / "train/good/0.png")
        for name in names:
            touch(root / "test/crack" / f"{name}{suffix}")
            touch(root / "ground_truth/crack" / f"{name}{ending}{mask_suffix}")
        pairs = chosen(make_mvtec_ad_dataset, root, split="test")
        assert len(pairs) == len(names)
        for image, mask in pairs:
            assert mask_files(image) == mask_files(image, Path(mask)) == [Path(mask)]


@given(
    st.lists(st.from_regex(r"[0-2]{1,3}", fullmatch=True), min_size=1, unique=True), st.integers(1, 3), st.booleans()
)
@settings(max_examples=30)
def test_files_are_those_of_mvtec_loco(names, channels, foreign):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        touch(root / "train/good/0.png")
        for name in names:
            touch(root / "test/logical_anomalies" / f"{name}.png")
            for channel in range(channels):
                touch(
                    root / "ground_truth/logical_anomalies" / name / f"{channel:03}.{'PNG' if channel == 1 else 'png'}"
                )
            if foreign:
                touch(root / "ground_truth/logical_anomalies" / name / "000.jpg")
                touch(root / "ground_truth/logical_anomalies" / name / "notes.txt")
        pairs = chosen(make_mvtec_loco_dataset, root, split="test")
        assert len(pairs) == len(names)
        for image, masks_of_image in pairs:
            expected = sorted(map(Path, masks_of_image))
            assert mask_files(image) == mask_files(image, Path(masks_of_image[0])) == expected


@given(NAMES, st.sampled_from(IMAGE_SUFFIXES), st.sampled_from(IMAGE_SUFFIXES))
def test_files_are_those_of_a_folder_dataset_whatever_lies_in_the_standard_place(names, suffix, mask_suffix):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        touch(root / "good/0.png")
        for name in names:
            touch(root / "test/crack" / f"{name}{suffix}")
            touch(root / "annotated" / f"{name}{mask_suffix}")
            touch(root / "ground_truth/crack" / f"{name}_mask.png")
        pairs = chosen(make_folder_dataset, "good", root, "test/crack", mask_dir="annotated")
        assert len(pairs) == len(names)
        for image, mask in pairs:
            assert mask_files(image, Path(mask)) == [Path(mask)]
            assert mask_files(image) == [root / "ground_truth/crack" / f"{image.stem}_mask.png"]


@given(NAMES, st.sampled_from(IMAGE_SUFFIXES), st.sampled_from([str.lower, str.upper]), st.sampled_from(["_mask", ""]))
def test_names_with_dots_and_every_suffix_have_masks_of_their_own(names, suffix, case, ending):
    """Where Anomalib has no answer: other suffixes than PNG in the benchmarks' layouts, dots in MVTec LOCO's."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in names:
            touch(root / "ground_truth/crack" / f"{name}{ending}{case(suffix)}")
            touch(root / "ground_truth/hole" / name / f"000{case(suffix)}")
        for name in names:
            expected = root / "ground_truth/crack" / f"{name}{ending}{case(suffix)}"
            assert mask_files(root / "test/crack" / f"{name}.webp") == [expected]
            expected = root / "ground_truth/hole" / name / f"000{case(suffix)}"
            assert mask_files(root / "test/hole" / f"{name}.webp") == [expected]
        assert mask_files(root / "test/crack/other.png") == []


def test_of_two_masks_an_image_has_the_one_of_its_suffix(tmp_path):
    for suffix in (".png", ".jpg"):
        touch(tmp_path / f"ground_truth/crack/000_mask{suffix}")
    for suffix in (".png", ".jpg"):
        assert mask_files(tmp_path / f"test/crack/000{suffix}") == [tmp_path / f"ground_truth/crack/000_mask{suffix}"]


@given(st.sets(st.tuples(STEMS, st.sampled_from([*IMAGE_SUFFIXES, ".png.bmp", ".PNG"])), min_size=1, max_size=8))
def test_no_two_images_share_a_map(images):
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "test/crack" / f"{stem}{suffix}" for stem, suffix in images]
        for file in files:
            touch(file)
        maps = [map_file(Path(folder) / "maps", file) for file in files]
        assert len(set(maps)) == len(files)
        for file, anomaly_map in zip(files, maps, strict=True):
            if sum(other.stem == file.stem for other in files) == 1 and file.stem not in {f.name for f in files}:
                assert anomaly_map.name == f"{file.stem}.tiff", "the benchmark's layout"
            touch(anomaly_map)
            assert find_map(Path(folder) / "maps", file) == anomaly_map


SPOILT = {
    "empty": b"",
    "text": b"a text file",
    "truncated": None,
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_mask_that_cannot_be_read_is_named(tmp_path, kind):
    file = tmp_path / "mask.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50), dtype=np.uint8)).save(file)
    file.write_bytes(file.read_bytes()[:1000] if kind == "truncated" else SPOILT[kind])
    with pytest.raises(UserError, match=r"mask\.png cannot be read") as caught:
        read_mask(file)
    assert "\n" not in str(caught.value)


def test_a_decompression_bomb_is_named(tmp_path, monkeypatch):
    file = tmp_path / "mask.png"
    Image.new("L", (40, 40), 255).save(file)
    image = tmp_path / "image.png"
    Image.new("L", (5, 5)).save(image)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match=r"mask\.png cannot be read"):
        read_ground_truth(image, [file])


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_a_mask_of_another_size_marks_the_same_place(down: int, across: int, seed: int) -> None:
    """And a saturation in pixels is the same share of it."""
    random = np.random.default_rng(seed)
    mask = np.zeros((12, 9), np.uint8)
    mask[random.integers(0, 6) : random.integers(7, 12), random.integers(0, 4) : random.integers(5, 9)] = 200
    with tempfile.TemporaryDirectory() as folder:
        image, file = Path(folder) / "test/part/000.png", Path(folder) / "ground_truth/part/000_mask.png"
        for path, array in ((image, np.zeros((12 * down, 9 * across), np.uint8)), (file, mask)):
            path.parent.mkdir(parents=True)
            Image.fromarray(array).save(path)
        for saturation in (Saturation(6, False), Saturation(0.5, True)):
            truth = read_ground_truth(image, [file], {200: saturation})
            expected = np.repeat(np.repeat(mask, down, axis=0), across, axis=1)
            (region,) = truth.regions
            assert truth.shape == expected.shape
            np.testing.assert_array_equal(region.pixels, np.flatnonzero(expected))
            whole = (mask > 0).sum() * down * across
            share = min(6 * down * across, whole) if not saturation.relative else whole // 2
            assert region.saturation_area == share
        Image.new("L", (9, 1)).save(image)
        thin = np.zeros((12, 9), np.uint8)
        thin[0] = 200
        Image.fromarray(thin).save(file)
        with pytest.raises(UserError, match="marks no pixel once it has the size of its image"):
            read_ground_truth(image, [file])


@pytest.mark.parametrize(("threshold", "relative"), [(0, False), (50, True)])
def test_a_saturation_out_of_range_is_told(tmp_path, threshold, relative):
    """Of 0, any pixel that is found would count as the whole region; 50 is a percentage, and a share is asked for."""
    entry = {"pixel_value": 1, "saturation_threshold": threshold, "relative_saturation": relative}
    (tmp_path / "defects_config.json").write_text(json.dumps([entry]))
    with pytest.raises(UserError, match="out of range"):
        read_defects_config(tmp_path)
