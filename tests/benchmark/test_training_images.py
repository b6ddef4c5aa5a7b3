# SPDX-License-Identifier: Apache-2.0
"""Fewer training images, or anomalous ones among them, and a test that stays the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anomalib.data import AnomalibDataModule

from anomalib_scdae.benchmark.cell.build import build_datamodule
from anomalib_scdae.benchmark.grid import parse_grid
from anomalib_scdae.errors import UserError
from tests.loco_data import write_image

KINDS = {"logical_anomalies": 8, "structural_anomalies": 5}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of tiny images in MVTec LOCO's layout."""
    root = tmp_path_factory.mktemp("data")
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    for split, count in (("train/good", 20), ("validation/good", 3), ("test/good", 6)):
        for number in range(count):
            write_image(root / "part" / split / f"{number:03}.png", pixels)
    for kind, count in KINDS.items():
        for number in range(count):
            write_image(root / "part/test" / kind / f"{number:03}.png", pixels)
            write_image(root / "part/ground_truth" / kind / f"{number:03}" / "000.png", pixels[..., 0] + 255)
    return root


def build(root: Path, seed: int = 0, **changes: Any) -> AnomalibDataModule:
    arguments = {"root": str(root), "category": "part", "train_batch_size": 4, "num_workers": 0}
    return build_datamodule({"class_path": "MVTecLOCO", "init_args": arguments, **changes}, seed)


def images(dataset: Any) -> list[str]:
    return ["/".join(Path(path).parts[-3:]) for path in dataset.samples["image_path"]]


def test_without_changes_nothing_is_changed(root: Path) -> None:
    plain, changed = build(root), build(root, train_images=20, mislabelled=0.0)
    assert images(changed.train_data) == images(plain.train_data)
    assert images(changed.test_data) == images(plain.test_data)


def test_few_training_images_are_among_more_and_are_the_seeds(root: Path) -> None:
    several = [set(images(build(root, train_images=count).train_data)) for count in (3, 7, 20)]
    assert [len(each) for each in several] == [3, 7, 20]
    assert several[0] < several[1] < several[2]
    assert images(build(root, train_images=3).train_data) == images(build(root, train_images=3).train_data)
    drawn = {tuple(images(build(root, seed, train_images=3).train_data)) for seed in range(5)}
    assert len(drawn) > 1
    assert images(build(root, train_images=3).test_data) == images(build(root).test_data)


@pytest.mark.parametrize("seed", range(3))
def test_mislabelled_images_are_among_the_training_images_and_in_no_test(root: Path, seed: int) -> None:
    datamodule = build(root, seed, mislabelled=0.1, held_out=4)
    trained, tested = images(datamodule.train_data), images(datamodule.test_data)
    wrong = [name for name in trained if not name.startswith("train/good")]
    assert len(trained) == 20
    assert len(wrong) == 2
    assert not set(trained) & set(tested)
    for batch in datamodule.train_dataloader():
        assert not batch.gt_label.any()
        assert not batch.gt_mask.any()


def test_test_is_the_same_for_all_seeds_and_shares_of_the_images_held_out(root: Path) -> None:
    given = [{"mislabelled": 0.1}, {"mislabelled": 0.2}, {"train_images": 5}, {}]
    tests = {
        tuple(images(build(root, seed, held_out=4, **changes).test_data)) for seed in range(3) for changes in given
    }
    (test,) = tests
    left = [name.split("/")[1] for name in test]
    assert {kind: left.count(kind) for kind in KINDS} == {"logical_anomalies": 6, "structural_anomalies": 3}
    assert left.count("good") == 6


def test_as_many_are_held_out_as_are_mislabelled_unless_told_otherwise(root: Path) -> None:
    assert len(build(root, mislabelled=0.15).test_data) == 6 + 13 - 3
    assert len(build(root, mislabelled=0.01).test_data) == 6 + 13 - 1


def test_images_held_out_are_not_validated_with_either(root: Path) -> None:
    arguments = {"root": str(root), "category": "part", "val_split_mode": "same_as_test", "num_workers": 0}
    datamodule = build_datamodule({"class_path": "MVTecLOCO", "init_args": arguments, "held_out": 4}, 0)
    assert images(datamodule.val_data) == images(datamodule.test_data)
    assert len(datamodule.val_data) == 6 + 13 - 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_images": 21}, "only 20 images to train with"),
        ({"mislabelled": 0.2, "held_out": 3}, "4 images are to be mislabelled, but held_out is 3"),
        ({"held_out": 7}, "7 anomalous images are to be held out of 13"),
    ],
)
def test_too_few_images_are_told_in_one_sentence(root: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        build(root, **changes)


def grid(**changes: Any) -> Any:
    return parse_grid(
        models=[{"class_path": "SCDAE"}],
        datasets=[{"class_path": "SyntheticLOCO", "categories": ["pushpins"], **changes}],
        seeds=[0],
        trainer={},
    )


def test_a_cell_knows_what_is_changed_and_only_that() -> None:
    (cell,) = grid(train_images=30, mislabelled=0.05).cells()
    assert {name: cell.data[name] for name in ("train_images", "mislabelled")} == {
        "train_images": 30,
        "mislabelled": 0.05,
    }
    assert "held_out" not in cell.data
    assert set(grid().cells()[0].data) == {"class_path", "init_args"}  # so that finished cells stay finished


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_images": 0}, "train_images 0: it is a number of images, at least 1"),
        ({"train_images": 2.5}, "train_images 2.5"),
        ({"mislabelled": 5}, "mislabelled 5: it is a share"),
        ({"mislabelled": "some"}, "mislabelled 'some'"),
        ({"held_out": -1}, "held_out -1"),
        ({"held_out": True}, "held_out True"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_runs(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        grid(**changes)
