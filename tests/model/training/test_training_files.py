# SPDX-License-Identifier: Apache-2.0
"""A test of training images, and a training resumed with others, are told."""

import shutil
import warnings
from pathlib import Path

import pytest
import torch
from anomalib.data import Folder
from anomalib.engine import Engine
from lightning.pytorch import Callback, Trainer

from anomalib_scdae import SCDAE
from anomalib_scdae.files import sha256_of
from tests.conftest import CHANNELS, draw_image

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("narrow_networks")]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Normal images in ``good``."""
    folder = tmp_path_factory.mktemp("images")
    for seed in range(4):
        draw_image(folder / "good" / f"{seed}.png", seed)
    return folder


def _data(root: Path, seed: int) -> Folder:
    return Folder(
        name="mine", root=root, normal_dir="good", test_split_mode="from_dir", test_split_ratio=0.5,
        val_split_mode="none", train_batch_size=1, eval_batch_size=1, num_workers=0, seed=seed,
    )  # fmt: skip


class _Stop(Callback):
    """Ends a training before its first step."""

    def on_train_batch_start(self, trainer: Trainer, *_: object) -> int:
        trainer.should_stop = True
        return -1


def _engine(folder: Path, **more: object) -> Engine:
    options = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "max_steps": 3,
        "limit_test_batches": 1,
    }
    return Engine(default_root_dir=folder, callbacks=[_Stop()], **options | more)


def _told(use: object, *words: str) -> list[str]:
    """Return the warnings that have ``words`` in them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        use()
    return [str(entry.message) for entry in caught if all(word in str(entry.message) for word in words)]


@pytest.fixture(scope="module")
def arguments(teacher_file: Path, penalty_folder: Path) -> dict[str, object]:
    """Arguments of SCDAE that need no time."""
    return {"teacher": str(teacher_file), "penalty_images": str(penalty_folder), "teacher_out_channels": CHANNELS}


@pytest.fixture(scope="module")
def trained(images: Path, arguments: dict, tmp_path_factory: pytest.TempPathFactory) -> tuple[SCDAE, Path]:
    """A model that has seen the training images of seed 0, and its checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    model, engine = SCDAE(**arguments, visualizer=False), _engine(folder)
    engine.fit(model, datamodule=_data(images, seed=0))
    engine.trainer.save_checkpoint(folder / "model.ckpt")
    return model, folder / "model.ckpt"


def _test(model: SCDAE, data: Folder, folder: Path, **more: object) -> list[str]:
    model.model.anomaly_map.upper.fill_(0.5)
    return _told(lambda: _engine(folder).test(model, datamodule=data, **more), "test images are training images")


def test_a_test_of_training_images_is_told(trained: tuple[SCDAE, Path], images: Path, tmp_path: Path) -> None:
    model, checkpoint = trained
    hashes = torch.load(checkpoint, weights_only=True)["scdae_training_files"]
    assert hashes == model.training_files.hashes
    data = _data(images, seed=0)
    data.setup()
    assert hashes == sorted(sha256_of(Path(path))[:16] for path in data.train_data.samples.image_path)

    moved, renamed = tmp_path / "moved", tmp_path / "renamed"
    shutil.copytree(images, moved)
    for path in images.glob("good/*"):
        (renamed / "good").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, renamed / "good" / f"{7 - int(path.stem)}.png")
    loaded, other = SCDAE.load_from_checkpoint(checkpoint, visualizer=False), SCDAE(visualizer=False)
    for tested, more in [(model, {}), (loaded, {}), (other, {"ckpt_path": checkpoint})]:
        assert _test(tested, _data(moved, seed=0), tmp_path, **more) == []
        (sentence,) = _test(tested, _data(renamed, seed=1), tmp_path, **more)
        assert "--data.seed" in sentence
        assert str(renamed / "good") in sentence
        assert "\n" not in sentence


def test_a_training_resumed_with_other_images_is_told(
    trained: tuple[SCDAE, Path], images: Path, arguments: dict, tmp_path: Path
) -> None:
    _, checkpoint = trained

    def resumed(seed: int) -> list[str]:
        model = SCDAE(**arguments)
        data = _data(images, seed)
        return _told(lambda: _engine(tmp_path).fit(model, datamodule=data, ckpt_path=checkpoint), "that is resumed")

    assert resumed(0) == []
    (sentence,) = resumed(1)
    assert "are new and" in sentence
    assert "--data.seed" in sentence
