# SPDX-License-Identifier: Apache-2.0
"""One object that is trained twice, and models made where gradients are off."""

import copy
import shutil
from pathlib import Path

import pytest
import torch
from anomalib.data import MVTecLOCO
from anomalib.deploy import ExportType, TorchInferencer
from anomalib.engine import Engine
from lightning.pytorch import Callback, Trainer

from anomalib_scdae import SCDAE
from tests.conftest import draw_image

pytestmark = pytest.mark.usefixtures("narrow_networks")


class _Seed(Callback):
    """Notes the run's seed and the order of the images, and ends the training before the first step."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: SCDAE, batch: object, batch_idx: int) -> int:
        self.seed, self.first = pl_module.resume.seed, batch.image_path
        trainer.should_stop = True
        return -1


def _seed_of_a_fit(model: SCDAE, root: Path, folder: Path, checkpoint: Path | None = None) -> int:
    watch, data = _Seed(), MVTecLOCO(root=root, category="part", train_batch_size=1, num_workers=0)
    options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    engine = Engine(max_steps=2, default_root_dir=folder, callbacks=[watch], limit_val_batches=0, **options)
    engine.fit(model, datamodule=data, ckpt_path=checkpoint)
    engine.trainer.save_checkpoint(folder / f"{watch.seed}.ckpt")
    return watch.seed


@pytest.mark.slow
def test_a_second_training_has_its_own_order_unless_a_checkpoint_brings_one(
    loco_root: Path, model_arguments: dict, tmp_path: Path
) -> None:
    model = SCDAE(**model_arguments)
    torch.manual_seed(1)
    first = _seed_of_a_fit(model, loco_root, tmp_path)
    second = _seed_of_a_fit(model, loco_root, tmp_path)
    assert first != second
    assert _seed_of_a_fit(model, loco_root, tmp_path, tmp_path / f"{first}.ckpt") == first
    assert _seed_of_a_fit(model, loco_root, tmp_path) not in {first, second}


@pytest.mark.slow
def test_a_model_that_was_just_trained_is_copied_and_exported_without_its_trainer(
    loco_root: Path, model_arguments: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUST_REMOTE_CODE", "1")  # Anomalib asks for it before it unpickles a module
    data = MVTecLOCO(root=loco_root, category="part", train_batch_size=1, num_workers=0)
    model = SCDAE(**model_arguments)
    engine = Engine(max_steps=1, default_root_dir=tmp_path, accelerator="cpu", logger=False, enable_progress_bar=False)
    engine.fit(model, datamodule=data)
    assert copy.deepcopy(model)._trainer is None
    path = engine.export(model, ExportType.TORCH, export_root=tmp_path)
    assert any(parameter.requires_grad for parameter in model.model.student.parameters())
    assert path.stat().st_size < 1.5 * sum(value.nbytes for value in model.state_dict().values())
    image = next((loco_root / "part/test/good").iterdir())
    inferencer = TorchInferencer(path, device="cpu")
    found = inferencer.predict(image)
    assert not found.anomaly_map.requires_grad
    assert inferencer.model.model._folded is not None  # which is the faster way
    (expected,) = engine.predict(model, data_path=image)
    torch.testing.assert_close(found.pred_score.flatten(), expected.pred_score.flatten(), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_a_second_training_on_other_images_is_about_these(
    loco_root: Path, model_arguments: dict, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(loco_root / "part", other / "part")
    for number, file in enumerate(sorted((other / "part/train/good").iterdir())):
        draw_image(file, 100 + number)
    twice, once = SCDAE(**model_arguments), SCDAE(**model_arguments)
    _seed_of_a_fit(twice, loco_root, tmp_path)
    before = twice.model.teacher_mean.clone()
    for model in (twice, once):
        _seed_of_a_fit(model, other, tmp_path)
    assert not twice.model.teacher_mean.equal(before)
    for name, value in once.model.state_dict().items():
        if name.startswith(("teacher_", "context_score.")):
            torch.testing.assert_close(twice.model.state_dict()[name], value)


@pytest.mark.parametrize("built", ["constructed", "loaded"])
def test_a_model_made_in_inference_mode_predicts_and_trains(built: str, tmp_path: Path) -> None:
    images = torch.rand(1, 3, 256, 256)
    if built == "loaded":
        trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path)
        trainer.strategy.connect(SCDAE(teacher_out_channels=4))
        trainer.save_checkpoint(tmp_path / "saved.ckpt")
    with torch.inference_mode():
        loaded = built == "loaded"
        model = SCDAE.load_from_checkpoint(tmp_path / "saved.ckpt") if loaded else SCDAE(teacher_out_channels=4)
        inside = model.eval()(images).anomaly_map
    with torch.no_grad():
        torch.testing.assert_close(model(images).anomaly_map, inside.clone())
    assert not any(value.is_inference() for value in [*model.parameters(), *model.buffers()])
    losses = model.train().model(images, images)
    torch.stack(list(losses.values())).sum().backward()
    assert all(value.grad is not None for value in model.model.student.parameters())
