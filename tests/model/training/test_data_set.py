# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a data set is told before training, with the file's name."""

import json
import shutil
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pandas as pd
import pytest
from anomalib.data import AnomalibDataset, Folder, MVTecLOCO
from anomalib.engine import Engine
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException
from PIL import Image
from torchvision.transforms.v2 import Resize

from anomalib_scdae import SCDAE
from anomalib_scdae.errors import UserError
from anomalib_scdae.gallery import GalleryWriter
from anomalib_scdae.image_files import check_image
from anomalib_scdae.metrics.data_sets import image_paths
from anomalib_scdae.model.training import data_set
from anomalib_scdae.model.training.checks import check_trained
from anomalib_scdae.model.training.data_set import check_before_training, set_up
from anomalib_scdae.model.training.rescue import Rescue
from tests.conftest import draw_image, draw_mask

pytestmark = pytest.mark.usefixtures("narrow_networks")


@pytest.fixture
def part(loco_root: Path, tmp_path: Path) -> Path:
    """A data set that a test may spoil."""
    shutil.copytree(loco_root / "part", tmp_path / "part")
    return tmp_path / "part"


def _loco(part: Path, **more: object) -> MVTecLOCO:
    return MVTecLOCO(root=part.parent, category=part.name, train_batch_size=1, num_workers=0, **more)


def _check(data: object) -> None:
    set_up(data, TrainerFn.FITTING)
    check_before_training(data)


def _sentence(use: Callable[[], object]) -> str:
    with pytest.raises(UserError) as error:
        use()
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")
    return str(error.value)


