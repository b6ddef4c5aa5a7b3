# SPDX-License-Identifier: Apache-2.0
"""Statistics come from one pass, and belong to the weights that are saved."""

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from anomalib.callbacks import ModelCheckpoint
from anomalib.data import Folder, MVTecLOCO
from anomalib.engine import Engine
from anomalib.metrics import AUROC, Evaluator
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from anomalib_scdae import SCDAE
from anomalib_scdae.model.training.calibration import Calibration
from tests.conftest import ROOT, draw_image, draw_mask
from tests.model.training.statistics_by_hand import assert_statistics

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("narrow_networks")]


def _loco(root: Path) -> MVTecLOCO:
    return MVTecLOCO(root=root, category="part", train_batch_size=1, eval_batch_size=2, num_workers=0)


@pytest.mark.parametrize(
    "steps", [2, 4, 6], ids=["before the first validation", "at a validation", "after the last validation"]
)
def test_statistics_equal_a_second_pass(loco_root: Path, model_arguments: dict, tmp_path: Path, steps: int) -> None:
    data = _loco(loco_root)
    engine = Engine(max_steps=steps, default_root_dir=tmp_path, accelerator="cpu", enable_progress_bar=False)
    engine.fit(SCDAE(**model_arguments), datamodule=data)
    assert_statistics(engine.model, data.val_dataloader())
    saved = SCDAE.load_from_checkpoint(engine.best_model_path)
    assert_statistics(saved, data.val_dataloader())


def test_a_checkpoint_within_an_epoch_has_its_own_statistics(
    loco_root: Path, model_arguments: dict, tmp_path: Path
) -> None:
    data = _loco(loco_root)
    saving = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    engine = Engine(max_steps=3, default_root_dir=tmp_path, accelerator="cpu", callbacks=[saving])
    engine.fit(SCDAE(**model_arguments), datamodule=data)
    for step in (1, 3):
        assert_statistics(SCDAE.load_from_checkpoint(tmp_path / f"step={step}.ckpt"), data.val_dataloader())


def test_a_second_training_of_a_model_that_has_predicted_has_its_own_statistics(
    loco_root: Path, model_arguments: dict, tmp_path: Path
) -> None:
    data, model = _loco(loco_root), SCDAE(**model_arguments)
    for _ in range(2):
        engine = Engine(max_steps=1, default_root_dir=tmp_path, accelerator="cpu", enable_progress_bar=False)
        engine.fit(model, datamodule=data)
        assert_statistics(model, data.val_dataloader())


def test_validation_metrics_see_the_final_maps(loco_root: Path, model_arguments: dict, tmp_path: Path) -> None:
    """A metric of the user's in the validation has the figure that a validation of the saved weights gives."""
    root = tmp_path / "data"
    shutil.copytree(loco_root / "part", root)
    for seed in range(2):
        draw_mask(root / "masks" / f"{seed:03}.png")
    evaluator = Evaluator(val_metrics=[AUROC(fields=["anomaly_map", "gt_mask"], prefix="pixel_")])
    data = Folder(
        name="part",
        root=root,
        normal_dir="train/good",
        abnormal_dir="test/logical_anomalies",
        mask_dir="masks",
        val_split_mode="same_as_test",
        train_batch_size=1,
        num_workers=0,
    )
    engine = Engine(max_epochs=1, default_root_dir=tmp_path, accelerator="cpu")
    model = SCDAE(**model_arguments, evaluator=evaluator)
    engine.fit(model, datamodule=data)
    during = engine.trainer.callback_metrics["pixel_AUROC"]
    (after,) = Engine(default_root_dir=tmp_path, accelerator="cpu").validate(model, datamodule=data)
    torch.testing.assert_close(torch.tensor(after["pixel_AUROC"]), during)


class _Plain(LightningDataModule):
    """A datamodule that is none of Anomalib's, around one that is."""

    def __init__(self, data: MVTecLOCO) -> None:
        super().__init__()
        self.data = data

    def setup(self, stage: str) -> None:
        self.data.setup(stage)

    def train_dataloader(self) -> DataLoader:
        return self.data.train_dataloader()

    def val_dataloader(self) -> list[DataLoader]:
        return [self.data.val_dataloader()]


