# SPDX-License-Identifier: Apache-2.0
"""A training that is resumed has the penalty images that it had, as far as they are there."""

import shutil
import warnings
from pathlib import Path

import pytest
import torch

from anomalib_scdae.model.training.inputs import TrainingInputs

SIZE = (256, 256)


@pytest.mark.parametrize(
    ("given", "known", "adopted"),
    [
        ("auto", "bundled", True),
        ("auto", "penalty", True),
        ("auto", "gone", False),
        ("auto", "imagenette", False),  # which is not there, and would be a download
        ("auto", "auto", False),
        ("bundled", "penalty", False),
    ],
)
def test_those_of_the_checkpoint_are_taken_unless_others_are_given_or_they_are_gone(
    given: str, known: str, adopted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "penalty").mkdir()
    inputs = TrainingInputs("bundled", given)
    assert inputs.adopt_penalty_images(known) == adopted
    assert inputs.penalty_images == (known if adopted else given)


def test_others_are_told_and_the_same_in_another_place_are_not(penalty_folder: Path, tmp_path: Path) -> None:
    moved, fewer = (shutil.copytree(penalty_folder, tmp_path / name) for name in ("moved", "fewer"))
    next(fewer.glob("*.png")).unlink()
    inputs = TrainingInputs("bundled", str(penalty_folder))
    inputs.resolved = {"penalty_images": inputs.open_penalty_images(SIZE, 0, resumed=False)}
    inputs.penalty_images = str(moved)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inputs.open_penalty_images(SIZE, 0, resumed=True)
    for others in (str(fewer), "bundled"):
        inputs.penalty_images = others
        with pytest.warns(UserWarning, match="had other penalty images: .*name the former with --model.penalty_images"):
            inputs.open_penalty_images(SIZE, 0, resumed=True)
    inputs.close()


def test_every_step_and_process_has_penalty_images_of_its_own(penalty_folder: Path) -> None:
    inputs = TrainingInputs("bundled", str(penalty_folder))
    inputs.open_penalty_images(SIZE, 0, resumed=False)
    images = inputs._reader.images
    for step, rank in ((0, 0), (0, 1), (3, 1)):
        first = (2 * step + rank) * 2
        expected = torch.stack([images[first], images[first + 1]])
        assert torch.equal(inputs.read_penalty_images(step, 2, rank, 2), expected)
    inputs.close()
