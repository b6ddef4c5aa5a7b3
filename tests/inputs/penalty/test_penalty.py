# SPDX-License-Identifier: Apache-2.0
"""Properties that penalty images of every source have, and the reader that prepares them ahead of time."""

import copy
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anomalib_scdae.errors import UserError
from anomalib_scdae.inputs.penalty import BundledImages, FolderImages, PenaltyImages, PenaltyReader
from anomalib_scdae.inputs.penalty.base import GRAYSCALE_PROBABILITY

SIZE = (48, 64)
indices = st.integers(0, 10**9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for number in range(7):
        pixels = generator.integers(0, 256, (40 + number, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module", params=["folder", "bundled"])
def images(request: pytest.FixtureRequest, folder: Path) -> PenaltyImages:
    return create(request.param, folder)


def create(kind: str, folder: Path, seed: int = 0) -> PenaltyImages:
    return FolderImages(folder, SIZE, seed) if kind == "folder" else BundledImages(SIZE, seed)


@given(index=indices)
@settings(max_examples=25, deadline=None)
def test_image_format(images: PenaltyImages, index: int) -> None:
    image = images[index]
    assert image.shape == (3, *SIZE)
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert image.min() >= 0
    assert image.max() <= 1


@given(order=st.permutations(range(6)), first=indices)
@settings(max_examples=10, deadline=None)
def test_image_depends_on_its_index_alone(images: PenaltyImages, order: list[int], first: int) -> None:
    """Not on what was read before: training resumes at any step with the images it would have seen."""
    expected = [images[first + k] for k in range(6)]
    other = copy.deepcopy(images)
    for k in order:
        assert torch.equal(other[first + k], expected[k])


@pytest.mark.parametrize("kind", ["folder", "bundled"])
def test_seed_decides(kind: str, folder: Path) -> None:
    first, same, other = (create(kind, folder, seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[k], same[k]) for k in range(8))
    assert not all(torch.equal(first[k], other[k]) for k in range(8))


@pytest.mark.parametrize("kind", ["folder", "bundled"])
def test_global_random_states_are_left_alone(kind: str, folder: Path) -> None:
    def states() -> tuple[object, ...]:
        return torch.random.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()

    before = states()
    images = create(kind, folder)
    for index in range(12):
        images[index]
    PenaltyReader(images).read(0, 3)
    assert states() == before


def test_global_random_states_have_no_influence(images: PenaltyImages) -> None:
    expected = [images[k] for k in range(6)]
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    assert all(torch.equal(images[k], expected[k]) for k in range(6))


def test_about_three_in_ten_are_gray(images: PenaltyImages) -> None:
    assert GRAYSCALE_PROBABILITY == 0.3
    gray = sum(bool((image == image[:1]).all()) for image in (images[k] for k in range(200)))
    # at least those that the coin turned gray: the bundled photographs are partly gray themselves
    assert 35 <= gray <= 110


def test_negative_index(images: PenaltyImages) -> None:
    with pytest.raises(IndexError):
        images[-1]


def test_pickling(images: PenaltyImages) -> None:
    """Worker processes that are started afresh (Windows, macOS) receive the images pickled."""
    assert torch.equal(pickle.loads(pickle.dumps(images))[3], images[3])


@given(
    steps=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 4), st.integers(1, 9)), min_size=1, max_size=5),
    ahead=st.integers(0, 9),
)
@settings(max_examples=10, deadline=None)
def test_reader_yields_what_was_asked_for(images: PenaltyImages, steps: list[tuple[int, int, int]], ahead: int) -> None:
    """In order or not, with right or wrong guesses of what comes next, with overlaps."""
    reader = PenaltyReader(images, ahead, threads=2)
    for first, count, stride in steps:
        expected = torch.stack([images[first + k] for k in range(count)])
        assert torch.equal(reader.read(first, count, stride), expected)
    reader.close()


class Counting(PenaltyImages):
    """Counts how often each image is made."""

    def __init__(self) -> None:
        super().__init__("test", (1, 1), 0)
        self.made: list[int] = []

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 13:
            msg = "unreadable"
            raise UserError(msg)
        self.made.append(index)
        return torch.full((3, 1, 1), float(index))


def test_reader_prepares_the_next_batches_and_makes_none_twice() -> None:
    images = Counting()
    reader = PenaltyReader(images, ahead=3, threads=1)
    for step in range(3):  # as the second of two processes with two images each
        reader.read(4 * step + 2, 2, stride=4)
    for future in reader._pending.values():
        future.result()
    assert sorted(images.made) == [2, 3, 6, 7, 10, 11, 14, 15, 18, 19]


def test_reader_raises_for_the_image_that_is_needed_not_for_one_ahead() -> None:
    reader = PenaltyReader(Counting(), ahead=2, threads=1)
    assert reader.read(12, 1).flatten().tolist() == [12] * 3
    with pytest.raises(UserError, match="unreadable"):
        reader.read(13, 1)
    assert reader.read(14, 1).flatten().tolist() == [14] * 3