@pytest.mark.parametrize("given", ["loaders", "datamodule"])
@pytest.mark.parametrize("steps", [4, 3], ids=["an epoch", "part of one"])
def test_other_datamodules_and_lists_of_loaders_calibrate_too(
    loco_root: Path, model_arguments: dict, tmp_path: Path, given: str, steps: int
) -> None:
    data = _loco(loco_root)
    data.setup()
    loaders = {"train_dataloaders": data.train_dataloader(), "val_dataloaders": [data.val_dataloader()]}
    model = SCDAE(**model_arguments)
    trainer = Trainer(max_steps=steps, default_root_dir=tmp_path, accelerator="cpu", logger=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="No normal validation image")
        trainer.fit(model, **(loaders if given == "loaders" else {"datamodule": _Plain(data)}))
    assert_statistics(model, data.val_dataloader())


class _TrainingOnly(LightningDataModule):
    """A datamodule without a word of validation."""

    def __init__(self, data: MVTecLOCO) -> None:
        super().__init__()
        self.data = data

    def train_dataloader(self) -> DataLoader:
        return self.data.train_dataloader()


def test_training_images_stand_in_where_a_datamodule_knows_no_validation(
    loco_root: Path, model_arguments: dict, tmp_path: Path
) -> None:
    data = _loco(loco_root)
    data.setup()
    model = SCDAE(**model_arguments)
    trainer = Trainer(max_steps=1, default_root_dir=tmp_path, accelerator="cpu", logger=False)
    with pytest.warns(UserWarning, match="normal training images stand in"):
        trainer.fit(model, datamodule=_TrainingOnly(data))
    assert torch.isfinite(model.post_processor.image_threshold)


def test_thresholds_of_an_earlier_step_are_told(loco_root: Path, model_arguments: dict, tmp_path: Path) -> None:
    """As an interrupted training leaves them in memory."""
    model, data = SCDAE(**model_arguments), _loco(loco_root)
    engine = Engine(max_steps=1, default_root_dir=tmp_path, accelerator="cpu")
    engine.fit(model, datamodule=data)
    calibration = model.calibration
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Maps and thresholds")
        calibration.warn_if_outdated(model)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        next(model.model.student.parameters()).add_(1)
    with pytest.warns(UserWarning, match="weights of an earlier step.*engine.validate"):
        engine.test(model, datamodule=data)
    model.load_state_dict(kept)
    engine.validate(model, datamodule=data)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Maps and thresholds")
        engine.test(model, datamodule=data)


def test_training_images_stand_in_for_missing_normal_validation_images(model_arguments: dict, tmp_path: Path) -> None:
    for seed in range(3):
        draw_image(tmp_path / "mine/good" / f"{seed}.png", seed)
    data = Folder(
        name="mine", root=tmp_path / "mine", normal_dir="good", val_split_mode="none", test_split_mode="none",
        train_batch_size=1, num_workers=0,
    )  # fmt: skip
    engine = Engine(max_steps=1, default_root_dir=tmp_path, accelerator="cpu")
    with pytest.warns(UserWarning, match="normal training images stand in"):
        engine.fit(SCDAE(**model_arguments), datamodule=data)
    assert torch.isfinite(engine.model.post_processor.image_threshold)
    engine.trainer.limit_val_batches = 2
    with pytest.warns(UserWarning, match=r"that limit_val_batches=2 leaves: .*raise that limit"):
        Calibration._stand_ins(engine.trainer, engine.model)


def test_two_processes_have_the_statistics_of_the_whole_set(
    loco_root: Path, model_arguments: dict, tmp_path: Path
) -> None:
    program = f"""
from anomalib.data import MVTecLOCO
from anomalib.engine import Engine
from anomalib_scdae import SCDAE
from tests.narrow import make_narrow
if __name__ == "__main__":
    make_narrow()
    data = MVTecLOCO(root={str(loco_root)!r}, category="part", train_batch_size=1, eval_batch_size=2, num_workers=0)
    engine = Engine(max_epochs=1, default_root_dir={str(tmp_path)!r}, accelerator="cpu", devices=2, strategy="ddp")
    engine.fit(SCDAE(**{model_arguments!r}), datamodule=data)
"""
    (tmp_path / "two.py").write_text(program)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(tmp_path / "two.py")], check=True, capture_output=True, env=environment)
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    model = SCDAE.load_from_checkpoint(checkpoint)
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 2  # of four images, two at a time
    data = _loco(loco_root)
    data.setup()
    assert_statistics(model, data.val_dataloader())
    with torch.no_grad():
        images = torch.cat([model.pre_processor.transform(batch.image) for batch in data.train_dataloader()])
        features = model.model.teacher(images)
    torch.testing.assert_close(
        model.model.teacher_mean, features.mean(dim=(0, 2, 3), keepdim=True), rtol=1e-4, atol=1e-5
    )
    std = features.std(dim=(0, 2, 3), keepdim=True, correction=0)
    torch.testing.assert_close(model.model.teacher_std, std, rtol=1e-4, atol=1e-5)