def _warnings(use: Callable[[], object]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        use()
    return [str(entry.message) for entry in caught if issubclass(entry.category, UserWarning)]


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _bomb(path: Path) -> None:
    """A PNG file of a few bytes that claims to be 100,000 x 100,000 pixels."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 9)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "truncated": _truncate,
    "a decompression bomb": _bomb,
    "zero bytes": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no image"),
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((kind, "train/good/002.png") for kind in UNREADABLE),
        ("truncated", "validation/good/001.png"),
        ("zero bytes", "test/good/000.png"),
        ("truncated", "test/logical_anomalies/001.png"),
        ("truncated", "ground_truth/structural_anomalies/000/000.png"),
    ],
)
def test_an_unreadable_file_of_any_split_is_named(part: Path, kind: str, name: str) -> None:
    UNREADABLE[kind](part / name)
    engine = Engine(max_steps=1, default_root_dir=part.parent, accelerator="cpu", logger=False)
    sentence = _sentence(lambda: engine.fit(SCDAE(teacher="/nowhere"), datamodule=_loco(part)))
    assert str(part / name) in sentence
    assert "replace or remove it" in sentence


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp"])
def test_truncated_and_whole_images_of_every_kind_are_told_apart(tmp_path: Path, suffix: str) -> None:
    draw_image(tmp_path / f"image.{suffix}", 0)
    check_image(tmp_path / f"image.{suffix}")
    _truncate(tmp_path / f"image.{suffix}")
    assert f"image.{suffix}" in _sentence(lambda: check_image(tmp_path / f"image.{suffix}"))


def test_a_png_file_without_its_end_is_read_as_pillow_reads_it(tmp_path: Path) -> None:
    draw_image(tmp_path / "image.png", 0)
    (tmp_path / "image.png").write_bytes((tmp_path / "image.png").read_bytes()[:-12])
    check_image(tmp_path / "image.png")


MASK = "ground_truth/logical_anomalies/001/000.png"


def test_masks_of_one_image_that_differ_in_size_are_named(part: Path) -> None:
    other = (part / MASK).with_name("001.png")
    draw_mask(other, (140, 150))
    sentence = _sentence(lambda: _check(_loco(part, augmentations=Resize((256, 256)))))
    assert f"{other} is 150x140 pixels, {part / MASK} is 300x280 pixels: one image's" in sentence


@pytest.mark.parametrize("size", [(140, 150), (560, 600), (93, 100), (94, 100)])
def test_a_mask_of_another_size_and_the_same_aspect_is_resized(part: Path, size: tuple[int, int]) -> None:
    draw_mask(part / MASK, (280, 300))
    Image.open(part / MASK).resize(size[::-1]).save(part / MASK)
    assert _warnings(lambda: _check(_loco(part, augmentations=Resize((256, 256))))) == []
    sentence = _sentence(lambda: _check(_loco(part)))  # a metric would fail
    assert f"{part / MASK} is {size[1]}x{size[0]} pixels, its image" in sentence
    assert "300x280" in sentence


@pytest.mark.parametrize("size", [(140, 300), (280, 150), (280, 290), (300, 280)])
def test_a_mask_of_another_aspect_is_told(part: Path, size: tuple[int, int]) -> None:
    draw_mask(part / MASK, size)
    (sentence,) = _warnings(lambda: _check(_loco(part, augmentations=Resize((256, 256)))))
    assert "masks of 1 images have another aspect" in sentence
    assert f"{part / MASK} is {size[1]}x{size[0]} pixels, its image" in sentence


@pytest.mark.parametrize(("rank", "told"), [(0, 1), (1, 0)])
def test_many_images_are_read_by_the_first_process_and_told(
    part: Path, rank: int, told: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", rank)
    read: list[Path] = []
    monkeypatch.setattr(data_set, "check_image", read.append)
    for limit in (13, 12):
        monkeypatch.setattr(data_set, "MANY_IMAGES", limit)
        with caplog.at_level("INFO"):
            _check(_loco(part))
    # In both rounds: 4 images of training, 3 of validation, 6 of the test, and 4 masks.
    assert len(read) == 2 * 17 * told
    assert caplog.text.count("Reading 13 images once to see that all can be read.") == told


class _Table(AnomalibDataset):
    """A data set with a table of its own."""

    def __init__(self, table: pd.DataFrame) -> None:
        super().__init__()
        self._samples = table


def test_films_clips_and_other_tables_are_left_alone(part: Path) -> None:
    image, mask = part / "test/logical_anomalies/001.png", part / MASK
    _truncate(mask)
    (part / "film.avi").write_bytes(b"no image")
    films = pd.DataFrame({"image_path": [str(part), str(part / "film.avi")], "mask_path": [str(part), ""]})
    unlabelled = pd.DataFrame({"image_path": [str(image)], "mask_path": [str(mask)]})
    arrays = unlabelled.assign(label_index=1, mask_path=[str(mask.with_suffix(".npy"))])
    without = [films, films.assign(label_index=1), unlabelled, arrays, unlabelled.drop(columns="image_path")]
    for table in without:
        check_before_training(SimpleNamespace(train_data=_Table(table), test_data=_Table(table)))
    assert image_paths(_Table(films)) == []
    assert image_paths(_Table(arrays)) == [image]
    with pytest.raises(UserError, match="cannot be read as an image"):
        check_before_training(SimpleNamespace(test_data=_Table(unlabelled.assign(label_index=1))))


def test_masks_of_validation_alone_leave_nothing_out_of_the_test(part: Path) -> None:
    _blank(part)
    image = str(part / "test/logical_anomalies/001.png")
    table = pd.DataFrame({"image_path": [image], "mask_path": [str(part / MASK)], "label_index": 1})
    assert _warnings(lambda: check_before_training(SimpleNamespace(val_data=_Table(table)))) == []
    assert len(_warnings(lambda: check_before_training(SimpleNamespace(test_data=_Table(table))))) == 1


@pytest.mark.parametrize("error", [ImportError("no pandas"), MemoryError(), OSError("no route to host")])
def test_errors_that_are_not_the_folders_pass(part: Path, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    data = _loco(part)
    monkeypatch.setattr(data, "setup", MagicMock(side_effect=error))
    with pytest.raises(type(error)) as raised:
        _check(data)
    assert raised.value is error


def _blank(part: Path) -> None:
    Image.new("L", (300, 280)).save(part / MASK)


def _unknown_value(part: Path) -> None:
    entry = {"pixel_value": 7, "saturation_threshold": 1, "relative_saturation": False}
    (part / "defects_config.json").write_text(json.dumps([entry]))


@pytest.mark.parametrize(
    ("spoil", "cause", "types"),
    [
        (_blank, "marks no pixel", ["logical"]),
        (_unknown_value, "has the pixel values [255]", ["logical", "structural"]),
        (lambda part: (part / "defects_config.json").write_text("{"), "is not a list", ["logical", "structural"]),
    ],
)
def test_localisation_that_will_be_left_out_is_told(part: Path, spoil: Callable, cause: str, types: list[str]) -> None:
    assert _warnings(lambda: _check(_loco(part))) == []
    spoil(part)
    told = _warnings(lambda: _check(_loco(part)))
    assert len(told) == len(types)
    for kind, sentence in zip(types, told, strict=True):
        assert f"AU-sPRO of {kind}_anomalies will be left out" in sentence
        assert cause in sentence


def test_an_image_without_a_mask_is_named(part: Path) -> None:
    shutil.rmtree(part / "ground_truth/logical_anomalies/001")
    sentence = _sentence(lambda: _check(_loco(part)))
    assert str(part / "test/logical_anomalies/001.png") in sentence
    assert "Folder" in sentence


def test_images_that_anomalib_passes_over_are_told(part: Path) -> None:
    for name in ("a.jpg", "b.bmp"):
        draw_image(part / "train/good" / name, 0)
    (part / "train/good/.DS_Store").touch()
    (sentence,) = _warnings(lambda: _check(_loco(part)))
    assert sentence.startswith(f"2 images of {part} are passed over, such as {part / 'train/good/'}")


def test_an_empty_training_folder_is_told(part: Path) -> None:
    shutil.rmtree(part / "train/good")
    (part / "train/good").mkdir()
    assert f"no image to train with in {part.parent}" in _sentence(lambda: _check(_loco(part)))


def test_what_anomalib_raises_is_told_with_the_folder(tmp_path: Path) -> None:
    data = Folder(name="mine", root=tmp_path, normal_dir="good")
    assert f"Folder cannot make a data set of {tmp_path} (" in _sentence(lambda: _check(data))
    assert str(tmp_path / "none") in _sentence(lambda: _check(_loco(tmp_path / "none")))


class _Spoil(Callback):
    """Truncates a file once it was checked."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step == 1:
            _truncate(self.path)


@pytest.mark.slow
def test_a_fault_within_training_loses_no_weights(part: Path, model_arguments: dict) -> None:
    spoilt, data = part / "validation/good/001.png", _loco(part)
    data.num_workers = 1
    options = {"default_root_dir": part.parent, "accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    model = SCDAE(**model_arguments)
    with pytest.raises((OSError, SyntaxError)) as error, pytest.warns(UserWarning, match="weights of step 1 are kept"):
        Engine(max_steps=2, limit_train_batches=1, callbacks=[_Spoil(spoilt)], **options).fit(model, datamodule=data)
    assert isinstance(error.value.__cause__, UserError)
    assert str(error.value.__cause__).startswith(f"{spoilt} cannot be read as an image")
    (kept,) = part.parent.rglob("*.ckpt")
    loaded = SCDAE.load_from_checkpoint(kept)
    for name, value in model.model.student.state_dict().items():
        assert value.equal(loaded.model.student.state_dict()[name])
    assert loaded.model.anomaly_map.upper.isfinite().all()

    draw_image(spoilt, 11)
    engine = Engine(max_steps=2, **options)
    engine.fit(SCDAE(**model_arguments), datamodule=_loco(part), ckpt_path=kept)
    assert engine.trainer.global_step == 2


@pytest.mark.slow
@pytest.mark.parametrize("side", [1, 2])
def test_masks_elsewhere_give_the_figures_of_those_in_their_place(
    part: Path, model_arguments: dict, tmp_path: Path, side: int
) -> None:
    """Of any size, and in a batch that begins with a good image, which names none."""
    kinds = ("logical_anomalies", "structural_anomalies")
    for mask in part.glob("ground_truth/*/*/*.png"):
        coarse = Image.open(mask).resize((150, 140), Image.Resampling.NEAREST)
        coarse.resize((300, 280), Image.Resampling.NEAREST).save(mask)
        elsewhere = tmp_path / "masks" / mask.parts[-3] / f"{mask.parts[-2]}_mask.png"
        elsewhere.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((150 * side, 140 * side), Image.Resampling.NEAREST).save(elsewhere)
    options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    model = SCDAE(**model_arguments, visualizer=False)
    engine = Engine(max_steps=1, default_root_dir=tmp_path, **options)
    engine.fit(model, datamodule=_loco(part))
    (expected,) = engine.test(model, datamodule=_loco(part))

    (part / "ground_truth").rename(part / "moved")
    data = Folder(
        name="mine", root=part, normal_dir="train/good", normal_test_dir="test/good", num_workers=0, train_batch_size=1,
        abnormal_dir=[f"test/{kind}" for kind in kinds], mask_dir=[tmp_path / "masks" / kind for kind in kinds],
        val_split_mode="same_as_test",  # else half of the few test images at random
    )  # fmt: skip
    gallery = GalleryWriter()
    engine = Engine(default_root_dir=tmp_path, callbacks=[gallery], **options)
    (figures,) = engine.test(model, datamodule=data)
    names = [name for name in expected if name.startswith("pixel_AUsPRO")]
    assert len(names) == 15
    assert {name: figures[name] for name in names} == pytest.approx({name: expected[name] for name in names})
    for name in ("pixel_AUROC", "pixel_F1Score"):
        assert 0 <= figures[name] <= 1
    assert len(gallery._masks) == 4


class _Remove(Callback):
    """Renames the folder of the images after the first step, as a share that is gone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step == 1:
            self.folder.rename(self.folder.with_name("gone"))


@pytest.mark.slow
def test_a_folder_that_is_gone_within_training_loses_no_weights(part: Path, model_arguments: dict) -> None:
    options = {"default_root_dir": part.parent, "accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    model = SCDAE(**model_arguments, cache_gib=0)
    engine = Engine(max_steps=4, callbacks=[_Remove(part)], **options)
    with pytest.raises(FileNotFoundError) as error, pytest.warns(UserWarning, match="are kept in .* without threshold"):
        engine.fit(model, datamodule=_loco(part))
    assert str(error.value.__cause__).startswith(str(part))
    part.with_name("gone").rename(part)

    (kept,) = part.parent.rglob("*.ckpt")
    step, loaded = int(kept.stem.partition("=")[2]), SCDAE.load_from_checkpoint(kept)
    for name, value in model.model.student.state_dict().items():
        assert value.equal(loaded.model.student.state_dict()[name])
    assert "never trained" in _sentence(lambda: Engine(**options).test(SCDAE(), datamodule=_loco(part), ckpt_path=kept))

    resumed, engine = SCDAE(**model_arguments, cache_gib=0), Engine(max_steps=step + 1, **options)
    engine.fit(resumed, datamodule=_loco(part), ckpt_path=kept)
    assert engine.trainer.global_step == step + 1
    check_trained(resumed.model)


def _failed(folder: Path, **more: object) -> SimpleNamespace:
    """A trainer whose training has ended with an error."""
    state = {"state": SimpleNamespace(fn=TrainerFn.FITTING), "global_step": 1, "world_size": 1}
    loaders = dict.fromkeys(("train_dataloader", "val_dataloaders", "test_dataloaders", "predict_dataloaders"))
    saving = {"checkpoint_callback": SimpleNamespace(dirpath=folder), "checkpoint_callbacks": []}
    return SimpleNamespace(**state | loaders | saving | more)


def test_weights_that_cannot_be_kept_are_told(tmp_path: Path) -> None:
    trainer, model = _failed(tmp_path, save_checkpoint=MagicMock(side_effect=OSError("full disk"))), MagicMock()
    (sentence,) = _warnings(lambda: Rescue().on_exception(trainer, model, RuntimeError()))
    assert sentence.startswith(
        f"The weights of step 1 could not be kept in {tmp_path / 'interrupted-step=1.ckpt'} (full"
    )
    assert model.calibration.left_out is False


@pytest.mark.parametrize(
    ("error", "read"),
    [(OSError(), True), (SyntaxError(), True), (EOFError(), True), (struct.error(), True), (ValueError(), False)],
)
def test_images_are_read_anew_only_for_errors_of_files(part: Path, error: Exception, read: bool) -> None:
    data = _loco(part)
    set_up(data, TrainerFn.FITTING)
    _truncate(part / "train/good/002.png")
    loaders = {"train_dataloader": data.train_dataloader(), "val_dataloaders": [[1, 2]]}  # the latter has no dataset
    trainer = _failed(part, state=SimpleNamespace(fn=TrainerFn.TESTING), **loaders)
    Rescue().on_exception(trainer, MagicMock(), error)
    assert isinstance(error.__cause__, UserError) is read


def test_an_interruption_by_the_user_is_not_held_up(tmp_path: Path) -> None:
    trainer, model = _failed(tmp_path, save_checkpoint=MagicMock()), MagicMock()
    Rescue().on_exception(trainer, model, KeyboardInterrupt())
    trainer.save_checkpoint.assert_not_called()
    model.on_train_end.assert_called_once_with()  # lets go of what only a training needs


def test_a_process_that_is_told_to_end_saves_at_once(tmp_path: Path) -> None:
    seen, model = [], MagicMock()
    trainer = _failed(tmp_path, save_checkpoint=lambda path: seen.append(model.calibration.left_out))
    (sentence,) = _warnings(lambda: Rescue().on_exception(trainer, model, SIGTERMException()))
    assert "are kept in" in sentence
    assert "without thresholds of their own (there was no time)" in sentence
    assert seen == [True]
